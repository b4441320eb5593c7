"""What a reader remembers of a log between two looks, and what becomes of a log that contradicts it."""

import shutil
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from creditledger.errors import (
    BusyError,
    ConsistencyProofError,
    ForkError,
    InclusionProofError,
    IntegrityError,
    StorageError,
    VerificationError,
)
from creditledger.ledger.audit import AuditReport, audit_source
from creditledger.ledger.last_seen import LastSeen
from creditledger.ledger.ledger import Ledger
from creditledger.ledger.source import DirectorySource
from creditledger.transparency.fork import parse_fork, verify_fork
from creditledger.transparency.tile import Tile
from creditledger.transparency.trust_policy import TrustPolicy
from ledger_pools import START_MS, FixedClock, fill, found, grant, registration

NOW = START_MS + 1_000


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return found(tmp_path / "pool", FixedClock())


def history(path: Path, name: str, size: int) -> Path:
    """A log of ``size`` entries that all follow one founding, registered ``name`` first."""
    with found(path, FixedClock()) as ledger:
        ledger.append(registration(ledger.id, name))
        ledger.submit([grant(ledger.id, name, 1, number) for number in range(ledger.size, size)])
        ledger.publish()
    return path


def seen_in(folder: Path, pool: Path) -> LastSeen:
    return LastSeen(folder / "seen", TrustPolicy.load(pool / "policy"))


def look(pool: Path, seen: LastSeen) -> AuditReport:
    policy = TrustPolicy.load(pool / "policy")
    return audit_source(DirectorySource(pool / "public"), policy, now_unix_ms=NOW, memory=seen)


def remember(seen: LastSeen, note: bytes) -> None:
    with seen.locked():
        seen.keep(note)


def test_a_log_that_grows_is_followed(ledger: Ledger, tmp_path: Path) -> None:
    seen, before = seen_in(tmp_path, ledger.path), None
    for size in (1, 1, 256, 300, 515):
        fill(ledger, size)
        ledger.publish()
        report = look(ledger.path, seen)
        assert (report.problem, report.seen_size, report.entries) == ("", before, size)
        assert seen.note() == ledger.checkpoint()
        before = size


def test_the_last_note_is_kept_per_log(ledger: Ledger, tmp_path: Path) -> None:
    seen, policy = LastSeen(tmp_path / "seen", ledger.policy()), ledger.policy()
    assert seen.note() is None
    remember(seen, ledger.checkpoint())
    assert LastSeen(tmp_path / "seen", policy).note() == ledger.checkpoint()
    assert LastSeen(tmp_path / "seen", replace(policy, ledger_id=bytes(32))).note() is None
    assert LastSeen(tmp_path / "seen", replace(policy, ledger_id=None)).path != seen.path


def test_a_damaged_memory_is_said_and_not_overwritten(ledger: Ledger, tmp_path: Path) -> None:
    seen = seen_in(tmp_path, ledger.path)
    assert look(ledger.path, seen).ok
    seen.path.write_bytes(b"something else")
    assert isinstance(look(ledger.path, seen).error, IntegrityError)
    assert seen.path.read_bytes() == b"something else"


def test_a_place_that_is_no_folder_is_a_storage_error(ledger: Ledger, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError):
        look(ledger.path, LastSeen(tmp_path / "file" / "seen", ledger.policy()))


@pytest.mark.parametrize("sizes", [(300, 300), (300, 515), (256, 300)], ids=str)
def test_two_histories_leave_evidence(tmp_path: Path, sizes: tuple[int, int]) -> None:
    """L8: of equal sizes, and of a larger one."""
    first, second = (history(tmp_path / name, name, size) for name, size in zip("ab", sizes, strict=True))
    policy, seen = TrustPolicy.load(first / "policy"), seen_in(tmp_path, first)
    assert look(first, seen).ok
    kept = seen.note()
    report = look(second, seen)
    assert (report.entries, report.checkpoint_size, seen.note()) == (0, 0, kept)
    assert isinstance(report.error, ForkError)
    fork = verify_fork(report.error.evidence, policy)
    assert (fork.first.size, fork.second.size) == report.error.sizes == sizes
    assert look(first, seen).ok


def test_equal_sizes_convict_also_where_no_tile_is_served(tmp_path: Path) -> None:
    first, second = history(tmp_path / "a", "a", 300), history(tmp_path / "b", "b", 300)
    seen = seen_in(tmp_path, first)
    assert look(first, seen).ok
    shutil.rmtree(second / "public" / "tile")
    assert isinstance(look(second, seen).error, ForkError)


@pytest.mark.parametrize("smaller", [200, 257])
def test_a_smaller_tree_is_a_fork_where_the_larger_ones_tiles_tell(tmp_path: Path, smaller: int) -> None:
    """L8: a checkpoint of other entries is served beside the files of the 300 that were seen."""
    first, second = history(tmp_path / "a", "a", 300), history(tmp_path / "b", "b", smaller)
    policy, seen = TrustPolicy.load(first / "policy"), seen_in(tmp_path, first)
    assert look(first, seen).ok
    kept = seen.note()
    shutil.copy(second / "public" / "checkpoint", first / "public" / "checkpoint")
    report = look(first, seen)
    assert isinstance(report.error, ForkError)
    fork = verify_fork(report.error.evidence, policy)
    assert (fork.first.size, fork.second.size, seen.note()) == (smaller, 300, kept)


def test_a_smaller_tree_alone_convicts_nobody(tmp_path: Path) -> None:
    first, second = history(tmp_path / "a", "a", 300), history(tmp_path / "b", "b", 200)
    seen = seen_in(tmp_path, first)
    assert look(first, seen).ok
    report = look(second, seen)
    assert type(report.error) is ConsistencyProofError
    assert "cannot be told" in report.problem


def test_an_older_copy_is_refused_and_is_no_fork(ledger: Ledger, tmp_path: Path) -> None:
    """L12: an old checkpoint over a tree that goes on."""
    seen = seen_in(tmp_path, ledger.path)
    fill(ledger, 280)
    stale = ledger.publish()
    fill(ledger, 300)
    ledger.publish()
    assert look(ledger.path, seen).ok
    (ledger.directory.public / "checkpoint").write_bytes(stale)
    report = look(ledger.path, seen)
    assert type(report.error) is ConsistencyProofError
    assert "shorter" in report.problem
    assert "cannot be told" not in report.problem
    assert (report.seen_size, report.checkpoint_size) == (300, 0)
    ledger.publish()
    assert look(ledger.path, seen).ok


def test_what_was_signed_is_kept_also_where_its_entries_break_rules(tmp_path: Path) -> None:
    """L8: the log signs a tree that does not hold, and rewrites it once it was found out."""
    bad, good = history(tmp_path / "a", "a", 300), history(tmp_path / "b", "b", 300)
    seen = seen_in(tmp_path, bad)
    entries = bad / "public" / "tile" / "entries" / "000"
    entries.write_bytes(entries.read_bytes()[:-1])
    report = look(bad, seen)
    assert (report.ok, report.checkpoint_size) == (False, 300)
    assert seen.note() == (bad / "public" / "checkpoint").read_bytes()
    assert isinstance(look(good, seen).error, ForkError)


def test_a_tree_that_is_not_shown_is_not_kept(ledger: Ledger, tmp_path: Path) -> None:
    seen = seen_in(tmp_path, ledger.path)
    fill(ledger, 300)
    ledger.publish()
    (ledger.directory.public / "tile" / "0" / "001.p" / "44").write_bytes(bytes(44 * 32))
    assert isinstance(look(ledger.path, seen).error, InclusionProofError)
    assert seen.note() is None


def test_evidence_is_made_of_the_note_that_failed(tmp_path: Path) -> None:
    """A server that goes back to the old story on the second question convicts itself all the same."""
    first, second = history(tmp_path / "a", "a", 300), history(tmp_path / "b", "b", 300)
    policy, seen = TrustPolicy.load(first / "policy"), seen_in(tmp_path, first)
    assert look(first, seen).ok
    asked: list[bytes] = []

    class Turncoat(DirectorySource):
        __slots__ = ()

        def checkpoint(self) -> bytes:
            asked.append(((first if asked else second) / "public" / "checkpoint").read_bytes())
            return asked[-1]

    source = Turncoat(second / "public")
    error = audit_source(source, policy, now_unix_ms=NOW, memory=seen).error
    assert isinstance(error, ForkError)
    assert len(asked) == 1
    text = asked[0].partition(b"\n\n")[0]
    assert parse_fork(error.evidence).second.startswith(text)


def test_two_readers_do_not_accept_two_successors_of_one_checkpoint(tmp_path: Path) -> None:
    """L8: each is shown another fork while the other compares; one of them must find out."""
    first, second = history(tmp_path / "a", "a", 300), history(tmp_path / "b", "b", 300)
    policy, seen = TrustPolicy.load(first / "policy"), seen_in(tmp_path, first)
    in_turn, over = threading.Event(), threading.Event()

    class Slow(DirectorySource):
        __slots__ = ()

        def checkpoint(self) -> bytes:
            in_turn.set()
            over.wait(30)
            return super().checkpoint()

    slow = threading.Thread(
        target=audit_source,
        args=(Slow(first / "public"), policy),
        kwargs={"now_unix_ms": NOW, "memory": seen},
    )
    slow.start()
    try:
        assert in_turn.wait(30)
        with pytest.raises(BusyError, match="another reader"):
            look(second, seen)
    finally:
        over.set()
        slow.join(30)
    assert seen.note() == (first / "public" / "checkpoint").read_bytes()
    assert isinstance(look(second, seen).error, ForkError)


def test_the_memory_is_free_while_the_log_is_replayed(tmp_path: Path) -> None:
    pool = history(tmp_path / "a", "a", 300)
    policy, seen = TrustPolicy.load(pool / "policy"), seen_in(tmp_path, pool)
    inner: list[bool] = []

    class Nested(DirectorySource):
        __slots__ = ()

        def tile(self, tile: Tile) -> bytes:
            if tile.level is None and not inner:
                inner.append(look(pool, seen).ok)
            return super().tile(tile)

    report = audit_source(Nested(pool / "public"), policy, now_unix_ms=NOW, memory=seen)
    assert (report.ok, inner) == (True, [True])


def test_another_log_under_the_same_ledger_is_refused(ledger: Ledger, tmp_path: Path) -> None:
    seen = seen_in(tmp_path, ledger.path)
    remember(seen, ledger.checkpoint().replace(b"pool.example/test\n", b"pool.example/else\n", 1))
    report = look(ledger.path, seen)
    assert isinstance(report.error, ConsistencyProofError)
    assert "another log" in report.problem


def test_what_nobody_signed_convicts_nobody(tmp_path: Path) -> None:
    """A memory that somebody tampered with is contradicted, but gives no evidence."""
    first, second = history(tmp_path / "a", "a", 300), history(tmp_path / "b", "b", 300)
    seen = seen_in(tmp_path, first)
    text, _, lines = (second / "public" / "checkpoint").read_bytes().partition(b"\n\n")
    remember(seen, text.replace(b"\n300\n", b"\n256\n") + b"\n\n" + lines)
    report = look(first, seen)
    assert type(report.error) is ConsistencyProofError
    assert "no evidence" in report.problem
    assert isinstance(report.error, VerificationError)
