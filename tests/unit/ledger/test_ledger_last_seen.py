"""What a reader remembers of a log between two audits."""

from dataclasses import replace
from pathlib import Path

import pytest

from creditledger.errors import IntegrityError, StorageError
from creditledger.ledger.audit import audit_source
from creditledger.ledger.last_seen import LastSeen
from creditledger.ledger.ledger import Ledger
from creditledger.ledger.source import DirectorySource
from creditledger.transparency.checkpoint import parse_checkpoint_note
from ledger_pools import START_MS, FixedClock, fill, found


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return found(tmp_path / "pool", FixedClock())


def test_the_last_note_is_kept_per_log(ledger: Ledger, tmp_path: Path) -> None:
    seen, policy = LastSeen(tmp_path / "seen"), ledger.policy()
    assert seen.note(policy) is None
    seen.keep(policy, ledger.checkpoint())
    assert seen.note(policy) == ledger.checkpoint()
    assert seen.note(replace(policy, ledger_id=bytes(32))) is None
    assert seen.path(replace(policy, ledger_id=None)) != seen.path(policy)


def test_a_smaller_tree_never_replaces_a_larger_one(ledger: Ledger, tmp_path: Path) -> None:
    seen, policy, small = LastSeen(tmp_path / "seen"), ledger.policy(), ledger.checkpoint()
    fill(ledger, 9)
    large = ledger.publish()
    seen.keep(policy, large)
    seen.keep(policy, small)
    assert seen.note(policy) == large


def test_a_damaged_memory_is_said_and_not_overwritten(ledger: Ledger, tmp_path: Path) -> None:
    seen, policy = LastSeen(tmp_path / "seen"), ledger.policy()
    seen.keep(policy, ledger.checkpoint())
    seen.path(policy).write_bytes(b"something else")
    with pytest.raises(IntegrityError):
        seen.note(policy)
    with pytest.raises(IntegrityError):
        seen.keep(policy, ledger.checkpoint())
    assert seen.path(policy).read_bytes() == b"something else"


def test_a_place_that_is_no_folder_is_a_storage_error(ledger: Ledger, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError):
        LastSeen(tmp_path / "file" / "seen").keep(ledger.policy(), ledger.checkpoint())


def test_an_older_copy_is_refused_and_is_no_fork(ledger: Ledger) -> None:
    """A log that was made shorter, or a reader who is shown an old copy: nobody is convicted."""
    fill(ledger, 9)
    old = ledger.publish()
    fill(ledger, 12)
    new = ledger.publish()
    (ledger.directory.public / "checkpoint").write_bytes(old)
    source = DirectorySource(ledger.directory.public)
    report = audit_source(source, ledger.policy(), now_unix_ms=START_MS, seen=new)
    assert "shorter" in report.problem
    assert (report.evidence, report.checkpoint_size) == (None, 0)
    again = audit_source(source, ledger.policy(), now_unix_ms=START_MS, seen=old)
    assert again.ok
    assert parse_checkpoint_note(again.note).size == 9
