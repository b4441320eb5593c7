"""Kill -9 before, within and after every call that changes the disk, of every operation of a ledger."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cli_pools import environment

pytestmark = pytest.mark.gcc

KILLS = int(os.environ.get("CREDITLEDGER_BOUNDARY_KILLS", "300"))
"""How often a writer is killed; the long tier sets 10,000."""
TESTS = Path(__file__).parents[1]
OPERATIONS = {
    *("append", "group", "batch", "hold", "capture", "release", "expire"),
    *("publish", "round", "open", "grow", "init"),
}
ROW = "{:<9} {:>10} {:>6} {:>6}  {}"


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
    library = tmp_path_factory.mktemp("shim") / "kill_shim.so"
    source = TESTS / "kill_shim.c"
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
    return library


def campaign(shim: Path, folder: Path, kills: int, spoil: str = "nothing") -> dict[str, Any]:
    """What `kill_campaign` found in ``folder``."""
    search = os.pathsep.join([environment()["PYTHONPATH"], str(TESTS)])
    ended = subprocess.run(
        [sys.executable, TESTS / "kill_campaign.py", shim, folder, str(kills), "1", spoil],
        env={**environment(), "PYTHONPATH": search, "LD_PRELOAD": str(shim)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr[-3_000:]
    return dict(json.loads(ended.stdout))


def test_a_kill_at_any_boundary_loses_nothing(shim: Path, memory_path: Path) -> None:
    """S2, S3, I1, I5: all that was acknowledged is there and provable, what was founded opens, no hold ends
    twice, a repeat has its first place, and the next append works. Short writes end typed, or are gone on."""
    found = campaign(shim, memory_path, KILLS)
    print(ROW.format("operation", "boundaries", "kills", "least", "by the call"))
    for name, row in found["table"].items():
        by = ", ".join(f"{call} {count}" for call, count in sorted(row["by"].items()))
        print(ROW.format(name, row["boundaries"], row["kills"], row["least"], by))
    print(f"{found['kills']} kills, {len(found['wrongs'])} wrong; {found['survived']} ended by themselves")
    print(f"short writes, ended by exit code: {found['shorts']}")
    assert set(found["shorts"]) == {"0", "5"}
    assert not found["wrongs"], "\n".join(found["wrongs"])
    assert found["kills"] >= KILLS
    assert set(found["table"]) == OPERATIONS
    # Each boundary of an operation has three moments, and cycles go through all of them.
    moments = 3 * sum(row["boundaries"] for row in found["table"].values())
    assert all(row["least"] >= 3 * (KILLS // moments) for row in found["table"].values())


@pytest.mark.parametrize("spoil", ["early", "in place"])
def test_the_harness_catches_a_writer_that_breaks_its_promise(
    shim: Path, memory_path: Path, spoil: str
) -> None:
    assert campaign(shim, memory_path, 1_000, spoil)["wrongs"]
