"""What a service keeps beside the log: in the commit it belongs to, and no part of the log."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from creditledger.credits.state import StateView
from creditledger.errors import StorageError
from creditledger.ledger.fsck import check
from creditledger.ledger.ledger import Ledger
from creditledger.ledger.writer import Acknowledgement, Outcome
from ledger_pools import FixedClock, found, grant, registration


def rows(ledger: Ledger) -> list[tuple[bytes, bytes]]:
    with ledger.snapshot() as snapshot:
        return list(snapshot.beside.scan(b""))


def test_rows_are_committed_with_the_group_they_speak_of(tmp_path: Path) -> None:
    seen: list[Outcome] = []

    def also(kept: StateView, outcomes: Sequence[Outcome]) -> None:
        seen.extend(outcomes)
        kept.put(b"row", b"value")

    with found(tmp_path / "pool") as ledger:
        before = ledger.size
        outcomes = ledger.submit([registration(ledger.id, "a"), grant(b"\7" * 32, "a", 1)], also=also)
        assert [type(one).__name__ for one in outcomes] == ["Acknowledgement", "SignatureError"]
        assert seen == outcomes
        assert (rows(ledger), ledger.size) == ([(b"row", b"value")], before + 1)
        ledger.publish()
    check(tmp_path / "pool")
    with Ledger.open(tmp_path / "pool", read_only=True) as ledger:
        assert rows(ledger) == [(b"row", b"value")]


def test_a_hook_that_fails_leaves_neither_rows_nor_entries(tmp_path: Path) -> None:
    def fail(kept: StateView, outcomes: Sequence[Outcome]) -> None:
        kept.put(b"row", b"value")
        raise ValueError("a bug")

    with found(tmp_path / "pool") as ledger:
        before = ledger.size
        with pytest.raises(ValueError, match="a bug"):
            ledger.submit([registration(ledger.id, "a")], also=fail)
        assert (rows(ledger), ledger.size) == ([], before)
        assert ledger.append(registration(ledger.id, "a")).index == before


def test_a_ledger_that_failed_goes_on_once_reopened(tmp_path: Path) -> None:
    """Nothing of the failed group is there, and what was acknowledged before is."""

    def fail(kept: StateView, outcomes: Sequence[Outcome]) -> None:
        raise StorageError("the disk is gone")

    with found(tmp_path / "pool", FixedClock()) as ledger:
        first = ledger.append(registration(ledger.id, "a"))
        with pytest.raises(StorageError, match="gone"):
            ledger.submit([registration(ledger.id, "b")], also=fail)
        with pytest.raises(StorageError, match="writer stopped"):
            ledger.append(registration(ledger.id, "b"))
        ledger.reopen()
        assert ledger.append(registration(ledger.id, "b")).index == first.index + 1
        again = ledger.append(registration(ledger.id, "a"))
        assert again == Acknowledgement(index=first.index, leaf_hash=first.leaf_hash, repeated=True)
        ledger.publish()
    check(tmp_path / "pool")
    with (
        Ledger.open(tmp_path / "pool", read_only=True) as ledger,
        pytest.raises(StorageError, match="reading"),
    ):
        ledger.reopen()
