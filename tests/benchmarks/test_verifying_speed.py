"""Verifying: one signed receipt, one under a root that is known to be signed, and 1,024 of each."""

from collections.abc import Sequence

from benchmarks.comparison import Comparison, at_least, times
from benchmarks.sample_receipts import LEDGER_ID, NODE, batch_over, receipt
from creditledger.records.receipt import Batch, Receipt
from creditledger.transparency.keys import verify_ed25519
from creditledger.transparency.merkle import leaf_hash, root_and_proofs, verify_inclusion

MANY = 1_024
Signed = tuple[bytes, bytes, bytes]
"""An encoded receipt, the encoded batch over it alone, its signature."""


def signed_alone(number: int) -> Signed:
    """A receipt in a batch of its own."""
    body = receipt(number).encode()
    batch = batch_over([body])
    return body, batch.encode(), NODE.sign(batch.signing_bytes(LEDGER_ID))


def verify_alone(signed: Signed) -> None:
    """Decode both, check the signature and that it is of this receipt."""
    body, encoded, signature = signed
    found, batch = Receipt.decode(body), Batch.decode(encoded)
    verify_ed25519(public_key=found.node, message=batch.signing_bytes(LEDGER_ID), signature=signature)
    verify_inclusion(leaf=leaf_hash(body), index=0, size=1, proof=(), root=batch.root)


class UnderOneRoot:
    """1,024 receipts under one signature, each with its proof."""

    def __init__(self) -> None:
        self.bodies = [receipt(number).encode() for number in range(MANY)]
        self.batch = batch_over(self.bodies)
        self.signature = NODE.sign(self.batch.signing_bytes(LEDGER_ID))
        _, self.proofs = root_and_proofs([leaf_hash(body) for body in self.bodies])

    def verify_signature(self) -> None:
        """Once for them all."""
        message = self.batch.signing_bytes(LEDGER_ID)
        verify_ed25519(public_key=NODE.public_key, message=message, signature=self.signature)

    def verify_receipts(self, numbers: Sequence[int]) -> None:
        """Each by its proof."""
        for number in numbers:
            body = self.bodies[number]
            Receipt.decode(body)
            proof = self.proofs[number]
            verify_inclusion(leaf=leaf_hash(body), index=number, size=MANY, proof=proof, root=self.batch.root)

    def verify_whole(self) -> None:
        """All together: the root that they give is the one signed."""
        Receipt.decode_all(self.bodies)
        if batch_over(self.bodies).root != self.batch.root:
            raise AssertionError("another root")
        self.verify_signature()


def test_verify_one(compare: Comparison) -> None:
    one = signed_alone(0)
    message = Batch.decode(one[1]).signing_bytes(LEDGER_ID)
    compare(
        "verify one receipt",
        times(100, lambda: verify_alone(one)),
        against="raw verify",
        reference=times(
            100, lambda: verify_ed25519(public_key=NODE.public_key, message=message, signature=one[2])
        ),
        items=100,
        goal=at_least(0.93),
    )


def test_verify_one_under_a_known_root(compare: Comparison) -> None:
    batch, one = UnderOneRoot(), signed_alone(0)
    compare(
        "verify one receipt under a signed root",
        lambda: batch.verify_receipts(range(256)),
        against="verify one receipt",
        reference=times(64, lambda: verify_alone(one)),
        items=256,
        reference_items=64,
        goal=at_least(9),
    )


def test_verify_many_under_one_root(compare: Comparison) -> None:
    batch = UnderOneRoot()
    each = [signed_alone(number) for number in range(128)]
    compare(
        "verify 1,024 receipts under one root",
        batch.verify_whole,
        against="verify each signed",
        reference=lambda: [verify_alone(one) for one in each],
        items=MANY,
        reference_items=128,
        goal=at_least(40),
    )
