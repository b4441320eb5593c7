"""What a parser accepts, it writes back byte for byte; and small changes are never accepted."""

from hypothesis import given
from hypothesis import strategies as st

from creditledger.errors import MalformedRecordError, PolicyError, SignatureError
from creditledger.transparency.certificate import decode_bitmap, encode_bitmap
from creditledger.transparency.checkpoint import Checkpoint, parse_checkpoint, sign_checkpoint
from creditledger.transparency.keys import Ed25519Signer
from creditledger.transparency.note import Ed25519NoteSigner, parse_note
from creditledger.transparency.quorum import PolicyLog
from creditledger.transparency.tile import Tile, parse_tile_path
from creditledger.transparency.tlog_proof import TlogProof, parse_tlog_proof
from creditledger.transparency.trust_policy import TrustPolicy

LOG = Ed25519NoteSigner("example.org/log", Ed25519Signer(b"\x01" * 32))
CHECKPOINT = Checkpoint(origin="example.org/log", size=1234, root=bytes(range(32)))
NOTE = sign_checkpoint(CHECKPOINT, [LOG])
POLICY = TrustPolicy(logs=(PolicyLog(vkey=LOG.vkey),))

PROOF = TlogProof(index=1033, hashes=(bytes(32), b"\xfb" * 32), checkpoint=NOTE, extra=b"extra").encode()


@st.composite
def mutated(draw: st.DrawFn, source: bytes) -> bytes:
    """``source`` with a byte changed, a piece removed or a piece put in."""
    start = draw(st.integers(0, len(source)))
    stop = draw(st.integers(start, min(len(source), start + 3)))
    return source[:start] + draw(st.binary(max_size=3)) + source[stop:]


@given(mutated(NOTE))
def test_notes(encoded: bytes) -> None:
    try:
        note = parse_note(encoded)
    except MalformedRecordError:
        return
    assert note.encode() == encoded


@given(mutated(PROOF))
def test_tlog_proofs(encoded: bytes) -> None:
    try:
        proof = parse_tlog_proof(encoded)
    except MalformedRecordError:
        return
    assert proof.encode() == encoded


@given(mutated(CHECKPOINT.text))
def test_checkpoints(text: bytes) -> None:
    try:
        checkpoint = parse_checkpoint(text)
    except MalformedRecordError:
        return
    assert checkpoint.text == text


@given(mutated(NOTE))
def test_only_the_signed_bytes_are_verified(encoded: bytes) -> None:
    try:
        verified = POLICY.verify_checkpoint(encoded)
    except (MalformedRecordError, SignatureError, PolicyError):
        assert encoded != NOTE
    else:
        assert verified.checkpoint == CHECKPOINT


@given(st.one_of(st.none(), st.integers(0, 63)), st.integers(0, 2**55 - 1), st.integers(1, 256))
def test_tile_paths(level: int | None, index: int, width: int) -> None:
    tile = Tile(level=level, index=index, width=width)
    assert parse_tile_path(tile.path) == tile


@given(mutated(b"tile/12/x001/x234/067.p/12").map(lambda path: path.decode("latin-1")))
def test_tile_paths_have_one_spelling(path: str) -> None:
    try:
        tile = parse_tile_path(path)
    except MalformedRecordError:
        return
    assert tile.path == path


@given(st.integers(1, 40), st.data())
def test_bitmaps(size: int, data: st.DataObject) -> None:
    indices = data.draw(st.sets(st.integers(0, size - 1)))
    assert decode_bitmap(encode_bitmap(indices, size=size), size=size) == sorted(indices)


@given(st.binary(max_size=300))
def test_a_policy_is_read_or_refused(text: bytes) -> None:
    try:
        policy = TrustPolicy.parse(b"quorum none\n" + text)
    except MalformedRecordError:
        return
    assert TrustPolicy.parse(policy.serialize()) == policy
