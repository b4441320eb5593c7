"""Bundles whose every signature holds and whose content is whatever a test says.

As if operator, witness and committee conspired: what is refused here is refused by the reader alone."""

from collections.abc import Mapping, Sequence

from creditledger.ledger.head import log_key
from creditledger.records.entry import Entry
from creditledger.records.record import Record
from creditledger.records.round import Round, round_statement
from creditledger.records.verdict import Reveal, Verdict
from creditledger.transparency.bundle import (
    Bundle,
    CertifiedRound,
    Leaf,
    MapValue,
    Place,
    ShownVerdict,
    SignedRecord,
    decode_logged,
)
from creditledger.transparency.certificate import Committee, make_certificate
from creditledger.transparency.checkpoint import Checkpoint, sign_checkpoint
from creditledger.transparency.cosignature import CosignatureSigner
from creditledger.transparency.merkle import inclusion_proof, leaf_hash, root_from_leaf_hashes
from creditledger.transparency.note import Ed25519NoteSigner, Note, parse_note
from creditledger.transparency.sparse_merkle import EMPTY_MAP_ROOT, MemoryNodeStore, SparseMerkleMap
from fakes.cast import START_MS, ed25519
from fakes.committee import fake_digest, real_validator
from fakes.shown_pool import Shown

ENTRY_INDEX, ROUND_INDEX, SIZE = 5, 9, 12


def checkpoint_note(shown: Shown, checkpoint: Checkpoint, *, cosigned: bool = True) -> bytes:
    """``checkpoint`` signed by the ledger's operator and its witness, lines ascending."""
    operator, witness = ed25519("operator"), CosignatureSigner("local", ed25519("witness"))
    vkey = log_key(checkpoint.origin, operator.public_key)
    note = parse_note(sign_checkpoint(checkpoint, [Ed25519NoteSigner(vkey.name, operator)]))
    lines = list(note.signatures)
    if cosigned:
        lines.append(witness.cosign(note.text, timestamp=shown.now_unix_ms // 1_000))
    return Note(text=note.text, signatures=tuple(sorted(lines, key=lambda line: line.line))).encode()


def forged(
    shown: Shown,
    bundle: Bundle,
    states: Mapping[bytes, Record | bytes],
    *,
    shown_keys: Sequence[bytes] | None = None,
    signers: Sequence[int] = (0, 1, 2),
    committee: Committee | None = None,
    statement: bytes | None = None,
    number: int = 7,
    log_size: int = ROUND_INDEX,
    cosigned: bool = True,
    ledger_in_statement: bytes | None = None,
    **parts: object,
) -> Bundle:
    """``bundle`` in a log and a map made for it: its entry at index 5, a round over ``states`` at 9."""
    nodes = MemoryNodeStore()
    values = {key: value if isinstance(value, bytes) else value.encode() for key, value in states.items()}
    tree = SparseMerkleMap(nodes)
    root = tree.update(EMPTY_MAP_ROOT, values)
    ledger = bundle.ledger
    round_ = Round(
        number=number,
        log_size=log_size,
        log_root=fake_digest("log root"),
        map_root=root,
        parameters=fake_digest("parameters"),
    )
    signed_round = SignedRecord(
        record=round_.encode(), signature=ed25519("operator").sign(round_.signing_bytes(ledger)), place=()
    )
    placed = {ROUND_INDEX: signed_round} | dict(zip([ENTRY_INDEX], bundle.entry, strict=False))
    leaves = [leaf_hash(b"filler %d" % index) for index in range(SIZE)]
    for index, signed in placed.items():
        leaves[index] = leaf_hash(
            Entry(
                time_unix_ms=START_MS, record=decode_logged(signed.record), signature=signed.signature
            ).encode()
        )
    for index, signed in placed.items():
        path = tuple(inclusion_proof(leaves, index, SIZE))
        place = Place(time_unix_ms=START_MS, index=index, path=path)
        placed[index] = signed.replace(place=(place,))
    chosen = committee or shown.policy.committee
    assert chosen is not None
    digest = round_.digest(ledger)
    message = statement or round_statement(digest, chosen.digest, ledger_in_statement or ledger)
    by_key = {real_validator(index).public_key: real_validator(index) for index in range(8)}
    signatures = {i: by_key[chosen.members[i].bls_key].sign(message) for i in signers}
    lenient = Committee(members=chosen.members, quorum=1)
    bitmap, aggregate = make_certificate(signatures, committee=lenient, statement=message)
    origin = shown.policy.logs[0].vkey.name
    checkpoint = Checkpoint(origin=origin, size=SIZE, root=root_from_leaf_hashes(leaves))
    made = bundle.replace(
        entry=(placed[ENTRY_INDEX],) if bundle.entry else (),
        checkpoint=checkpoint_note(shown, checkpoint, cosigned=cosigned),
        certified=(CertifiedRound(round=placed[ROUND_INDEX], signers=bitmap, aggregate=aggregate),),
        states=tuple(
            MapValue(value=values.get(key, b""), proof=tree.prove(root, key))
            for key in (states if shown_keys is None else shown_keys)
        ),
    )
    return made.replace(**parts)  # type: ignore[arg-type]


def shown_verdict(
    shown: Shown, verdict: Verdict, *, signer: int | None = None, **reveal: object
) -> ShownVerdict:
    """``verdict`` alone under a reveal signed by its member, or by ``signer``."""
    encoded = verdict.encode()
    record = Reveal(
        round=verdict.round,
        member=verdict.member,
        count=1,
        root=root_from_leaf_hashes([leaf_hash(encoded)]),
        salt=fake_digest("salt"),
    )
    record = record.replace(**reveal)  # type: ignore[arg-type]
    key = real_validator(verdict.member if signer is None else signer)
    assert shown.policy.ledger_id is not None
    signature = key.sign(record.signing_bytes(shown.policy.ledger_id))
    signed = SignedRecord(record=record.encode(), signature=signature, place=())
    return ShownVerdict(reveal=signed, verdict=encoded, leaf=Leaf(index=0, path=()))
