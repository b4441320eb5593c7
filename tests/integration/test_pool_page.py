"""specs/pool.md: every block that needs no cluster runs as written, in its order, in one folder."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from cli_pools import ROOT, ask, environment

PAGE = (ROOT / "specs" / "pool.md").read_text("utf-8")
MICRO_PER_GPU_HOUR = 3_600 * 10**6


def blocks(kind: str) -> list[str]:
    """The blocks whose fence says exactly this."""
    return re.findall(rf"^```{re.escape(kind)}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where an administrator has typed the whole page, but for what needs Slurm."""
    where = tmp_path_factory.mktemp("afternoon")
    (where / "bin").mkdir()
    command = where / "bin" / "creditledger"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m creditledger "$@"\n')
    command.chmod(0o755)
    (rules,) = blocks("toml pool.toml")
    (where / "pool.toml").write_text(rules)
    path = os.pathsep.join([str(where / "bin"), os.environ["PATH"]])
    settings = environment() | {"PATH": path, "XDG_STATE_HOME": str(where / "state")}
    done = subprocess.run(
        ["bash", "-eux"],
        input="".join(blocks("shell")),
        cwd=where,
        env=settings,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, (done.stdout, done.stderr)
    said = [line for line in done.stderr.splitlines() if not line.startswith("+")]
    assert said == []
    return where


def test_the_afternoon_ends_with_a_pool_that_adds_up(folder: Path) -> None:
    """The project has its allocation less the one job, which alice paid for out of her cap."""
    pool = folder / "pool"
    project = ask("balance", pool, "protein-folding")
    paid = ask("balance", pool, "gpus")["metered_micro"]
    assert 0 < paid < 600_000
    assert project["balance_micro"] == 500 * MICRO_PER_GPU_HOUR - paid
    assert project["holds"] == []
    alice = ask("balance", pool, "alice")["account"]
    used = {row["delegate"]: row["used_micro"] for row in project["delegations"]}
    assert (used.pop(alice), set(used.values()), len(used)) == (paid, {0}, 2)
    assert project["budgets"][0]["spent_micro"] == paid
    assert ask("audit", pool, "--seen", folder / "seen")["ok"] is True
    assert ask("leaderboard", pool, "--by", "account")["rows"][0]["metered_micro"] == paid


def test_the_report_is_there_and_beancount_takes_it(folder: Path) -> None:
    assert "capture" in (folder / "protein-folding.csv").read_text()
    loader = pytest.importorskip("beancount.loader", reason="beancount is not installed")
    _, errors, _ = loader.load_file(str(folder / "pool.beancount"))
    assert errors == []


def test_a_cluster_is_wanted_in_two_lines_only(folder: Path) -> None:
    """Installing, delegating to the queue and reporting need none. What is installed last charges."""
    run = "creditledger queue run pool slurm"
    assert blocks("shell slurm") == [f"{run} --shadow\n", f"{run}\n"]
    assert len(blocks("shell")) + 3 == PAGE.count("\n```\n")
    installed = folder / "pool" / "queues" / "slurm"
    assert json.loads((installed / "settings.json").read_text())["accounts"] == {"protein": "protein-folding"}
    assert "local SHADOW = false" in (installed / "job_submit.lua").read_text()
    assert (folder / "usage.csv").read_text().startswith("month,account,")
