"""A witness cosigns one history per log, and says so before it forgets."""

import json
from pathlib import Path
from typing import Any

import pytest

from creditledger.errors import (
    ConflictError,
    ConsistencyProofError,
    CreditLedgerError,
    MalformedRecordError,
    SignatureError,
    StorageError,
)
from creditledger.transparency.checkpoint import Checkpoint, sign_checkpoint
from creditledger.transparency.cosignature import CosignatureSigner, note_verifier
from creditledger.transparency.keys import Ed25519Signer
from creditledger.transparency.merkle import (
    EMPTY_ROOT,
    consistency_proof,
    leaf_hash,
    root_from_leaf_hashes,
)
from creditledger.transparency.note import (
    Ed25519NoteSigner,
    VerifierKey,
    add_signatures,
    open_note,
    parse_note,
    parse_verifier_key,
)
from creditledger.transparency.witness import (
    AddCheckpoint,
    MemoryWitnessState,
    StaleSizeError,
    Witness,
    parse_add_checkpoint,
)
from published_vectors import Tally

ORIGIN = "example.org/log"
LOG = Ed25519NoteSigner(ORIGIN, Ed25519Signer(b"\x01" * 32))
SIGNER = CosignatureSigner("w.example", Ed25519Signer(b"\x02" * 32))
LEAVES = [leaf_hash(bytes([number])) for number in range(20)]
FORK = [leaf_hash(b"fork %d" % number) for number in range(20)]


def head(size: int, leaves: list[bytes] = LEAVES) -> Checkpoint:
    return Checkpoint(origin=ORIGIN, size=size, root=root_from_leaf_hashes(leaves[:size]))


def note(size: int, leaves: list[bytes] = LEAVES) -> bytes:
    return sign_checkpoint(head(size, leaves), [LOG])


def add(witness: Witness, old: int, new: int, *, leaves: list[bytes] = LEAVES, now: int = 1) -> bytes:
    proof = consistency_proof(leaves, old, new)
    return witness.add_checkpoint(old, proof, note(new, leaves), log_vkeys=[LOG.vkey], now_unix_s=now)


def at_size(size: int) -> tuple[Witness, MemoryWitnessState]:
    state = MemoryWitnessState()
    witness = Witness(SIGNER, state)
    if size:
        add(witness, 0, size)
    return witness, state


def test_a_growing_log_is_cosigned_each_time() -> None:
    witness, state = at_size(0)
    for old, new in ((0, 3), (3, 7), (7, 8), (8, 20)):
        line = add(witness, old, new, now=new)
        text, _ = open_note(
            add_signatures(note(new), [line]), [note_verifier(LOG.vkey), note_verifier(SIGNER.vkey)]
        )
        assert text == head(new).text
        assert state.latest == {ORIGIN: head(new)}
    assert witness.vkey == SIGNER.vkey


def test_a_repeat_is_cosigned_again_at_its_own_time() -> None:
    """Whoever lost the answer asks again."""
    witness, state = at_size(7)
    first, second = add(witness, 7, 7, now=50), add(witness, 7, 7, now=60)
    assert first != second
    assert parse_note(note(7) + second).signatures[1].body[:8] == (60).to_bytes(8, "big")
    assert state.latest == {ORIGIN: head(7)}


def test_an_empty_log_may_be_cosigned() -> None:
    witness, state = at_size(0)
    add(witness, 0, 0)
    assert state.latest[ORIGIN].root == EMPTY_ROOT
    add(witness, 0, 5)


@pytest.mark.parametrize("old", [0, 3, 6])
def test_an_old_size_that_is_not_the_stored_one_is_told_the_stored_one(old: int) -> None:
    witness, state = at_size(7)
    with pytest.raises(StaleSizeError) as refusal:
        add(witness, old, 9)
    assert refusal.value.stored_size == 7
    assert isinstance(refusal.value, ConflictError)
    assert state.latest == {ORIGIN: head(7)}


def test_an_unknown_log_starts_from_nothing() -> None:
    witness, _ = at_size(0)
    with pytest.raises(StaleSizeError) as refusal:
        add(witness, 3, 7)
    assert refusal.value.stored_size == 0


def test_a_second_history_is_refused() -> None:
    witness, state = at_size(7)
    for new in (7, 8, 20):
        with pytest.raises(ConsistencyProofError):
            add(witness, 7, new, leaves=FORK)
    assert state.latest == {ORIGIN: head(7)}


def test_wrong_proofs_are_refused() -> None:
    witness, state = at_size(7)
    good = consistency_proof(LEAVES, 7, 12)
    for proof in ([], good[:-1], [*good, bytes(32)], good[::-1], [bytes(32)] * 64):
        with pytest.raises(ConsistencyProofError):
            witness.add_checkpoint(7, proof, note(12), log_vkeys=[LOG.vkey], now_unix_s=1)
    fresh, _ = at_size(0)
    with pytest.raises(ConsistencyProofError):
        fresh.add_checkpoint(0, [bytes(32)], note(5), log_vkeys=[LOG.vkey], now_unix_s=1)
    assert state.latest == {ORIGIN: head(7)}


def test_an_empty_log_with_a_root_is_refused() -> None:
    witness, state = at_size(0)
    signed = sign_checkpoint(Checkpoint(origin=ORIGIN, size=0, root=bytes(32)), [LOG])
    with pytest.raises(ConsistencyProofError):
        witness.add_checkpoint(0, [], signed, log_vkeys=[LOG.vkey], now_unix_s=1)
    assert state.latest == {}


@pytest.mark.parametrize("old", [-1, 8, 2**64])
def test_an_old_size_above_the_new_one_is_malformed(old: int) -> None:
    witness, _ = at_size(7)
    with pytest.raises(MalformedRecordError):
        witness.add_checkpoint(old, [], note(7), log_vkeys=[LOG.vkey], now_unix_s=1)


def test_only_the_logs_own_key_and_origin_count() -> None:
    witness, state = at_size(0)
    stranger = Ed25519NoteSigner(ORIGIN, Ed25519Signer(b"\x09" * 32))
    with pytest.raises(SignatureError):
        witness.add_checkpoint(
            0, [], sign_checkpoint(head(3), [stranger]), log_vkeys=[LOG.vkey], now_unix_s=1
        )
    other = Checkpoint(origin="example.org/other", size=3, root=bytes(32))
    with pytest.raises(SignatureError, match="another log"):
        witness.add_checkpoint(0, [], sign_checkpoint(other, [LOG]), log_vkeys=[LOG.vkey], now_unix_s=1)
    assert state.latest == {}


def test_nothing_is_answered_unless_it_was_kept() -> None:
    """State before answer; and of two callers at once, one is refused."""

    class Full(MemoryWitnessState):
        def put(self, origin: str, /, *, expected: Checkpoint | None, new: Checkpoint, note: bytes) -> None:
            raise StorageError("no space")

    with pytest.raises(StorageError):
        add(Witness(SIGNER, Full()), 0, 3)

    class Raced(MemoryWitnessState):
        def get(self, origin: str, /) -> Checkpoint | None:
            seen = super().get(origin)
            self.latest[origin] = head(9)
            return seen

    state = Raced()
    with pytest.raises(ConflictError):
        add(Witness(SIGNER, state), 0, 3)
    assert state.latest == {ORIGIN: head(9)}


def test_requests_both_ways() -> None:
    for proof in ((), (bytes(32),), tuple(LEAVES[:3])):
        request = AddCheckpoint(old_size=4, proof=proof, note=note(7))
        assert parse_add_checkpoint(request.encode()) == request


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"old 4\n",
        b"4\n\nnote",
        b"old 04\n\nnote",
        b"old -1\n\nnote",
        b"old  4\n\nnote",
        b"old 4\nAAAA\n\nnote",
        b"old 4\nnot base64\n\nnote",
        b"old 4\r\n\r\nnote",
        b"old 4\n" + (b"A" * 43 + b"=\n") * 64 + b"\nnote",
    ],
)
def test_other_requests_are_refused(body: bytes) -> None:
    with pytest.raises(MalformedRecordError):
        parse_add_checkpoint(body)


STATUS: list[tuple[type[CreditLedgerError], int]] = [
    (SignatureError, 403),
    (StaleSizeError, 409),
    (ConsistencyProofError, 422),
    (MalformedRecordError, 400),
]


def test_published_request_sequences(vectors: Path, ran: Tally) -> None:
    """The same answers as another witness gave, request by request.

    One of its requests changes the last base64 digit of a signature, which leaves the signature
    as it was: to us that is a second spelling (400). With a digit before changed, it is a 403."""
    published = json.loads((vectors / "litewitness-add-checkpoint/sequence.json").read_text())
    seen = sum(answered_alike(published, file) for file in ("litewitness.txt", "sumdb.txt"))
    ran("litewitness add-checkpoint", seen, "as answered there; 1 changed, see its test")


def answered_alike(published: Any, file: str) -> int:
    """How many requests of one transcript there are, once each was answered as published."""
    log = next(entry for entry in published["logs"] if entry["for_file"] == file)
    if "vkey" in log:
        vkey = parse_verifier_key(log["vkey"])
    else:
        key = bytes.fromhex(log["pubkey_hex"])
        vkey = VerifierKey(name=log["origin"], key_type=1, public_key=key)
    signer = CosignatureSigner(published["witness_name"], Ed25519Signer(bytes(32)))
    witness = Witness(signer, MemoryWitnessState())
    requests = [request for request in published["sequence"] if request["file"] == file]
    assert requests
    for request in requests:
        status, stored = 200, ""
        try:
            body = parse_add_checkpoint(request["request_body"].replace("6gx=\n", "6ko=\n").encode())
            line = witness.add_checkpoint(
                body.old_size,
                body.proof,
                body.note,
                log_vkeys=[vkey],
                origin=log["origin"],
                now_unix_s=1,
            )
            assert line.decode().startswith("\u2014 example.com/witness ")
        except CreditLedgerError as error:
            status = next(code for kind, code in STATUS if isinstance(error, kind))
            stored = f"{error.stored_size}\n" if isinstance(error, StaleSizeError) else ""
        assert status == request["status"]
        if status == 409:
            assert request["asserts"] == f'body == "{stored[:-1]}\\n"'
    return len(requests)


def test_published_consistency_proof_of_a_witness(vectors: Path, ran: Tally) -> None:
    published = json.loads((vectors / "signed-notes/witness_consistency.json").read_text())
    notes = {case["name"]: case for case in json.loads((vectors / "signed-notes/notes.json").read_text())}
    vkey = parse_verifier_key(published["log_vkey"])
    witness = Witness(SIGNER, MemoryWitnessState())
    old, new = notes["monkeys 5"]["note"].encode(), notes["monkeys 8"]["note"].encode()
    witness.add_checkpoint(0, [], old, log_vkeys=[vkey], now_unix_s=1)
    proof = list(map(bytes.fromhex, published["proof_hex"]))
    with pytest.raises(ConsistencyProofError):
        witness.add_checkpoint(5, proof[::-1], new, log_vkeys=[vkey], now_unix_s=2)
    witness.add_checkpoint(5, proof, new, log_vkeys=[vkey], now_unix_s=2)
    ran("signed-notes witness consistency", 1, "and refused in reverse")
