"""What other people's logs and witnesses send: notes, tiles, texts, proofs."""

import contextlib
from collections.abc import Callable
from itertools import pairwise
from typing import Any

from creditledger.errors import CreditLedgerError
from creditledger.transparency.checkpoint import Checkpoint, parse_checkpoint, sign_checkpoint
from creditledger.transparency.cosignature import CosignatureSigner
from creditledger.transparency.keys import Ed25519Signer
from creditledger.transparency.merkle import (
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    root_from_leaf_hashes,
    verify_consistency,
    verify_inclusion,
)
from creditledger.transparency.note import (
    Ed25519NoteSigner,
    Note,
    add_signatures,
    parse_note,
    parse_verifier_key,
)
from creditledger.transparency.sparse_merkle import (
    MemoryNodeStore,
    SparseMerkleMap,
    decode_map_proof,
    encode_map_proof,
    verify_map_proof,
)
from creditledger.transparency.tile import (
    Tile,
    decode_entry_bundle,
    encode_entry_bundle,
    parse_tile_path,
    split_tile,
)
from creditledger.transparency.tlog_proof import TlogProof, parse_tlog_proof, verify_tlog_proof
from creditledger.transparency.trust_policy import TrustPolicy
from creditledger.transparency.witness import (
    AddCheckpoint,
    MemoryWitnessState,
    Witness,
    parse_add_checkpoint,
)
from fuzz.target import Target, is_inverse, stored

LOG = Ed25519NoteSigner("example.org/log", Ed25519Signer(b"\x01" * 32))
WITNESS = CosignatureSigner("example.org/witness", Ed25519Signer(b"\x02" * 32))
POLICY = TrustPolicy.parse(f"log {LOG.vkey}\nwitness w {WITNESS.vkey}\nquorum w\n".encode())
ENTRIES = [b"entry %d" % number for number in range(40)]
LEAVES = [leaf_hash(entry) for entry in ENTRIES]
ROOTS = [root_from_leaf_hashes(LEAVES[:size]) for size in range(len(LEAVES) + 1)]


def signed_note(size: int) -> bytes:
    checkpoint = Checkpoint(origin="example.org/log", size=size, root=ROOTS[size])
    line = WITNESS.cosign(checkpoint.text, timestamp=1_700_000_000).line
    return add_signatures(sign_checkpoint(checkpoint, [LOG]), [line])


def as_text(data: bytes) -> str:
    """Any text, lone surrogates too."""
    return data.decode("utf-8", "surrogateescape")


def feed_note(data: bytes) -> bool:
    taken = [
        is_inverse(parse_note, Note.encode, data),
        is_inverse(parse_checkpoint, lambda found: found.text, data),
        is_inverse(parse_verifier_key, str, as_text(data)),
    ]
    try:
        found = POLICY.verify_checkpoint(data).checkpoint
    except CreditLedgerError:
        return any(taken)
    assert found.root == ROOTS[found.size], "a checkpoint that was never signed"
    return True


def note_seeds() -> list[bytes]:
    found = [case["note"].encode() for name in ("note", "checkpoint") for case in stored(f"log/{name}.json")]
    found += [case["text"].encode() for case in stored("log/checkpoint.json")]
    found += [case["vkey"].encode() for case in stored("log/note.json")]
    return [*found, *(signed_note(size) for size in (0, 1, 40)), str(WITNESS.vkey).encode()]


def feed_tile(data: bytes) -> bool:
    """A path; or, after a byte for the width, a bundle of entries and a tile of hashes."""
    taken = [is_inverse(parse_tile_path, lambda tile: tile.path, data.decode("latin-1"))]
    with contextlib.suppress(CreditLedgerError):
        parse_tile_path(as_text(data))
    width, content = (data[0] + 1 if data else 1), data[1:]
    read: list[tuple[Callable[..., Any], Callable[..., bytes]]] = [
        (lambda given: decode_entry_bundle(given, width=width), encode_entry_bundle),
        (lambda given: split_tile(given, width=width), b"".join),
    ]
    return any(taken + [is_inverse(*pair, content) for pair in read])


def tile_seeds() -> list[bytes]:
    paths = [row["path"].encode() for case in stored("log/tile-paths.json") for row in case["paths"]]
    paths.append(Tile(level=63, index=2**55 - 1, width=255).path.encode())
    bundle = encode_entry_bundle(ENTRIES)
    return [*paths, bytes([len(ENTRIES) - 1]) + bundle, b"\x07" + b"".join(LEAVES[:8]), b"\x00\x00\x00"]


def feed_text(data: bytes) -> bool:
    """The texts that stand around a note, and a policy."""
    taken = [
        is_inverse(parse_tlog_proof, TlogProof.encode, data),
        is_inverse(parse_add_checkpoint, AddCheckpoint.encode, data),
        _is_read_as_policy(data),
    ]
    for entry in (ENTRIES[5], b"never logged"):
        try:
            found = verify_tlog_proof(data, entry=entry, policy=POLICY)
        except CreditLedgerError:
            continue
        assert entry == ENTRIES[found.index], "a false proof"
    _ask_witness(data)
    return any(taken)


def _is_read_as_policy(data: bytes) -> bool:
    try:
        policy = TrustPolicy.parse(data)
    except CreditLedgerError:
        return False
    assert TrustPolicy.parse(policy.serialize()) == policy
    return True


def _ask_witness(data: bytes) -> None:
    """A request to a witness that has cosigned 7 entries: what it then holds continues them."""
    state = MemoryWitnessState()
    before = Checkpoint(origin="example.org/log", size=7, root=ROOTS[7])
    state.put("example.org/log", expected=None, new=before, note=signed_note(7))
    try:
        request = parse_add_checkpoint(data)
        Witness(WITNESS, state).add_checkpoint(
            request.old_size, request.proof, request.note, log_vkeys=[LOG.vkey], now_unix_s=1
        )
    except CreditLedgerError:
        assert state.get("example.org/log") == before
        return
    after = state.get("example.org/log")
    assert after is not None
    assert after.size >= 7
    assert after.root == ROOTS[after.size]


def text_seeds() -> list[bytes]:
    proof = TlogProof(index=5, hashes=tuple(inclusion_proof(LEAVES, 5, 40)), checkpoint=signed_note(40))
    growth = tuple(consistency_proof(LEAVES, 7, 40))
    found = [proof.encode(), AddCheckpoint(old_size=7, proof=growth, note=signed_note(40)).encode()]
    found += [case["proof_with_extra"].encode() for case in stored("log/tlog-proof.json")]
    found += [case["request"].encode() for case in stored("log/add-checkpoint.json")]
    found += [case["policy"].encode() for case in stored("log/trust-policy.json")]
    return [*found, POLICY.serialize()]


MAP = SparseMerkleMap(MemoryNodeStore())
CONTENT: dict[bytes, bytes | None] = {b"k%d" % number: b"v%d" % number for number in range(20)}
MAP_ROOT = MAP.update(bytes(32), CONTENT)


def feed_proof(data: bytes) -> bool:
    """Two numbers of 8 bytes, then hashes; or a byte for the key, then a map proof."""
    taken = is_inverse(decode_map_proof, encode_map_proof, data[1:])
    key = b"k%d" % (data[0] % 40 if data else 0)
    for value in (CONTENT.get(key), b"another", None):
        try:
            verify_map_proof(root=MAP_ROOT, key=key, value=value, proof=data[1:])
        except CreditLedgerError:
            continue
        assert value == CONTENT.get(key), "a false map proof"
    first, second = (int.from_bytes(data[at : at + 8], "big", signed=True) for at in (0, 8))
    proof = [data[at : at + 32] for at in range(16, len(data), 32)]
    place = LEAVES[first] if 0 <= first < len(LEAVES) else LEAVES[0]
    root = ROOTS[second] if 0 <= second < len(ROOTS) else ROOTS[40]
    old = ROOTS[first] if 0 <= first < len(ROOTS) else ROOTS[1]
    checks: list[Callable[[], None]] = [
        lambda: verify_inclusion(leaf=place, index=first, size=second, proof=proof, root=root),
        lambda: verify_consistency(first=first, second=second, first_root=old, second_root=root, proof=proof),
    ]
    return any([taken, *map(_holds, checks)])


def _holds(check: Callable[[], None]) -> bool:
    try:
        check()
    except CreditLedgerError:
        return False
    return True


def proof_seeds() -> list[bytes]:
    def numbered(first: int, second: int, proof: list[bytes]) -> bytes:
        return first.to_bytes(8, "big") + second.to_bytes(8, "big") + b"".join(proof)

    found = [numbered(5, size, inclusion_proof(LEAVES, 5, size)) for size in (6, 8, 33, 40)]
    found += [numbered(*pair, consistency_proof(LEAVES, *pair)) for pair in pairwise((0, 1, 6, 8, 31, 40))]
    found += [numbered(2**62, 2**63 - 1, [bytes(32)] * 63), numbered(40, 40, [])]
    return found + [bytes([number]) + MAP.prove(MAP_ROOT, b"k%d" % number) for number in (0, 7, 19, 20, 39)]


LOG_TARGETS = {
    "note": Target(feed=feed_note, seeds=note_seeds, words=[b"\n\n", "\n\u2014 ".encode(), b"+", b"=\n"]),
    "tile": Target(
        feed=feed_tile,
        seeds=tile_seeds,
        words=[b"tile/", b"/x001", b"x", b".p/", b"entries", b"../", b"%2e", b"0", b"256", b"\xff\xff"],
    ),
    "text": Target(
        feed=feed_text,
        seeds=text_seeds,
        words=[
            b"log ",
            b"witness ",
            b"group ",
            b"quorum ",
            b"#creditledger ",
            b"any",
            b"all",
            b"old ",
            b"index ",
        ],
    ),
    "proof": Target(
        feed=feed_proof, seeds=proof_seeds, words=[bytes(32), b"\x7f" + b"\xff" * 7, b"\x02\x01\x00"]
    ),
}
