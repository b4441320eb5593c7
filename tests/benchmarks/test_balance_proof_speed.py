"""A balance under a certified round: making its bundle from disk, and verifying it offline."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.comparison import Comparison, times
from benchmarks.sample_payments import Payments
from benchmarks.sample_receipts import NODE
from creditledger.ledger.clock import system_clock
from creditledger.ledger.prove import prover
from creditledger.transparency.keys import verify_ed25519
from creditledger.transparency.verification import verify_bundle
from ledger_pools import found, signer

ACCOUNT = signer("payer-7").public_key


@pytest.fixture
def payments(tmp_path: Path) -> Iterator[Payments]:
    with found(tmp_path / "pool", clock=system_clock) as ledger:
        yield Payments(ledger)


def raw_verify() -> None:
    verify_ed25519(public_key=NODE.public_key, message=b"balance", signature=NODE.sign(b"balance"))


def test_make_a_balance_proof(compare: Comparison, payments: Payments) -> None:
    """From one moment of the store: note, round, certificate and path of the state map."""
    with prover(payments.ledger) as proving:
        compare(
            "make a balance proof",
            times(20, lambda: proving.account(ACCOUNT)),
            against="raw sign and verify",
            reference=times(20, raw_verify),
            goal=None,
            items=20,
        )


def test_verify_a_balance_proof(compare: Comparison, payments: Payments) -> None:
    """BLS pairings are remembered within a process: what is left is the rest of the bundle."""
    policy = payments.ledger.policy()
    with prover(payments.ledger) as proving:
        bundle = proving.account(ACCOUNT)
    compare(
        "verify a balance proof, its round known",
        times(20, lambda: verify_bundle(bundle, policy)),
        against="raw sign and verify",
        reference=times(20, raw_verify),
        goal=None,
        items=20,
    )
