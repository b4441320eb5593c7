"""The byte-exact vectors of specs/log.md and specs/rounds.md §2, each checked both ways."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from creditledger.errors import CreditLedgerError, KeyFormatError
from creditledger.transparency.bls import BlsSigner, key_from_seed
from creditledger.transparency.certificate import (
    Committee,
    CommitteeMember,
    make_certificate,
    verify_certificate,
)
from creditledger.transparency.checkpoint import Checkpoint, parse_checkpoint, sign_checkpoint
from creditledger.transparency.cosignature import (
    CosignatureSigner,
    MlDsaCosignatureSigner,
    cosignature_message,
    ml_dsa_message,
    note_verifier,
)
from creditledger.transparency.fork import verify_fork
from creditledger.transparency.keys import (
    Ed25519Signer,
    require_ed25519_public_key,
    verify_ed25519,
)
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
    add_signatures,
    open_note,
    parse_verifier_key,
    sign_note,
)
from creditledger.transparency.sparse_merkle import (
    EMPTY_MAP_ROOT,
    MemoryNodeStore,
    SparseMerkleMap,
    verify_map_proof,
)
from creditledger.transparency.tile import (
    Tile,
    bundle_leaf_hashes,
    decode_entry_bundle,
    encode_entry_bundle,
    new_tiles,
    parse_tile_path,
    tiles_for_size,
)
from creditledger.transparency.tlog_proof import TlogProof, parse_tlog_proof, verify_tlog_proof
from creditledger.transparency.trust_policy import TrustPolicy
from creditledger.transparency.witness import MemoryWitnessState, Witness, parse_add_checkpoint

FOLDER = Path(__file__).parents[2] / "vectors"
CHECKED = {
    "signature",
    "refused-keys",
    "leaf-hashes",
    "tree-roots",
    "inclusion",
    "consistency",
    "tile-paths",
    "tiles-of-sizes",
    "entry-bundle",
    "map",
    "map-proof-present",
    "map-proof-present-empty-value",
    "map-proof-absent-empty-slot",
    "map-proof-absent-other-leaf",
    "note",
    "checkpoint",
    "cosignature-ed25519",
    "cosignature-ml-dsa-44",
    "add-checkpoint",
    "trust-policy",
    "trust-policy-key-ranges",
    "tlog-proof",
    "fork",
}


def load(name: str, page: str = "log") -> dict[str, Any]:
    case: dict[str, Any] = json.loads((FOLDER / page / f"{name}.json").read_text())
    return case


def unhex(values: list[str]) -> list[bytes]:
    return [bytes.fromhex(value) for value in values]


def leaves() -> list[bytes]:
    return unhex(load("leaf-hashes")["leaf_hashes"])


def test_no_vector_is_left_unchecked() -> None:
    assert {file.stem for file in (FOLDER / "log").glob("*.json")} == CHECKED


def test_signature() -> None:
    case = load("signature")
    signer = Ed25519Signer(bytes.fromhex(case["seed"]))
    message, signature = unhex([case["message"], case["signature"]])
    assert signer.public_key.hex() == case["public_key"]
    assert signer.sign(message) == signature
    verify_ed25519(public_key=signer.public_key, message=message, signature=signature)


@pytest.mark.parametrize("name", load("refused-keys")["keys"])
def test_refused_keys(name: str) -> None:
    with pytest.raises(KeyFormatError):
        require_ed25519_public_key(bytes.fromhex(load("refused-keys")["keys"][name]))


def test_leaf_hashes_and_tree_roots() -> None:
    case = load("leaf-hashes")
    assert [leaf_hash(entry) for entry in unhex(case["entries"])] == leaves()
    roots = unhex(load("tree-roots")["roots"])
    assert [root_from_leaf_hashes(leaves()[:size]) for size in range(9)] == roots


def test_inclusion() -> None:
    roots = unhex(load("tree-roots")["roots"])
    for case in load("inclusion")["cases"]:
        index, size, proof = case["index"], case["size"], unhex(case["proof"])
        assert inclusion_proof(leaves(), index, size) == proof
        verify_inclusion(leaf=leaves()[index], index=index, size=size, proof=proof, root=roots[size])


def test_consistency() -> None:
    roots = unhex(load("tree-roots")["roots"])
    for case in load("consistency")["cases"]:
        first, second, proof = case["first"], case["second"], unhex(case["proof"])
        assert consistency_proof(leaves(), first, second) == proof
        verify_consistency(
            first=first,
            second=second,
            first_root=roots[first],
            second_root=roots[second],
            proof=proof,
        )


def test_tile_paths() -> None:
    for case in load("tile-paths")["paths"]:
        tile = Tile(level=case["level"], index=case["index"], width=case["width"])
        assert tile.path == case["path"]
        assert parse_tile_path(case["path"]) == tile


def test_tiles_of_sizes() -> None:
    case = load("tiles-of-sizes")
    for size, paths in case["sizes"].items():
        assert [tile.path for tile in tiles_for_size(int(size))] == paths
    for sizes, paths in case["new"].items():
        old, new = map(int, sizes.split("-"))
        assert [tile.path for tile in new_tiles(old, new)] == paths


def test_entry_bundle() -> None:
    case = load("entry-bundle")
    entries, bundle = unhex(case["entries"]), bytes.fromhex(case["bundle"])
    assert encode_entry_bundle(entries) == bundle
    assert decode_entry_bundle(bundle, width=len(entries)) == entries
    assert bundle_leaf_hashes(entries).hex() == case["level_0_tile"]


def test_map_root() -> None:
    case = load("map")
    content = {bytes.fromhex(key): bytes.fromhex(value) for key, value in case["content"].items()}
    tree = SparseMerkleMap(MemoryNodeStore())
    assert tree.update(EMPTY_MAP_ROOT, content).hex() == case["root"]
    for count, root in enumerate(case["roots_growing"]):
        some = dict(list(content.items())[:count])
        assert tree.update(EMPTY_MAP_ROOT, some).hex() == root


@pytest.mark.parametrize("name", sorted(name for name in CHECKED if "map-proof" in name))
def test_map_proofs(name: str) -> None:
    case, whole = load(name), load("map")
    content = {bytes.fromhex(key): bytes.fromhex(value) for key, value in whole["content"].items()}
    root, key, proof = unhex([case["root"], case["key"], case["proof"]])
    value = None if case["value"] is None else bytes.fromhex(case["value"])
    verify_map_proof(root=root, key=key, value=value, proof=proof)
    tree = SparseMerkleMap(MemoryNodeStore())
    assert tree.update(EMPTY_MAP_ROOT, content) == root
    assert tree.prove(root, key) == proof


def test_fork() -> None:
    case = load("fork")
    policy = TrustPolicy.parse(case["policy"].encode())
    found = verify_fork(case["evidence"].encode(), policy)
    assert [found.first.size, found.second.size] == case["sizes"]
    assert [found.first.root, found.second.root] == unhex(case["roots"])


def test_note() -> None:
    case = load("note")
    signer = Ed25519NoteSigner("example.org/log", Ed25519Signer(bytes.fromhex(case["seed"])))
    assert str(signer.vkey) == case["vkey"]
    assert sign_note(case["text"].encode(), [signer]) == case["note"].encode()
    verifier = note_verifier(parse_verifier_key(case["vkey"]))
    assert open_note(case["note"].encode(), [verifier])[0] == case["text"].encode()


def test_checkpoint() -> None:
    case = load("checkpoint")
    checkpoint = Checkpoint(origin=case["log"], size=case["size"], root=bytes.fromhex(case["root"]))
    signer = Ed25519NoteSigner(case["log"], Ed25519Signer(bytes.fromhex(case["seed"])))
    assert checkpoint.text == case["text"].encode()
    assert parse_checkpoint(checkpoint.text) == checkpoint
    assert sign_checkpoint(checkpoint, [signer]) == case["note"].encode()


def test_cosignature_ed25519() -> None:
    case = load("cosignature-ed25519")
    text, time = case["text"].encode(), case["timestamp"]
    signer = CosignatureSigner("example.org/witness", Ed25519Signer(bytes.fromhex(case["seed"])))
    assert str(signer.vkey) == case["vkey"]
    assert cosignature_message(text, timestamp=time) == case["message"].encode()
    assert signer.cosign(text, timestamp=time).line == case["line"].encode()
    note = add_signatures(load("checkpoint")["note"].encode(), [case["line"].encode()])
    assert open_note(note, [note_verifier(signer.vkey)])[0] == text


def test_cosignature_ml_dsa_44() -> None:
    """The signature is hedged, so this one is verified and not made again."""
    case = load("cosignature-ml-dsa-44")
    text = case["text"].encode()
    signer = MlDsaCosignatureSigner("example.org/log", bytes.fromhex(case["seed"]))
    assert str(signer.vkey) == case["vkey"]
    message = ml_dsa_message(text, name="example.org/log", timestamp=case["timestamp"])
    assert message.hex() == case["message"]
    note = add_signatures(load("checkpoint")["note"].encode(), [case["line"].encode()])
    assert open_note(note, [note_verifier(parse_verifier_key(case["vkey"]))])[0] == text


def test_add_checkpoint() -> None:
    case = load("add-checkpoint")
    state = MemoryWitnessState()
    stored = parse_checkpoint(case["stored"].encode())
    state.latest[stored.origin] = stored
    seed = Ed25519Signer(bytes.fromhex(case["witness_seed"]))
    witness = Witness(CosignatureSigner(case["witness_name"], seed), state)
    request = parse_add_checkpoint(case["request"].encode())
    assert request.encode() == case["request"].encode()
    line = witness.add_checkpoint(
        request.old_size,
        request.proof,
        request.note,
        log_vkeys=[parse_verifier_key(case["log_vkey"])],
        now_unix_s=case["now_unix_s"],
    )
    assert line == case["answer"].encode()


def test_trust_policy() -> None:
    case = load("trust-policy")
    policy = TrustPolicy.parse(case["policy"].encode())
    assert policy.serialize() == case["policy"].encode()
    assert policy.committee is not None
    assert policy.committee.digest.hex() == case["committee_digest"]
    verified = policy.verify_checkpoint(case["checkpoint"].encode(), only_known=True)
    assert verified.cosigned_unix_ms == case["cosigned_unix_ms"]


def test_trust_policy_key_ranges() -> None:
    """L14: each key for its sizes, a retired one only beside a witness."""
    vector = load("trust-policy-key-ranges")
    for case in vector["cases"]:
        policy = TrustPolicy.parse(vector[case["policy"]].encode())
        assert policy.serialize() == vector[case["policy"]].encode()
        note = case["checkpoint"].encode()
        if case["result"] == "accepted":
            policy.verify_checkpoint(note, only_known=True)
            continue
        with pytest.raises(CreditLedgerError) as caught:
            policy.verify_checkpoint(note, only_known=True)
        assert type(caught.value).__name__ == case["result"], case["name"]


def test_tlog_proof() -> None:
    case = load("tlog-proof")
    proof = TlogProof(
        index=case["index"], hashes=tuple(unhex(case["hashes"])), checkpoint=case["checkpoint"].encode()
    )
    policy, entry = TrustPolicy.parse(case["policy"].encode()), bytes.fromhex(case["entry"])
    extra = replace(proof, extra=bytes.fromhex(case["extra"]))
    for spelled, meant in ((case["proof"], proof), (case["proof_with_extra"], extra)):
        assert meant.encode() == spelled.encode()
        assert parse_tlog_proof(spelled.encode()) == meant
        verified = verify_tlog_proof(spelled.encode(), entry=entry, policy=policy)
        assert (verified.index, verified.cosigned_unix_ms) == (case["index"], case["cosigned_unix_ms"])


def test_certificate() -> None:
    case = load("certificate", "rounds")
    secrets = [key_from_seed(seed) for seed in unhex(case["seeds"])]
    assert secrets == unhex(case["secrets"])
    members = tuple(
        CommitteeMember(
            bls_key=bytes.fromhex(member["bls_key"]),
            proof_of_possession=bytes.fromhex(member["proof_of_possession"]),
        )
        for member in case["members"]
    )
    signers = [BlsSigner(secret) for secret in secrets]
    assert [signer.public_key for signer in signers] == [member.bls_key for member in members]
    assert signers[0].proof_of_possession() == members[0].proof_of_possession
    committee = Committee(members=members, quorum=case["quorum"])
    assert committee.digest.hex() == case["committee_digest"]
    statement = bytes.fromhex(case["statement"])
    signatures = {int(index): bytes.fromhex(value) for index, value in case["signatures"].items()}
    assert {index: signers[index].sign(statement) for index in signatures} == signatures
    made = make_certificate(signatures, committee=committee, statement=statement)
    assert made == (bytes.fromhex(case["bitmap"]), bytes.fromhex(case["aggregate"]))
    verify_certificate(committee=committee, statement=statement, bitmap=made[0], aggregate=made[1])
