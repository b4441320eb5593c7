"""A ledger in one file, to another machine and on from there. Source: specs/postgres.md §6."""

import contextlib
import os
import signal
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest

from cli_pools import Stage, ask, cli, environment
from creditledger.errors import BusyError, CreditLedgerError, IntegrityError, MalformedRecordError
from creditledger.ledger import archive
from creditledger.ledger.archive import FORMAT, read_archive, write_archive
from creditledger.ledger.fsck import check
from creditledger.ledger.ledger import Ledger
from creditledger.ledger.postgres_session import has_schema
from integration.test_store_move import facts, pool
from ledger_pools import FixedClock, fill
from postgres_server import new_schema

__all__ = ["pool"]


def archived(pool: Path) -> bytes:
    pieces: list[bytes] = []
    write_archive(pool, pieces.append)
    return b"".join(pieces)


def read_in(content: bytes, place: Path, url: str | None = None) -> None:
    (place.parent / "archive").write_bytes(content)
    with (place.parent / "archive").open("rb") as file:
        read_archive(file, place, url)


def public(pool: Path) -> dict[str, bytes]:
    """What a pool shows, checkpoints and tiles."""
    files = (path for path in sorted((pool / "public").rglob("*")) if path.is_file())
    return {str(path.relative_to(pool)): path.read_bytes() for path in files}


def modes(pool: Path) -> dict[str, int]:
    """Of folders and files, but for what each machine has of its own."""
    places = {str(path.relative_to(pool)): path.stat().st_mode & 0o777 for path in pool.rglob("*")}
    return {name: mode for name, mode in places.items() if not name.startswith(("store", "lock"))}


def test_to_a_directory_to_a_database_and_back(tmp_path: Path, postgres: str) -> None:
    """The same rows, balances and published files each time, and the ledger goes on."""
    stage, url = Stage(tmp_path), new_schema(postgres)
    stage.grant("alice", "5")
    before, balance, shown = facts(stage.pool), stage.balance("alice"), public(stage.pool)
    told = ask("export", stage.pool, "--format", "archive", "-o", stage / "one")
    assert (told["size"], told["root"]) == (before[0], before[1].hex())
    assert (stage / "one").stat().st_mode & 0o777 == 0o600
    assert ask("import", stage / "one", stage / "directory")["size"] == before[0]
    ask("import", stage / "one", stage / "database", "--store", url)
    ask("export", stage / "database", "--format", "archive", "-o", stage / "two")
    ask("import", stage / "two", stage / "again")
    assert (stage / "database" / "store").is_file()
    for name in ("directory", "database", "again"):
        assert facts(stage / name) == before
        assert public(stage / name) == shown
        assert ask("balance", stage / name, "alice") == balance
        assert ask("audit", stage / name)["ok"]
        assert modes(stage / name) == modes(stage.pool)
    ask("grant", stage / "again", "alice", "1", "--reason", "more")
    assert check(stage / "again") > before[0]


def test_the_same_again_finds_it_there_and_another_ledger_is_refused(pool: Path, tmp_path: Path) -> None:
    content = archived(pool)
    read_in(content, tmp_path / "new")
    read_in(content, tmp_path / "new")
    with Ledger.open(tmp_path / "new", clock=FixedClock()) as ledger:
        fill(ledger, ledger.size + 1)
    with pytest.raises(CreditLedgerError, match="another ledger lies there, or this one went on"):
        read_in(content, tmp_path / "new")


def test_nobody_writes_while_it_is_written_out(pool: Path) -> None:
    with Ledger.open(pool, clock=FixedClock()), pytest.raises(BusyError):
        archived(pool)
    assert archived(pool).startswith(FORMAT)


def test_no_flipped_byte_and_no_cut_is_read_in(pool: Path, tmp_path: Path) -> None:
    content = archived(pool)
    for number in range(60):
        at = int.from_bytes(sha256(b"%d" % number).digest()[:8], "big") % len(content)
        spoilt = content[:at] + bytes([content[at] ^ (1 << number % 8)]) + content[at + 1 :]
        for bad in (spoilt, content[:at]):
            with pytest.raises(CreditLedgerError):
                read_in(bad, tmp_path / "new")
            assert not (tmp_path / "new").exists()
    with pytest.raises(IntegrityError, match="damaged"):
        read_in(content + b"\0", tmp_path / "new")
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    read_in(content, tmp_path / "new")


def header(*, rows: int = 0) -> bytes:
    return FORMAT + bytes(32) + rows.to_bytes(8, "big")


def file_of(name: bytes, content: bytes = b"") -> bytes:
    return len(name).to_bytes(2, "big") + name + b"\x01\x80" + len(content).to_bytes(8, "big") + content


def row(key: bytes, size: int = 0) -> bytes:
    return len(key).to_bytes(2, "big") + key + size.to_bytes(4, "big") + bytes(min(size, 16))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"PK\3\4" + bytes(60), "not an archive"),
        (header() + file_of(b"../beside"), "leads elsewhere"),
        (header() + file_of(b"/etc/passwd"), "leads elsewhere"),
        (header() + file_of(b"keys//a"), "leads elsewhere"),
        (header() + file_of(b"keys//"), "leads elsewhere"),
        (header() + file_of(b"../"), "leads elsewhere"),
        (header() + file_of(b"/"), "leads elsewhere"),
        (header() + file_of(b"keys/\0"), "leads elsewhere"),
        (header() + file_of(b"\xff"), "not text"),
        (header() + file_of(b"store/data.mdb"), "not carried"),
        (header() + file_of(b"lock"), "not carried"),
        (header() + b"\xff\xff" + bytes(2_000), "a name is too long"),
        (header(rows=2) + bytes(2) + row(b"b") + row(b"a"), "out of order"),
        (header(rows=2) + bytes(2) + row(b"b") + row(b"b"), "out of order"),
        (header(rows=1) + bytes(2) + row(bytes(500)), "a row's key is too long"),
        (header(rows=1) + bytes(2) + row(b"b", 2**31), "a row is too long"),
    ],
)
def test_what_no_ledger_has_is_refused_before_it_is_read(
    tmp_path: Path, content: bytes, message: str
) -> None:
    with pytest.raises(MalformedRecordError, match=message):
        read_in(content, tmp_path / "new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["archive"]


def test_a_name_that_comes_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CreditLedgerError, match="exists"):
        read_in(header() + file_of(b"head") + file_of(b"head"), tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("step", ["_fill", "_require_sound", "move_store"])
@pytest.mark.parametrize("is_after", [False, True], ids=["before", "after"])
def test_stopped_anywhere_the_same_again_ends_it(
    pool: Path, tmp_path: Path, postgres: str, monkeypatch: pytest.MonkeyPatch, step: str, is_after: bool
) -> None:
    content, url, before = archived(pool), new_schema(postgres), facts(pool)
    real = getattr(archive, step)

    def stopped(*arguments: object, **named: object) -> object:
        if is_after:
            real(*arguments, **named)
        raise InterruptedError(step)

    with monkeypatch.context() as patch:
        patch.setattr(archive, step, stopped)
        with contextlib.suppress(InterruptedError, CreditLedgerError):
            read_in(content, tmp_path / "new", url)
    if (tmp_path / "new").exists():
        assert facts(tmp_path / "new") == before
    read_in(content, tmp_path / "new", url)
    assert facts(tmp_path / "new") == before
    assert has_schema(url)


@pytest.mark.strace
def test_a_killed_import_leaves_nothing_or_a_whole_ledger(pool: Path, tmp_path: Path) -> None:
    before, content = facts(pool), archived(pool)
    (tmp_path / "file").write_bytes(content)
    words = [sys.executable, "-m", "creditledger", "import", str(tmp_path / "file"), str(tmp_path / "new")]
    killed = 0
    for number in range(1, 60, 4):
        command = ["strace", "-f", "-o", os.devnull, "-e", "trace=fsync,fdatasync,rename"]
        command += ["-e", f"inject=fsync,fdatasync,rename:signal=SIGKILL:when={number}"]
        ended = subprocess.run([*command, *words], env=environment(), capture_output=True, check=False)
        if ended.returncode not in (-signal.SIGKILL, 128 + signal.SIGKILL):
            break
        killed += 1
        if (tmp_path / "new").exists():
            assert facts(tmp_path / "new") == before
            break
    assert killed >= 5
    assert cli("import", tmp_path / "file", tmp_path / "new").code == 0
    assert facts(tmp_path / "new") == before
