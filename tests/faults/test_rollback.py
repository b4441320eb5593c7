"""Every earlier state of the store, put back: the writer refuses it before it signs anything."""

import shutil
import time
from pathlib import Path

import pytest

from cli_pools import cli
from crash_pools import opened
from creditledger.errors import RollbackError
from creditledger.ledger.fsck import check
from creditledger.ledger.ledger import Ledger
from ledger_pools import FixedClock, found, grant, registration

SNAPSHOTS = 12


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A ledger after each of its commits, the last one published; copies of its whole directory."""
    folder = tmp_path_factory.mktemp("rollback")
    found(folder / "pool").close()
    moments = []
    for number in range(SNAPSHOTS):
        with opened(folder / "pool") as ledger:
            if number == 0:
                ledger.append(registration(ledger.id, "alice"))
            elif number % 4 == 3:
                ledger.complete_round()
            else:
                ledger.append(grant(ledger.id, "alice", 1, number))
            if number == SNAPSHOTS - 1:
                ledger.publish()
        moments.append(Path(shutil.copytree(folder / "pool", folder / f"moment-{number}")))
    return moments


def put_back(latest: Path, earlier: Path, target: Path, *names: str) -> Path:
    """The latest ledger with ``names`` as they were earlier."""
    shutil.copytree(latest, target)
    for name in names:
        if (target / name).is_dir():
            shutil.rmtree(target / name)
            shutil.copytree(earlier / name, target / name)
        else:
            shutil.copy(earlier / name, target / name)
    return target


def files(path: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(path)): file.read_bytes()
        for file in path.rglob("*")
        if file.is_file() and file.name != "lock.mdb"
    }


@pytest.mark.parametrize("moment", range(SNAPSHOTS - 1))
@pytest.mark.parametrize("read_only", [False, True])
def test_an_earlier_store_is_refused_at_once(
    history: list[Path], tmp_path: Path, moment: int, read_only: bool
) -> None:
    pool = put_back(history[-1], history[moment], tmp_path / "pool", "store")
    before = files(pool)
    began = time.monotonic()
    with pytest.raises(RollbackError) as caught:
        Ledger.open(pool, clock=FixedClock(), read_only=read_only)
    assert time.monotonic() - began < 1
    assert caught.value.exit_code == 4
    assert files(pool) == before


@pytest.mark.parametrize("verb", ["append", "checkpoint", "fsck"])
def test_the_verbs_end_with_exit_code_4(history: list[Path], tmp_path: Path, verb: str) -> None:
    pool = put_back(history[-1], history[3], tmp_path / "pool", "store")
    more: dict[str, tuple[str, ...]] = {"append": ("--stdin", "--ack")}
    assert cli(verb, pool, *more.get(verb, ()), stdin=b"").code == 4
    latest = put_back(history[-1], history[-1], tmp_path / "latest", "store")
    assert cli("fsck", latest).code == 0


@pytest.mark.parametrize("moment", range(SNAPSHOTS - 1))
def test_an_earlier_store_and_head_are_refused_by_what_is_published(
    history: list[Path], tmp_path: Path, moment: int
) -> None:
    """The head agrees with the store, but the world has seen a later checkpoint."""
    pool = put_back(history[-1], history[moment], tmp_path / "pool", "store", "head")
    before = files(pool)
    with pytest.raises(RollbackError, match="published checkpoint"):
        opened(pool)
    assert files(pool) == before
    with pytest.raises(RollbackError):
        check(pool)


@pytest.mark.parametrize("moment", range(SNAPSHOTS - 1))
def test_a_publisher_refuses_what_was_put_back_under_it(
    history: list[Path], tmp_path: Path, moment: int
) -> None:
    pool = put_back(history[-1], history[moment], tmp_path / "pool", "store", "head", "public")
    with opened(pool) as ledger:
        shutil.copy(history[-1] / "public" / "checkpoint", pool / "public" / "checkpoint")
        with pytest.raises(RollbackError):
            ledger.publish()


@pytest.mark.parametrize("moment", range(SNAPSHOTS - 1))
def test_with_the_checkpoint_put_back_too_the_witness_still_refuses(
    history: list[Path], tmp_path: Path, moment: int
) -> None:
    pool = put_back(history[-1], history[moment], tmp_path / "pool", "store", "head", "public")
    with opened(pool) as ledger, pytest.raises(RollbackError):
        ledger.publish()


def test_the_latest_of_everything_is_taken(history: list[Path], tmp_path: Path) -> None:
    pool = put_back(history[-1], history[-1], tmp_path / "pool", "store", "head")
    with opened(pool) as ledger:
        ledger.append(grant(ledger.id, "alice", 1, 500))
        ledger.complete_round()
    assert check(pool) > 0
