"""The pages' own code and the package, side by side: what one accepts, the other accepts as the same.

The blocks of ``specs/`` were written from its text alone. The tests of ``tests/unit/transparency`` ask both,
too (see its conftest): published vectors and forged bundles among them."""

import dataclasses
import json
import os
import random
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import second_reader
import spec_module
from creditledger.errors import CreditLedgerError
from creditledger.records.parameters import Genesis
from creditledger.records.record import Record
from creditledger.records.round import round_statement
from creditledger.transparency.bundle import Bundle
from creditledger.transparency.certificate import Committee, make_certificate, verify_certificate
from creditledger.transparency.cosignature import CosignatureVerifier
from creditledger.transparency.merkle import (
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    root_from_leaf_hashes,
)
from creditledger.transparency.note import Ed25519NoteVerifier, VerifierKey
from creditledger.transparency.sparse_merkle import EMPTY_MAP_ROOT, MemoryNodeStore, SparseMerkleMap
from creditledger.transparency.tlog_proof import parse_tlog_proof
from creditledger.transparency.trust_policy import TrustPolicy
from fakes.cast import ed25519
from fakes.committee import fake_digest, real_validator
from fakes.shown_pool import Shown, elsewhere, shown
from record_strategies import RECORDS, fields_of
from second_reader import BOTH, both, decode_by_both

SPEC = second_reader.second_reader()
VECTORS = Path(__file__).parents[1] / "vectors"
IS_THOROUGH = os.environ.get("HYPOTHESIS_PROFILE") == "thorough"
WITHOUT_RULES = {"genesis", "parameters", "registration", "transfer"}
"""No bundle carries them: the pages' code checks their layout, not the rules between their fields."""
LEAVES = [leaf_hash(b"entry %d" % index) for index in range(65)]
LEVELS = ("signed", "logged", "upheld", "vested")


def answer_of(asked: Callable[..., Any], *values: Any, **named: Any) -> Any:
    """What ``asked`` says, or None where it refuses; a disagreement fails in it."""
    try:
        return asked(*values, **named)
    except CreditLedgerError:
        return None


def read(page: str) -> list[tuple[str, dict[str, Any]]]:
    """The page's vectors."""
    files = sorted((VECTORS / page).glob("*.json"))
    assert files
    return [(file.stem, json.loads(file.read_text("utf-8"))) for file in files]


def test_it_is_short_and_stands_alone() -> None:
    """Short is what verifies bundles; the blocks beside it are counted apart."""
    assert 300 < spec_module.code_lines() <= 400
    assert spec_module.imported() - {"cryptography", "py_ecc"} <= sys.stdlib_module_names
    script = "import sys, spec_module; spec_module.load(); print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", script],
        cwd=Path(spec_module.__file__).parent,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout.split()
    assert "py_ecc" in loaded
    assert not {"creditledger", "msgpack", "numpy"} & set(loaded)


def test_records_as_in_the_vectors() -> None:
    for name, case in read("records"):
        if name in ("entry", "submission"):
            continue
        encoded = bytes.fromhex(case["encoded"])
        assert decode_by_both(encoded) == SPEC.decode(encoded)
        if name == "genesis":
            assert SPEC.sha256(encoded) == Genesis.decode(encoded).ledger_id
            continue
        record = SPEC.decode_record(encoded, case["record"])
        assert SPEC.KINDS[name] == case["kind"]
        if "ledger_id" in case:
            assert SPEC.record_digest(record, bytes.fromhex(case["ledger_id"])).hex() == case["digest"], name


def test_msgpack_of_others(vectors: Path) -> None:
    suite = json.loads((vectors / "msgpack-test-suite/msgpack-test-suite.json").read_text())
    forms = [form for cases in suite.values() for case in cases for form in case["msgpack"]]
    accepted = [answer_of(decode_by_both, bytes.fromhex(form.replace("-", ""))) for form in forms]
    assert 0 < sum(value is not None for value in accepted) < len(forms)


EDGES = [0, 127, 128, 255, 256, 2**16, 2**32, 2**63 - 1]
VALUES = st.recursive(
    st.integers(0, 2**63 - 1) | st.sampled_from(EDGES) | st.binary(max_size=300),
    lambda inner: st.lists(inner, max_size=20),
    max_leaves=40,
)


@st.composite
def mutated(draw: st.DrawFn, original: bytes) -> bytes:
    """``original`` with a few bytes replaced, cut out or put in."""
    start = draw(st.integers(0, len(original)))
    stop = draw(st.integers(start, min(len(original), start + 3)))
    return original[:start] + draw(st.binary(max_size=3)) + original[stop:]


@given(VALUES, st.data())
def test_values_and_their_damaged_bytes(value: Any, data: st.DataObject) -> None:
    encoded = SPEC.encode(value)
    assert answer_of(decode_by_both, encoded) is not None or encoded.startswith(b"\x91" * 9)
    answer_of(decode_by_both, data.draw(mutated(encoded)))


SPEC_NAMES = {number: name for name, number in SPEC.KINDS.items() if number}


def decode_record(answer: Record | None, encoded: bytes) -> None:
    found = SPEC.decode_record(encoded, SPEC_NAMES[encoded[1] if encoded[0] < 0xDC else encoded[3]])
    if answer is not None:
        assert [name for name in vars(found) if name not in ("kind", "encoded")] == list(
            answer.__struct_fields__
        )


@given(st.data())
def test_records_with_another_value_in_one_place(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(RECORDS.keys() - WITHOUT_RULES)))
    values = data.draw(fields_of(RECORDS[name])).to_values()
    ask = both(RECORDS[name].decode, decode_record)
    assert ask(SPEC.encode(values))
    row = values
    while lists := [item for item in row[2:] if isinstance(item, list) and item]:
        if data.draw(st.booleans()):
            break
        row = data.draw(st.sampled_from(lists))
    at = data.draw(st.integers(2 if row is values else 0, len(row) - 1))
    row[at] = data.draw(st.sampled_from([0, 1, 2, 255, 1_024, 2**16, bytes(32), b"", []]) | VALUES)
    answer_of(ask, SPEC.encode(values))


def test_every_small_tree() -> None:
    """All proofs of all sizes up to 64, and each with its last hash gone, doubled or spoilt."""
    roots = [root_from_leaf_hashes(LEAVES[:size]) for size in range(len(LEAVES))]
    assert roots == [SPEC.tree_root(LEAVES[:size]) for size in range(len(LEAVES))]
    inclusion, consistency = BOTH["verify_inclusion"], BOTH["verify_consistency"]
    for size in range(1, len(LEAVES)):
        for index in range(size):
            path = inclusion_proof(LEAVES, index, size)
            inclusion(leaf=LEAVES[index], index=index, size=size, proof=path, root=roots[size])
            for wrong in spoilt(path):
                named = {"leaf": LEAVES[index], "index": index, "size": size, "root": roots[size]}
                assert answer_of(inclusion, proof=wrong, **named) is None
    for second in range(len(LEAVES)):
        for first in range(second + 1):
            path = consistency_proof(LEAVES, first, second)
            ends = {
                "first": first,
                "second": second,
                "first_root": roots[first],
                "second_root": roots[second],
            }
            consistency(proof=path, **ends)
            for wrong in spoilt(path):
                answer_of(consistency, proof=wrong, **ends)
            answer_of(consistency, proof=path, **ends | {"first_root": roots[second]})
            answer_of(consistency, proof=path, **ends | {"second": second + 1})


def spoilt(path: list[bytes]) -> list[list[bytes]]:
    """Other proofs: too short, too long, and one hash changed."""
    return [path[:-1], path[::-1], [bytes(32), *path[1:]]] if path[1:] else [[*path, bytes(32)]]


@given(st.integers(1, 2_000), st.data())
def test_larger_trees(size: int, data: st.DataObject) -> None:
    leaves = [leaf_hash(b"%d" % index) for index in range(size)]
    root, index = SPEC.tree_root(leaves), data.draw(st.integers(0, size - 1))
    path = inclusion_proof(leaves, index, size)
    BOTH["verify_inclusion"](leaf=leaves[index], index=index, size=size, proof=path, root=root)
    first = data.draw(st.integers(0, size))
    path, small = consistency_proof(leaves, first, size), SPEC.tree_root(leaves[:first])
    ends = {"first": first, "second": size, "first_root": small, "second_root": root}
    BOTH["verify_consistency"](proof=path, **ends)
    at = data.draw(st.integers(0, max(0, len(path) - 1)))
    answer_of(BOTH["verify_consistency"], proof=path[:at] + path[at + 1 :], **ends)


@given(
    st.dictionaries(st.binary(max_size=2), st.binary(max_size=9), max_size=40),
    st.binary(max_size=2),
    st.data(),
)
def test_map_proofs(content: dict[bytes, bytes], key: bytes, data: st.DataObject) -> None:
    tree = SparseMerkleMap(MemoryNodeStore())
    root = tree.update(EMPTY_MAP_ROOT, content)
    proof, ask = tree.prove(root, key), BOTH["verify_map_proof"]
    ask(root=root, key=key, value=content.get(key), proof=proof)
    answer_of(ask, root=root, key=key, value=content.get(key), proof=data.draw(mutated(proof)))
    other = data.draw(st.sampled_from([None, b"", b"other", *content.values()]))
    found = answer_of(ask, root=root, key=key, value=other, proof=proof)
    assert found is None
    answer_of(ask, root=root, key=data.draw(st.sampled_from([key, b"a", *content])), value=None, proof=proof)


def parse_policy(answer: TrustPolicy | None, encoded: bytes) -> None:
    found = SPEC.parse_policy(encoded)
    if answer is None:
        return
    assert [key.public for key in found.keys] == [key.public_key for key in answer.vkeys]
    assert {name: tuple(members) for name, (_, members) in found.groups.items()} == {
        group.name: group.members for group in answer.groups
    }
    assert found.once["tree"] == answer.quorum
    assert found.once.get("max-age-ms") == answer.max_age_ms
    if answer.committee is not None:
        assert SPEC.committee_digest(found) == answer.committee.digest


ask_policy = both(TrustPolicy.parse, parse_policy)
POLICY = json.loads((VECTORS / "log/trust-policy.json").read_text())
LOG_KEY = TrustPolicy.parse(POLICY["policy"].encode()).logs[0].vkey.public_key.hex().encode()
PIECES = [
    *(b"#", b"#creditledger", b"# creditledger", b"#creditledger quorum 2", b"#creditledger quorum 0"),
    *(b"#creditledger\tledger " + b"0a" * 32, b"#creditledger ledger " + b"0A" * 32),
    *(b"#creditledger max-age-ms 5", b"quorum none", b"quorum", b"none", b"group g any w", b"group w all g"),
    *(
        b"group h 2 g x\n",
        b"group g 0 w",
        b"group g all w w",
        b"all",
        b"01",
        b"\t",
        b"  ",
        b"\n",
        b"\r\n",
        b"\xff",
        b"\xc2\xa0",
    ),
]
ENDS = [b"\n", b" ", b""]


def test_a_line_more_in_a_small_policy() -> None:
    lines = [line for line in POLICY["policy"].splitlines() if line.split()[0] in ("log", "witness")]
    small = [line.encode() + b"\n" for line in [*lines, "quorum none"]]
    assert ask_policy(b"".join(small))
    found = [
        answer_of(ask_policy, b"".join([*small[:at], piece + b"\n", *small[at:]])) is not None
        for piece in PIECES
        for at in range(len(small) + 1)
    ]
    assert 0 < sum(found) < len(found)


@given(st.data())
def test_policies(data: st.DataObject) -> None:
    """Lines dropped, doubled, moved and spoilt."""
    lines = POLICY["policy"].encode().splitlines(keepends=True)
    for _ in range(data.draw(st.integers(0, 3))):
        at, to = data.draw(st.integers(0, len(lines))), data.draw(st.integers(0, len(lines)))
        action = data.draw(st.sampled_from(["drop", "double", "insert", "spoil"]))
        moved = lines[at : at + 1]
        if action != "insert":
            lines[at : at + 1] = [] if action == "drop" else moved
        if action == "double":
            lines[to:to] = moved
        if action == "insert":
            lines[at:at] = [data.draw(st.sampled_from(PIECES)) + data.draw(st.sampled_from(ENDS))]
        if action == "spoil" and moved:
            cut = data.draw(st.integers(0, len(moved[0])))
            lines[at] = moved[0][:cut] + data.draw(st.sampled_from(PIECES)) + moved[0][cut:]
    answer_of(ask_policy, b"".join(lines))


def verify_checkpoint(answer: Any, policy: TrustPolicy, note: bytes, *, now_unix_ms: int | None) -> None:
    found = SPEC.accept_checkpoint(SPEC.parse_policy(policy.serialize()), note, now_unix_ms)
    if answer is not None:
        tree = answer.checkpoint
        assert (found.origin, found.size, found.root) == (tree.origin, tree.size, tree.root)
        assert found.time_unix_ms == answer.cosigned_unix_ms


ask_checkpoint = both(TrustPolicy.verify_checkpoint, verify_checkpoint)


@given(st.data())
def test_checkpoints(data: st.DataObject) -> None:
    """Notes with lines dropped, doubled, moved and spoilt, under any age and range of the log's key."""
    written = POLICY["policy"].encode()
    if span := data.draw(st.sampled_from([b"", b"0 0", b"8 0", b"9 0", b"0 8", b"0 9", b"8 9"])):
        written += b"#creditledger key %s %s\n" % (LOG_KEY, span)
    if data.draw(st.booleans()):
        written = re.sub(rb"(?m)^quorum .*$", b"quorum none", written)
    policy = TrustPolicy.parse(written)
    text, _, lines = POLICY["checkpoint"].encode().rpartition(b"\n\n")
    chosen = data.draw(st.lists(st.sampled_from(lines.splitlines(keepends=True)), max_size=6))
    note = text + b"\n\n" + b"".join(chosen)
    now = data.draw(
        st.none() | st.integers(-70_000, 70_000).map(lambda off: POLICY["cosigned_unix_ms"] + off)
    )
    answer_of(ask_checkpoint, policy, note, now_unix_ms=now)
    answer_of(ask_checkpoint, policy, data.draw(mutated(note)), now_unix_ms=now)


ODD = "\x00\t\n\x0b\x1c\x1f \x7f\x85\x9f\xa0+\u2003\u2014\u2028\ufeff\ud7ff\U0010ffffa"


@given(st.text(st.sampled_from(ODD), max_size=4), st.text(st.sampled_from(ODD), max_size=4))
def test_odd_characters_in_notes_and_names(name: str, text: str) -> None:
    """Control characters are those below U+0020; white space is what Unicode calls so."""
    signer = ed25519("operator")
    key_id = SPEC.sha256(name.encode(), b"\n\1", signer.public_key)[:4]
    written = f"{name}+{key_id.hex()}+{SPEC.base64.b64encode(b'%c' % 1 + signer.public_key).decode()}"
    vkey: VerifierKey | None = answer_of(BOTH["parse_verifier_key"], written)
    verifier = Ed25519NoteVerifier(vkey or VerifierKey(name="n", key_type=1, public_key=signer.public_key))
    said = f"{text}\n".encode()
    body = SPEC.base64.b64encode(verifier.vkey.key_id + signer.sign(said)).decode()
    note = said + f"\n\u2014 {name if vkey else 'n'} {body}\n".encode()
    answer_of(BOTH["open_note"], note, [verifier])


@pytest.mark.parametrize("time", [0, 1, 2**63 - 1, 2**63, 2**64 - 1])
def test_times_of_cosignatures(time: int) -> None:
    signer, text = ed25519("witness"), POLICY["checkpoint"].partition("\n\n")[0] + "\n"
    vkey = VerifierKey(name="w", key_type=4, public_key=signer.public_key)
    signature = signer.sign(f"cosignature/v1\ntime {time}\n{text}".encode())
    body = SPEC.base64.b64encode(vkey.key_id + time.to_bytes(8, "big") + signature).decode()
    found = answer_of(BOTH["open_note"], f"{text}\n\u2014 w {body}\n".encode(), [CosignatureVerifier(vkey)])
    assert (found is not None) == (0 < time < 2**63)


@given(st.data())
def test_proofs_in_text(data: st.DataObject) -> None:
    case = json.loads((VECTORS / "log/tlog-proof.json").read_text())
    policy, entry = TrustPolicy.parse(case["policy"].encode()), bytes.fromhex(case["entry"])
    proof = case[data.draw(st.sampled_from(["proof", "proof_with_extra"]))].encode()
    ask = BOTH["verify_tlog_proof"]
    ask(proof, entry=entry, policy=policy)
    answer_of(ask, data.draw(mutated(proof)), entry=entry, policy=policy)
    lines = proof.split(b"\n")
    del lines[data.draw(st.integers(0, 6))]
    answer_of(ask, b"\n".join(lines), entry=entry, policy=policy)


def test_published_proofs_in_text(vectors: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their form alone: nobody has a policy for them."""
    reader = spec_module.load()

    def verify_inclusion(leaf: bytes, index: int, size: int, root: bytes, path: list[bytes]) -> None:
        reader.need(all(len(node) == 32 for node in path), "hashes")

    def accept_checkpoint(policy: None, note: bytes, now: None) -> SimpleNamespace:
        reader.need(note.endswith(b"\n"), "a note")
        return SimpleNamespace(size=1, root=b"")

    def theirs(answer: Any, proof: bytes) -> None:
        reader.verify_tlog_proof(proof, b"", None)

    monkeypatch.setattr(reader, "verify_inclusion", verify_inclusion)
    monkeypatch.setattr(reader, "accept_checkpoint", accept_checkpoint)
    ask = both(parse_tlog_proof, theirs)
    cases = json.loads((vectors / "tlog-proof/tlog_proof_cases.json").read_text())
    assert all(answer_of(ask, case["text"].encode()) for case in cases["valid"])
    assert not any(answer_of(ask, case["text"].encode()) for case in cases["malformed"])


def test_certificates() -> None:
    """Quorums short by one, spare bits, other statements, and the true ones; one with py-ecc itself."""
    policy, digest = shown().policy, fake_digest("round")
    committee, ledger = policy.committee, policy.ledger_id
    assert committee is not None
    assert ledger is not None
    read_policy = SPEC.parse_policy(policy.serialize())
    statement = round_statement(digest, committee.digest, ledger)
    signatures = {index: real_validator(index).sign(statement) for index in range(3)}
    lenient = Committee(members=committee.members, quorum=1)

    def theirs(answer: None, *, bitmap: bytes, aggregate: bytes, **given: Any) -> None:
        SPEC.verify_certificate(read_policy, ledger, digest, bitmap, aggregate)

    ask, asked = both(verify_certificate, theirs), {"committee": committee, "statement": statement}
    for members in ((0, 1, 2), (0, 2), (1,)):
        bitmap, aggregate = make_certificate(
            {index: signatures[index] for index in members}, committee=lenient, statement=statement
        )
        for shown_bitmap in {bitmap, b"\x03", b"\x0b", b"\x03\0", b""}:
            answer_of(ask, bitmap=shown_bitmap, aggregate=aggregate, **asked)
            answer_of(ask, bitmap=bitmap, aggregate=b"\xc0" + bytes(95), **asked)
        answer_of(ask, bitmap=bitmap, aggregate=signatures[0], **asked)
    case = json.loads((VECTORS / "rounds/certificate.json").read_text())
    chosen = SimpleNamespace(once={"quorum": case["quorum"]})
    chosen.validators = [
        (bytes.fromhex(member["bls_key"]), bytes.fromhex(member["proof_of_possession"]))
        for member in case["members"]
    ]
    reader = spec_module.load()
    assert reader.committee_digest(chosen).hex() == case["committee_digest"]
    statement, aggregate = bytes.fromhex(case["statement"]), bytes.fromhex(case["aggregate"])
    reader.verify_bls(chosen, [0, 2], statement, aggregate)
    with pytest.raises(ValueError, match="needed"):
        reader.verify_bls(chosen, [0, 1], statement, aggregate)


def test_bundles_as_in_the_vectors() -> None:
    """With py-ecc itself for one of each kind of pairing; for the others with a quicker backend."""
    slow = spec_module.load(beside=False)
    for name, case in read("bundle"):
        module = slow if name in ("receipt-upheld", "account", "receipt-signed") else SPEC
        encoded, policy = bytes.fromhex(case["bundle"]), case["policy"].encode()
        if "error" in case:
            with pytest.raises(ValueError, match="needed"):
                module.verify_bundle(encoded, policy)
            continue
        found = module.verify_bundle(encoded, policy)
        told = case["verified"]
        assert (found.subject, found.reached, found.work) == (
            told["subject"],
            told["reached"],
            told["work"],
        ), name
        assert (found.round and found.round.number) == told["round"]
        assert (found.state and found.state.encoded.hex()) == told["state"]
        assert (found.tree and found.tree.size, found.tree and found.tree.time_unix_ms) == (
            told["size"],
            told["time_unix_ms"],
        )


@pytest.mark.parametrize("log", ["rule-set-1", "rule-set-2", "raised"])
def test_bundles_of_published_histories(log: str) -> None:
    """Among them those of signers that rotated; and each with a state left out, doubled or moved."""
    policy = TrustPolicy.load(VECTORS / "history" / log / "policy")
    files = sorted((VECTORS / "history" / log / "bundles").glob("*.bundle"))
    assert any("rotated" in file.stem for file in files) == (log != "rule-set-1")
    for file in files:
        encoded, ask = file.read_bytes(), BOTH["verify_bundle"]
        reached = ask(encoded, policy, require="signed").reached
        for require in LEVELS:
            answer_of(ask, encoded, policy, require=require)
        original = Bundle.decode(encoded)
        for at, state in enumerate(original.states):
            rest = original.states[:at] + original.states[at + 1 :]
            spoilt_one = state.replace(value=state.value[:-1] + b"\x7e")
            changes = {rest, (state, *rest), (*rest, state), (*rest[:at], spoilt_one, *rest[at:])}
            if len(rest) < 6:
                changes |= {(state, *original.states), (*original.states[:at], state, *original.states[at:])}
            for states in changes:
                changed = original.replace(states=states).encode()
                found = answer_of(ask, changed, policy, require="signed")
                assert found is None or states == original.states or len(found.reached) <= len(reached)


@pytest.mark.parametrize("pool", [shown, elsewhere])
def test_bundles_at_every_level_and_age(pool: Callable[[], Shown]) -> None:
    for name, encoded in pool().bundles.items():
        for require in LEVELS:
            answer_of(BOTH["verify_bundle"], encoded, pool().policy, require=require)
        aged = dataclasses.replace(pool().policy, max_age_ms=5_000)
        for now in (pool().now_unix_ms, pool().now_unix_ms + 5_000, pool().now_unix_ms + 5_001, 0):
            answer_of(BOTH["verify_bundle"], encoded, aged, require="signed", now_unix_ms=now)
        assert BOTH["verify_bundle"](encoded, pool().policy, require="signed"), name


@pytest.mark.parametrize("name", sorted(shown().bundles))
def test_flipped_bits(name: str) -> None:
    """A sample of the single bits: a flip that one refuses, the other refuses."""
    chance, original = random.Random(name), shown()[name]
    for _ in range(2_000 if IS_THOROUGH else 60):
        bit = chance.randrange(8 * len(original))
        changed = bytearray(original)
        changed[bit // 8] ^= 1 << bit % 8
        answer_of(BOTH["verify_bundle"], bytes(changed), shown().policy, require="signed")


@pytest.mark.parametrize("name", sorted(shown().bundles))
def test_swapped_parts(name: str) -> None:
    """Each part as another bundle has it, or left out."""
    original = Bundle.decode(shown()[name])
    others = [Bundle.decode(encoded) for encoded in shown().bundles.values()]
    for field in Bundle.__struct_fields__:
        values = {getattr(other, field) for other in others}
        if isinstance(getattr(original, field), tuple):
            values.add(())
        for value in values if IS_THOROUGH else sorted(values, key=repr)[:4]:
            changed = original.replace(**{field: value})
            answer_of(BOTH["verify_bundle"], changed.encode(), shown().policy, require="signed")
