"""Evidence that a log signed two histories: it convicts forks, and nobody else."""

from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from creditledger.errors import (
    ConsistencyProofError,
    CreditLedgerError,
    MalformedBundleError,
    MalformedRecordError,
    SignatureError,
    VerificationError,
)
from creditledger.transparency.checkpoint import Checkpoint, sign_checkpoint
from creditledger.transparency.cosignature import CosignatureSigner
from creditledger.transparency.fork import FORK_SIZE_MAX, ForkEvidence, make_fork, parse_fork, verify_fork
from creditledger.transparency.keys import Ed25519Signer
from creditledger.transparency.merkle import (
    NodeReader,
    append_nodes,
    leaf_hash,
    prove_consistency,
    tree_root,
)
from creditledger.transparency.note import Ed25519NoteSigner, Note, add_signatures, parse_note
from creditledger.transparency.quorum import NO_QUORUM, KeyRange, PolicyLog, PolicyWitness
from creditledger.transparency.trust_policy import TrustPolicy

ORIGIN = "example.org/forked"
LOG = Ed25519NoteSigner(ORIGIN, Ed25519Signer(b"\x01" * 32))
OTHER = Ed25519NoteSigner("example.org/other", Ed25519Signer(b"\x02" * 32))
POLICY = TrustPolicy(logs=(PolicyLog(vkey=LOG.vkey), PolicyLog(vkey=OTHER.vkey)), quorum=NO_QUORUM)


class Tree:
    """A tree of small entries, under one log's key."""

    def __init__(self, *entries: str) -> None:
        self.size = len(entries)
        self.nodes: dict[tuple[int, int], bytes] = {}
        leaves = [leaf_hash(entry.encode()) for entry in entries]
        for level, index, value in append_nodes(self.read, 0, leaves):
            self.nodes[level, index] = value

    def read(self, level: int, index: int) -> bytes:
        return self.nodes[level, index]

    def note(self, size: int | None = None, signer: Ed25519NoteSigner = LOG) -> bytes:
        shown = self.size if size is None else size
        root = tree_root(self.read, size=shown)
        return sign_checkpoint(Checkpoint(origin=signer.vkey.name, size=shown, root=root), [signer])


OLD = Tree("a", "b", "c")
NEW = Tree("a", "x", "c", "d", "e")
EVIDENCE = make_fork(OLD.note(), NEW.note(), POLICY, NEW.read)


def test_two_histories_convict_the_log() -> None:
    found = verify_fork(EVIDENCE.encode(), POLICY)
    assert (found.first.size, found.second.size) == (3, 5)
    assert parse_fork(EVIDENCE.encode()) == EVIDENCE


def test_two_trees_of_one_size_need_no_proof() -> None:
    other = Tree("a", "b", "y")
    evidence = make_fork(OLD.note(), other.note(), POLICY, other.read)
    assert evidence.proof == ()
    assert verify_fork(evidence.encode(), POLICY).second.size == 3


def test_one_history_gives_no_evidence() -> None:
    grown = Tree("a", "b", "c", "d")
    with pytest.raises(ConsistencyProofError, match="one history"):
        make_fork(OLD.note(), grown.note(), POLICY, grown.read)
    with pytest.raises(ConsistencyProofError):
        make_fork(NEW.note(), OLD.note(), POLICY, OLD.read)
    with pytest.raises(ConsistencyProofError):
        make_fork(OLD.note(0), NEW.note(), POLICY, NEW.read)


@given(st.integers(1, 40), st.integers(0, 40), st.data())
def test_no_two_checkpoints_of_one_tree_convict_it(size: int, more: int, data: st.DataObject) -> None:
    """Whatever prefix and proof a liar makes up."""
    tree = Tree(*map(str, range(size + more)))
    proof = prove_consistency(tree.read, first=size, second=size + more)
    prefix = data.draw(st.binary(min_size=32, max_size=32))
    hashes = list(proof)
    if hashes and data.draw(st.booleans()):
        hashes[data.draw(st.integers(0, len(hashes) - 1))] = data.draw(st.binary(min_size=32, max_size=32))
    assume(prefix != tree_root(tree.read, size=size))
    evidence = ForkEvidence(first=tree.note(size), second=tree.note(), prefix=prefix, proof=tuple(hashes))
    with pytest.raises(VerificationError):
        verify_fork(evidence.encode(), POLICY)


def test_the_prefix_must_differ_from_what_was_signed() -> None:
    tree = Tree(*"abcdefg")
    honest = ForkEvidence(
        first=tree.note(5),
        second=tree.note(),
        prefix=tree_root(tree.read, size=5),
        proof=tuple(prove_consistency(tree.read, first=5, second=7)),
    )
    with pytest.raises(VerificationError, match="do not contradict"):
        verify_fork(honest.encode(), POLICY)


def test_only_the_logs_own_signatures_count() -> None:
    mallory = Ed25519NoteSigner(ORIGIN, Ed25519Signer(b"\x03" * 32))
    for first, second in ((OLD.note(signer=mallory), NEW.note()), (OLD.note(), NEW.note(signer=mallory))):
        with pytest.raises(SignatureError):
            verify_fork(replace(EVIDENCE, first=first, second=second).encode(), POLICY)


def test_two_logs_do_not_contradict_each_other() -> None:
    evidence = replace(EVIDENCE, first=OLD.note(signer=OTHER))
    with pytest.raises(VerificationError, match="two logs"):
        verify_fork(evidence.encode(), POLICY)


def test_the_smaller_tree_comes_first() -> None:
    swapped = replace(EVIDENCE, first=EVIDENCE.second, second=EVIDENCE.first)
    with pytest.raises(ConsistencyProofError):
        verify_fork(swapped.encode(), POLICY)


def test_no_flipped_bit_is_believed() -> None:
    encoded = EVIDENCE.encode()
    for bit in range(8 * len(encoded)):
        damaged = bytearray(encoded)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(VerificationError):
            verify_fork(bytes(damaged), POLICY)


NEXT = Ed25519NoteSigner(ORIGIN, Ed25519Signer(b"\x04" * 32))
WITNESS = CosignatureSigner("example.org/witness", Ed25519Signer(b"\x05" * 32))
ROTATED = TrustPolicy(
    logs=(
        PolicyLog(vkey=LOG.vkey, range=KeyRange(first_size=0, until_size=4)),
        PolicyLog(vkey=NEXT.vkey, range=KeyRange(first_size=4, until_size=0)),
    ),
    quorum=NO_QUORUM,
)
"""A policy that knows of a rotation at size 4."""


def signed_by_all(tree: Tree) -> bytes:
    """With lines of a witness, of a log that nobody knows, and of both keys of the log."""
    root = tree_root(tree.read, size=tree.size)
    checkpoint = Checkpoint(origin=ORIGIN, size=tree.size, root=root)
    stranger = Ed25519NoteSigner("example.org/stranger", Ed25519Signer(b"\x06" * 32))
    note = sign_checkpoint(checkpoint, [stranger, LOG, NEXT, OTHER])
    return add_signatures(note, [WITNESS.cosign(checkpoint.text, timestamp=1).line])


@pytest.mark.parametrize("policy", [POLICY, ROTATED.for_any_size(), ROTATED])
def test_no_bit_of_a_note_with_more_lines_may_be_another(policy: TrustPolicy) -> None:
    """Lines that no reader checks are left out, and refused where somebody puts them in."""
    witnessed = replace(policy, witnesses=(PolicyWitness(name="w", vkey=WITNESS.vkey),))
    full = signed_by_all(OLD), signed_by_all(NEW)
    evidence = make_fork(*full, witnessed, NEW.read)
    encoded = evidence.encode()
    assert verify_fork(encoded, policy).second.size == 5
    for bit in range(8 * len(encoded)):
        damaged = bytearray(encoded)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(VerificationError):
            verify_fork(bytes(damaged), policy)
    for first, second in ((full[0], evidence.second), (evidence.first, full[1])):
        with pytest.raises(MalformedBundleError):
            verify_fork(replace(evidence, first=first, second=second).encode(), witnessed)


def test_lines_stand_in_one_order() -> None:
    policy = ROTATED.for_any_size()
    evidence = make_fork(signed_by_all(OLD), signed_by_all(NEW), policy, NEW.read)
    note = parse_note(evidence.first)
    assert len(note.signatures) == 2
    swapped = Note(text=note.text, signatures=note.signatures[::-1]).encode()
    with pytest.raises(MalformedBundleError):
        verify_fork(replace(evidence, first=swapped).encode(), policy)


def test_two_keys_of_one_log_convict_it_each_for_its_sizes() -> None:
    """L14: a retired key says nothing of the sizes after it, and the next nothing of those before."""
    crossed = make_fork(OLD.note(), NEW.note(signer=NEXT), ROTATED, NEW.read)
    assert verify_fork(crossed.encode(), ROTATED).second.size == 5
    late = make_fork(OLD.note(), NEW.note(), ROTATED.for_any_size(), NEW.read)
    early = make_fork(OLD.note(signer=NEXT), NEW.note(signer=NEXT), ROTATED.for_any_size(), NEW.read)
    for evidence in (late, early):
        with pytest.raises(SignatureError, match="does not sign for this size"):
            verify_fork(evidence.encode(), ROTATED)
    with pytest.raises(SignatureError, match="does not sign for this size"):
        make_fork(OLD.note(), NEW.note(), ROTATED, NEW.read)


def test_notes_of_one_size_are_evidence_without_a_tree() -> None:
    other = Tree("a", "b", "y")
    assert make_fork(OLD.note(), other.note(), POLICY) == make_fork(
        OLD.note(), other.note(), POLICY, other.read
    )
    with pytest.raises(ConsistencyProofError):
        make_fork(OLD.note(), NEW.note(), POLICY)


def test_nothing_is_made_that_would_not_convince() -> None:
    spoilt = NEW.note()[:-8] + b"AAAAAA=\n"
    with pytest.raises(SignatureError):
        make_fork(OLD.note(), spoilt, POLICY, NEW.read)


@pytest.mark.parametrize(
    "encoded",
    [
        b"",
        EVIDENCE.encode()[:-1],
        EVIDENCE.encode() + b"\n",
        EVIDENCE.encode().replace(b"fork@v1", b"fork@v2"),
        EVIDENCE.encode().replace(b"first ", b"first 0"),
        EVIDENCE.encode().replace(b"first ", b"first 99999999"),
        EVIDENCE.encode().replace(b"\nprefix", b"\r\nprefix"),
        b"creditledger/fork@v1\n" + b"x" * FORK_SIZE_MAX,
    ],
)
def test_other_files_are_no_evidence(encoded: bytes) -> None:
    with pytest.raises(MalformedBundleError):
        verify_fork(encoded, POLICY)


@given(st.binary(max_size=300))
def test_what_is_read_is_written_back(tail: bytes) -> None:
    encoded = EVIDENCE.encode()[: 40 + len(tail)] + tail
    try:
        assert parse_fork(encoded).encode() == encoded
    except MalformedRecordError:
        pass
    except CreditLedgerError as error:
        raise AssertionError(error) from error


def test_a_reader_may_read_nodes_from_anywhere() -> None:
    reader: NodeReader = NEW.read
    assert make_fork(OLD.note(2), NEW.note(4), POLICY, reader).prefix == tree_root(reader, size=2)
