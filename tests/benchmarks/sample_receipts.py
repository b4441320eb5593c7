"""Receipts as a node makes them, and the batch that signs them, for benchmarks."""

from hashlib import sha256

from creditledger.minting.batching import batch_root
from creditledger.quantities import ZERO_DIGEST
from creditledger.records.receipt import BF16_NUMERICS, Batch, OutputKind, Receipt
from creditledger.transparency.keys import Ed25519Signer

LEDGER_ID = sha256(b"ledger").digest()
NODE = Ed25519Signer(sha256(b"node").digest())
START_MS = 1_770_000_000_000
_JOB, _INPUT, _OUTPUT, _SKETCH, _MODEL = (
    sha256(name).digest() for name in (b"job", b"input", b"output", b"sketch", b"model")
)


def receipt(number: int = 0) -> Receipt:
    """The receipt of window ``number``."""
    return Receipt(
        job=_JOB,
        node=NODE.public_key,
        layer_start=4,
        layer_stop=8,
        window_start=256 * number,
        positions=256,
        input_root=_INPUT,
        output_root=_OUTPUT,
        sketch=_SKETCH,
        previous=ZERO_DIGEST,
        model=_MODEL,
        numerics=BF16_NUMERICS,
        output_kind=OutputKind.ACTIVATIONS,
        sampler=ZERO_DIGEST,
        started_unix_ms=START_MS,
        duration_ms=700,
    )


def batch_over(receipts: list[bytes]) -> Batch:
    """The record that speaks for these encoded receipts."""
    return batch_of(batch_root(receipts), len(receipts))


def batch_of(root: bytes, count: int) -> Batch:
    """The record that speaks for ``count`` receipts under a root."""
    return Batch(
        node=NODE.public_key,
        root=root,
        count=count,
        sealed=_SKETCH,
        audit_epoch=0,
    )
