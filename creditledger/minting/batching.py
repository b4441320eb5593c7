"""Receipts become batches: one signature, one root, one sealed box each. Source: specs/minting.md §4."""

from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from typing import Final

from creditledger.minting.receipt_maker import MintedReceipt
from creditledger.minting.sealed_evidence import audit_keys, seal_sketches
from creditledger.records.canonical import FRAME_BYTES_MAX
from creditledger.records.entry import Submission
from creditledger.records.parameters import Parameters
from creditledger.records.receipt import BATCH_RECEIPTS_MAX, Batch, Receipt
from creditledger.transparency.keys import Ed25519Signer
from creditledger.transparency.merkle import leaf_hashes, root_from_leaf_hashes

_FIXED_BYTES: Final = 4_096
"""The batch record, its signature, the array headers and the box's own frame."""
_SLOT_BYTES: Final = 112
_PER_RECEIPT_BYTES: Final = 5 + 2 + 32
"""Header of the body, length and salt of the sketch."""


def cut_batches(minted: Sequence[MintedReceipt], *, recipients: int) -> Iterator[Sequence[MintedReceipt]]:
    """``minted`` in order, in portions of at most 4,096 receipts and one submission's 4 MiB."""
    room = FRAME_BYTES_MAX - _FIXED_BYTES - recipients * _SLOT_BYTES
    start, used = 0, 0
    for index, one in enumerate(minted):
        size = len(one.receipt.encode()) + len(one.opening[1]) + _PER_RECEIPT_BYTES
        if index > start and (used + size > room or index - start == BATCH_RECEIPTS_MAX):
            yield minted[start:index]
            start, used = index, 0
        used += size
    if minted[start:]:
        yield minted[start:]


def sign_batch(
    minted: Sequence[MintedReceipt],
    *,
    key: Ed25519Signer,
    ledger_id: bytes,
    parameters: Parameters,
    random_bytes: Callable[[int], bytes],
    node: bytes | None = None,
) -> Submission:
    """The signed batch with its bodies: the receipts in order, then the sealed sketches.

    ``parameters``: those in force, whose audit keys the sketches are sealed to. ``node``: the account that
    ``key`` signs for, by default the one that it names."""
    bodies = Receipt.encode_all([one.receipt for one in minted])
    root = batch_root(bodies)
    sealed = seal_sketches(
        [one.opening for one in minted],
        audit_keys(parameters),
        ledger_id=ledger_id,
        batch_root=root,
        random_bytes=random_bytes,
    )
    batch = Batch(
        node=node or key.public_key,
        root=root,
        count=len(minted),
        sealed=sha256(sealed).digest(),
        audit_epoch=parameters.sequence,
    )
    signature = key.sign(batch.signing_bytes(ledger_id))
    return Submission(record=batch, signature=signature, bodies=(*bodies, sealed))


def batch_root(receipts: Sequence[bytes]) -> bytes:
    """The RFC 6962 root over encoded receipts."""
    return root_from_leaf_hashes(leaf_hashes(receipts))
