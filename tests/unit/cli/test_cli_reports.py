"""`report checks`: tables and pictures of a calibration and of a ledger."""

import json
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from cli_pools import ask, cli
from creditledger.activations.calibration import write_profile
from creditledger.activations.runners.span_kernels import degraded_kernels, honest_kernels
from creditledger.activations.runners.span_samples import measure_samples, samples_header, span_run
from fakes.tiny_llama import SHAPE, inputs_of
from fakes.working_fixtures import make_pool, pool, working_model
from fakes.working_pool import WorkingModel, WorkingPool
from unit.validation.test_validation_history import judged

__all__ = ["make_pool", "pool", "working_model"]

SPAN = {"layer_start": 0, "layer_stop": 2}


@pytest.fixture
def profile(tmp_path: Path, working_model: WorkingModel) -> Path:
    """A profile with its samples beside it: two honest kernels, two cheats."""
    calibrated = working_model.profiles[2]
    kernels = [
        *honest_kernels(working_model.model, **SPAN)[:2],
        *degraded_kernels(working_model.model, kinds=["int8", "int4"], **SPAN),
    ]
    runs = [span_run(working_model.runner, inputs_of(SHAPE, 256, seed=seed), **SPAN) for seed in (1, 2)]
    measured = measure_samples(kernels, runs, exponents=calibrated.exponents)
    write_profile(tmp_path / "p", calibrated)
    lines = [samples_header(calibrated), *(sample.to_line() for sample in measured)]
    (tmp_path / "p.samples").write_text("\n".join(lines) + "\n")
    return tmp_path / "p"


def size_of(picture: Path) -> tuple[int, int]:
    """Width and height of a PNG, or of an SVG in points."""
    content = picture.read_bytes()
    if content.startswith(b"\x89PNG"):
        width, height = struct.unpack(">II", content[16:24])
        return int(width), int(height)
    root = ElementTree.fromstring(content)
    return int(float(root.attrib["width"][:-2])), int(float(root.attrib["height"][:-2]))


def test_a_profile_is_told_kernel_by_kernel(profile: Path) -> None:
    told = ask("report", "checks", profile)
    rows: dict[str, Any] = {row["kernel"]: row for row in told["kernels"]}
    assert list(rows) == ["yardstick", "split-k4", "int8", "int4"]
    assert [rows[name]["honest"] for name in rows] == [True, True, False, False]
    assert rows["int4"]["refuted_default_256"] == 1.0
    assert rows["yardstick"]["refuted_strict_256"] == 0.0
    assert told["file"] is None
    said = cli("report", "checks", profile)
    assert (said.code, "yardstick" in said.out, "│" in said.out) == (0, True, True)


@pytest.mark.parametrize("kind", ["png", "svg"])
def test_a_profile_is_drawn_the_same_every_time(profile: Path, tmp_path: Path, kind: str) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    pictures = [tmp_path / f"{name}.{kind}" for name in ("a", "b")]
    for picture in pictures:
        assert ask("report", "checks", profile, "-o", picture)["file"] == str(picture)
    assert pictures[0].read_bytes() == pictures[1].read_bytes()
    width, height = size_of(pictures[0])
    assert width > 600
    assert height > 150
    if kind == "svg":
        assert b"creditledger" not in pictures[0].read_bytes()


@pytest.mark.parametrize("ratio", ["null", "0.0"])
def test_extreme_ratios_stay_in_the_picture(profile: Path, tmp_path: Path, ratio: str) -> None:
    """Infinite and zero ones, of a kernel with a single window."""
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    header, first, *_ = profile.with_name("p.samples").read_text().splitlines()
    odd = json.dumps(json.loads(first) | {"kernel": "odd", "ratio": json.loads(ratio)})
    (tmp_path / "odd").write_text("\n".join([header, odd]))
    told = ask("report", "checks", profile, "--samples", tmp_path / "odd", "-o", tmp_path / "odd.png")
    assert told["kernels"][0]["ratio_median_32"] == (1e9 if ratio == "null" else 0.0)


def test_what_cannot_be_reported_leaves_no_picture(profile: Path, tmp_path: Path) -> None:
    picture = tmp_path / "x.png"
    assert cli("report", "checks", profile, "-o", tmp_path / "x.pdf").code == 2
    profile.with_name("p.samples").unlink()
    said = cli("report", "checks", profile, "-o", picture)
    assert said.code == 2
    assert "calibrate --samples" in said.err
    (tmp_path / "p.samples").write_text('{"samples_of":"00"}\n')
    assert "not samples of this profile" in cli("report", "checks", profile, "-o", picture).err
    assert not picture.exists()


def test_without_matplotlib_the_extra_is_named(
    profile: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert cli("report", "checks", profile).code == 0
    said = cli("report", "checks", profile, "-o", tmp_path / "x.png")
    assert said.code == 5
    assert "creditledger[plots]" in said.err


def test_a_ledger_is_told_by_node_and_round(pool: WorkingPool, tmp_path: Path) -> None:
    """Ratios are a validator's own: without its journal there are none."""
    judged(pool)
    pool.close()
    told = ask("report", "checks", pool.folder / "ledger")
    nodes = {row["name"]: row for row in told["nodes"]}
    assert (nodes["node-0"]["upheld"], nodes["node-0"]["refuted"]) == (2, 0)
    assert (nodes["node-1"]["upheld"], nodes["node-1"]["refuted"]) == (0, 2)
    assert nodes["node-1"]["suspended"]
    assert [row["upheld"] + row["refuted"] + row["inconclusive"] for row in told["rounds"]] == [4]
    assert told["ratios"] == []

    journal = ["--journal", pool.folder / "journal-0"]
    ratios = ask("report", "checks", pool.folder / "ledger", *journal)["ratios"]
    assert {row["name"]: row["outcome"] for row in ratios} == {"node-0": "upheld", "node-1": "refuted"}
    assert all((row["ratio"] > row["threshold"]) == (row["outcome"] == "refuted") for row in ratios)
    said = cli("report", "checks", pool.folder / "ledger", *journal)
    assert (said.code, "Measured by this validator" in said.out) == (0, True)


def test_a_ledger_is_drawn(make_pool: Callable[..., WorkingPool], tmp_path: Path) -> None:
    """Also one in which nothing was checked yet."""
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    new, old = make_pool(), judged(make_pool())
    new.close()
    old.close()
    journal = ["--journal", old.folder / "journal-0"]
    assert cli("report", "checks", new.folder / "ledger", "-o", tmp_path / "new.svg").code == 0
    assert cli("report", "checks", old.folder / "ledger", *journal, "-o", tmp_path / "old.svg").code == 0
    assert size_of(tmp_path / "old.svg")[1] > size_of(tmp_path / "new.svg")[1]
