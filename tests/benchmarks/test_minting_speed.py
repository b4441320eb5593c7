"""Minting: one receipt under a signature of its own, and 1,024 under one."""

from hashlib import sha256

from benchmarks.comparison import Comparison, at_least, at_most, times
from benchmarks.sample_receipts import LEDGER_ID, NODE, batch_of, batch_over, receipt
from creditledger.minting.batching import batch_root
from creditledger.records.receipt import Receipt
from creditledger.transparency.merkle import leaf_hashes, root_and_proofs

MANY = 1_024


def mint(receipts: list[Receipt]) -> bytes:
    """Encode, hash and sign: what a node sends, without the sealed sketches."""
    batch = batch_over(Receipt.encode_all(receipts))
    return NODE.sign(batch.signing_bytes(LEDGER_ID))


def test_mint_one(compare: Comparison) -> None:
    message = batch_over([receipt().encode()]).signing_bytes(LEDGER_ID)
    compare(
        "mint one receipt",
        times(200, lambda: mint([receipt()])),
        against="raw sign",
        reference=times(200, lambda: NODE.sign(message)),
        items=200,
        goal=at_least(0.90),
    )


def test_mint_many_under_one_root(compare: Comparison) -> None:
    receipts = [receipt(number) for number in range(MANY)]
    encoded = [each.encode() for each in receipts]

    def mint_with_proofs() -> None:
        root, _ = root_and_proofs(leaf_hashes(Receipt.encode_all(receipts)))
        NODE.sign(batch_of(root, MANY).signing_bytes(LEDGER_ID))

    compare(
        "mint 1,024 under one root, all proofs",
        mint_with_proofs,
        against="2,047 hashes and one sign",
        reference=lambda: hash_loop(encoded),
        items=MANY,
        goal=at_most(2.2),
        rounds=41,
    )


def test_root_of_many(compare: Comparison) -> None:
    encoded = [receipt(number).encode() for number in range(MANY)]
    compare(
        "Merkle root of 1,024 receipts",
        lambda: batch_root(encoded),
        against="2,047 hashes",
        reference=lambda: hash_loop(encoded),
        items=MANY,
        goal=at_most(1.7),
        rounds=41,
    )


def test_many_are_cheaper_than_one_by_one(compare: Comparison) -> None:
    receipts = [receipt(number) for number in range(MANY)]
    compare(
        "mint 1,024 under one root",
        lambda: mint(receipts),
        against="mint each singly",
        reference=lambda: [mint([each]) for each in receipts[:128]],
        items=MANY,
        reference_items=128,
        goal=at_least(15),
        rounds=21,
    )


def hash_loop(encoded: list[bytes]) -> None:
    """A hash for every leaf and every inner node, and nothing else but one signature."""
    for body in encoded:
        sha256(b"\0" + body).digest()
    pair = bytes(65)
    for _ in range(len(encoded) - 1):
        sha256(pair).digest()
    NODE.sign(pair)
