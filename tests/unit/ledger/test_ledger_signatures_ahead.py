"""Signatures of a group are checked before the turn, and refused in it. Source: specs/ledger.md §5."""

import threading
from pathlib import Path

import pytest

from benchmarks.sample_payments import Payments
from creditledger.credits import context
from creditledger.errors import SignatureError
from creditledger.ledger import signatures_ahead
from creditledger.ledger.ledger import Acknowledgement
from creditledger.records.entry import Submission
from ledger_pools import FixedClock, found


@pytest.fixture
def checked_in(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The threads that checked an Ed25519 signature, once for each."""
    names: list[str] = []
    real = context.verify_ed25519

    def counted(*, public_key: bytes, message: bytes, signature: bytes) -> None:
        names.append(threading.current_thread().name)
        real(public_key=public_key, message=message, signature=signature)

    monkeypatch.setattr(context, "verify_ed25519", counted)
    monkeypatch.setattr(signatures_ahead.os, "cpu_count", lambda: 2)
    return names


def test_each_signature_of_a_group_is_checked_once_and_elsewhere(
    tmp_path: Path, checked_in: list[str]
) -> None:
    with found(tmp_path / "pool", clock=FixedClock()) as ledger:
        payments = Payments(ledger)
        group = [payments.next() for _ in range(64)]
        checked_in.clear()
        assert all(isinstance(one, Acknowledgement) for one in ledger.submit(group))
    assert len(checked_in) == 64
    assert threading.main_thread().name not in checked_in


def test_what_does_not_hold_is_refused_and_the_rest_is_logged(tmp_path: Path, checked_in: list[str]) -> None:
    with found(tmp_path / "pool", clock=FixedClock()) as ledger:
        payments = Payments(ledger)
        group = [payments.next() for _ in range(32)]
        group[7] = Submission(record=group[7].record, signature=group[8].signature)
        outcomes = ledger.submit(group)
        assert [number for number, one in enumerate(outcomes) if isinstance(one, SignatureError)] == [7]
        assert sum(isinstance(one, Acknowledgement) for one in outcomes) == 31


def test_a_small_group_starts_no_threads(tmp_path: Path, checked_in: list[str]) -> None:
    with found(tmp_path / "pool", clock=FixedClock()) as ledger:
        payments = Payments(ledger)
        checked_in.clear()
        ledger.submit([payments.next() for _ in range(signatures_ahead.GROUP_MIN - 1)])
    assert set(checked_in) == {threading.main_thread().name}
