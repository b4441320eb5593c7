"""Quorum certificates with native BLS, beside py-ecc and beside themselves with fewer signers."""

from hashlib import sha256

import pytest

from benchmarks.comparison import Comparison, at_least, at_most
from creditledger.transparency.bls import ArkworksBackend, BlsBackend, BlsSigner, PyEccBackend
from creditledger.transparency.certificate import (
    Committee,
    CommitteeMember,
    make_certificate,
    verify_certificate,
)

pytest.importorskip("py_arkworks_bls12381", reason="the extra `native` is not installed")
ROUNDS = 15


class Certificates:
    """One certificate after another by a whole committee. What held once is remembered: each is new."""

    def __init__(self, signers: int, backend: BlsBackend, *, count: int) -> None:
        native = ArkworksBackend()
        keys = [
            BlsSigner(b"\0" + sha256(b"%d" % number).digest()[1:], backend=native)
            for number in range(signers)
        ]
        self._backend = backend
        self._committee = Committee(
            members=tuple(
                CommitteeMember(bls_key=key.public_key, proof_of_possession=key.proof_of_possession())
                for key in keys
            ),
            quorum=signers,
        )
        statements = [b"%d signers, round %d" % (signers, number) for number in range(count)]
        self._made = iter([
            (statement, *make_certificate(
                {number: key.sign(statement) for number, key in enumerate(keys)},
                committee=self._committee, statement=statement, backend=native,
            ))
            for statement in statements
        ])  # fmt: skip

    def verify_next(self) -> None:
        """Keys and proofs of possession are known, as they are to who follows a ledger; the rest is new."""
        statement, bitmap, aggregate = next(self._made)
        verify_certificate(
            committee=self._committee,
            statement=statement,
            bitmap=bitmap,
            aggregate=aggregate,
            backend=self._backend,
        )


@pytest.fixture(autouse=True)
def forgotten_certificates(monkeypatch: pytest.MonkeyPatch) -> None:
    """Making a certificate verifies it, which is then remembered: here everybody verifies for himself."""
    from creditledger.transparency import bls

    monkeypatch.setattr(bls, "_verify_aggregate", bls._verify_aggregate.__wrapped__)


def test_native_beside_py_ecc(compare: Comparison) -> None:
    rounds = 3
    ours = Certificates(16, ArkworksBackend(), count=rounds + 1)
    theirs = Certificates(16, PyEccBackend(), count=rounds + 1)
    compare(
        "quorum certificate of 16, native",
        ours.verify_next,
        against="py-ecc",
        reference=theirs.verify_next,
        goal=at_least(150),
        rounds=rounds,
    )


def test_more_signers_cost_little_more(compare: Comparison) -> None:
    few = Certificates(4, ArkworksBackend(), count=ROUNDS + 1)
    many = Certificates(128, ArkworksBackend(), count=ROUNDS + 1)
    compare(
        "quorum certificate of 128, native",
        many.verify_next,
        against="of 4",
        reference=few.verify_next,
        goal=at_most(1.2),
        rounds=ROUNDS,
    )
