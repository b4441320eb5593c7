"""A ledger moves between its directory and a database, and loses nothing. Source: specs/postgres.md §5."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cli_pools import Stage, ask, cli, environment
from creditledger.errors import BusyError, ConflictError
from creditledger.ledger import store_move
from creditledger.ledger.fsck import check
from creditledger.ledger.ledger import Ledger
from creditledger.ledger.postgres_session import has_schema
from creditledger.ledger.postgres_store import PostgresStore
from creditledger.ledger.store_move import move_store
from creditledger.ledger.whole_rows import digest_of_rows
from ledger_pools import FixedClock, fill, found
from postgres_server import new_schema


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    """A ledger with a few hundred rows, closed."""
    with found(tmp_path / "pool", clock=FixedClock()) as ledger:
        fill(ledger, 40)
        ledger.publish()
    return tmp_path / "pool"


def facts(pool: Path) -> tuple[int, bytes, bytes, bytes]:
    """Size, root, checkpoint, and a hash over all rows."""
    with Ledger.open(pool, read_only=True) as ledger, ledger.snapshot() as snapshot:
        with ledger._store.read() as view:
            rows, _ = digest_of_rows(view)
        return snapshot.log.size, snapshot.log.root, ledger.checkpoint(), rows


def test_there_and_back_again(tmp_path: Path, postgres: str) -> None:
    """Tree, balances and checkpoint are the same, and the ledger goes on in either place."""
    stage, url = Stage(tmp_path), new_schema(postgres)
    stage.grant("alice", "5")
    before, balance = facts(stage.pool), stage.balance("alice")
    moved = ask("move", stage.pool, "--store", url)
    assert (moved["size"], moved["root"]) == (before[0], before[1].hex())
    assert (stage.pool / "store").is_file()
    assert facts(stage.pool) == before
    assert stage.balance("alice") == balance
    stage.grant("alice", "1")
    grown = facts(stage.pool)
    assert ask("move", stage.pool)["size"] == grown[0] > before[0]
    assert (stage.pool / "store").is_dir()
    assert facts(stage.pool) == grown
    assert not has_schema(url)
    assert ask("audit", stage.pool)["ok"]
    assert ask("fsck", stage.pool)["entries"] == grown[0]
    assert sorted(path.name for path in stage.pool.glob("store*")) == ["store"]


class StoppedError(Exception):
    """Stands for a kill."""


STEPS = ["copy_rows", "require_same", "_switch", "_discard"]


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("is_after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("way", ["there", "back"])
def test_stopped_anywhere_the_same_again_ends_it(
    pool: Path, postgres: str, monkeypatch: pytest.MonkeyPatch, step: str, is_after: bool, way: str
) -> None:
    url = new_schema(postgres)
    if way == "back":
        move_store(pool, url)
    before, real = facts(pool), getattr(store_move, step)

    def stopped(*arguments: object) -> object:
        if is_after:
            real(*arguments)
        raise StoppedError(step)

    aim = url if way == "there" else None
    with monkeypatch.context() as patch:
        patch.setattr(store_move, step, stopped)
        with pytest.raises(StoppedError):
            move_store(pool, aim)
    if (pool / "store").exists():
        assert facts(pool) == before
    with contextlib.suppress(ConflictError):  # it had moved before it was stopped
        move_store(pool, aim)
    assert facts(pool) == before
    assert sorted(path.name for path in pool.glob("store*")) == ["store"]
    assert (pool / "store").is_file() == (way == "there")


def test_between_the_two_names_the_next_call_ends_it(pool: Path, postgres: str) -> None:
    """The one moment in which nothing is called `store`."""
    url, before = new_schema(postgres), facts(pool)
    move_store(pool, url)
    (pool / "store").rename(pool / "store.new")
    (pool / "store.old").mkdir()
    with pytest.raises(ConflictError):
        move_store(pool, url)
    assert facts(pool) == before
    assert sorted(path.name for path in pool.glob("store*")) == ["store"]


@pytest.mark.strace
def test_a_killed_move_is_ended_by_the_same_again(pool: Path, postgres: str) -> None:
    url, before = new_schema(postgres), facts(pool)
    for number in range(1, 400, 45):
        command = ["strace", "-f", "-o", os.devnull, "-e", "trace=sendto,rename,fsync,unlink"]
        command += ["-e", f"inject=sendto,rename,fsync,unlink:signal=SIGKILL:when={number}"]
        words = [sys.executable, "-m", "creditledger", "move", str(pool), "--store", url]
        ended = subprocess.run([*command, *words], env=environment(), capture_output=True, check=False)
        if ended.returncode != -signal.SIGKILL and ended.returncode != 128 + signal.SIGKILL:
            break
        if (pool / "store").exists():
            assert facts(pool) == before
    move_again = cli("move", pool, "--store", url)
    assert move_again.code in (0, 6)
    assert facts(pool) == before
    assert check(pool) == before[0]


def test_what_lies_in_a_schema_already_stays(pool: Path, tmp_path: Path, postgres: str) -> None:
    """A schema that is taken is refused and stays, and so does the ledger."""
    url, before = new_schema(postgres), facts(pool)
    (tmp_path / "another").mkdir()
    other = Stage(tmp_path / "another").pool
    move_store(other, url)
    theirs = facts(other)
    refused = cli("move", pool, "--store", url)
    assert refused.code == 5
    (pool / "store.new").write_text(url + "\n")
    again = cli("move", pool, "--store", new_schema(postgres))
    assert again.code == 5
    assert "another ledger" in again.err
    assert facts(other) == theirs
    assert facts(pool) == before


def test_who_writes_is_not_moved(pool: Path, postgres: str) -> None:
    with Ledger.open(pool, clock=FixedClock()):
        refused = cli("move", pool, "--store", new_schema(postgres))
    assert refused.code == 3
    assert (pool / "store").is_dir()


def test_no_front_end_writes_before_the_old_rows_are_gone(
    pool: Path, postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it appended then would be acknowledged and lost."""
    url, refused = new_schema(postgres), []
    move_store(pool, url)
    for name in ("_switch", "_discard"):
        monkeypatch.setattr(store_move, name, trying(getattr(store_move, name), url, refused))
    move_store(pool, None)
    assert len(refused) >= 2


def trying(real: Callable[..., None], url: str, refused: list[str]) -> Callable[..., None]:
    """A step of a move, before which another front end wants to write."""

    def step(*arguments: object) -> None:
        with pytest.raises(BusyError):
            PostgresStore(url)
        refused.append(real.__name__)
        real(*arguments)

    return step
