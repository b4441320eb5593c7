"""Every kind of record has a vector, and is encoded and decoded to the byte. Source: specs/records.md §4."""

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

import pytest

from creditledger.quantities import Text
from creditledger.records.entry import LOGGED, Entry, Submission
from creditledger.records.kinds import Kind
from record_strategies import RECORDS, hints_of

FOLDER = Path(__file__).parents[2] / "vectors" / "records"
VECTORS = {path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))}
ENVELOPES = {"entry", "submission"}
WITHOUT_ENCODING = {Kind.ENTRY, Kind.BUNDLE, Kind.VOTE, Kind.REVIEW, Kind.CLEARING}
"""Kinds that are no `Record`: the entry has its own vector, a bundle its own page, the rest is reserved."""


def from_json(hint: Any, value: Any) -> Any:
    """The field that a vector spells: bytes in hex, rows as objects."""
    if get_origin(hint) is Annotated:
        is_plain = isinstance(value, int) or isinstance(get_args(hint)[1], Text)
        return value if is_plain else bytes.fromhex(value)
    if get_origin(hint) is tuple:
        return tuple(from_json(get_args(hint)[0], item) for item in value)
    return hint(**{name: from_json(inner, value[name]) for name, inner in hints_of(hint).items()})


def vector_record(vector: dict[str, Any]) -> Any:
    """The record a vector is about."""
    return from_json(RECORDS[vector["record"]], vector["fields"])


def test_every_kind_has_a_vector() -> None:
    """A kind added without a vector, or a vector without a kind, fails here."""
    kinds = {kind.name.lower() for kind in Kind if kind not in WITHOUT_ENCODING}
    assert kinds == set(RECORDS)
    assert set(VECTORS) == kinds | ENVELOPES
    assert {record.KIND.name.lower() for record in LOGGED.values()} <= kinds


@pytest.mark.parametrize("name", sorted(set(VECTORS) - ENVELOPES))
def test_a_record_is_its_vector_to_the_byte(name: str) -> None:
    vector = VECTORS[name]
    record = vector_record(vector)
    encoded = bytes.fromhex(vector["encoded"])
    ledger_id = bytes.fromhex(vector["ledger_id"])
    assert vector["kind"] == record.KIND
    assert list(vector["fields"]) == list(hints_of(type(record)))
    assert record.encode() == encoded
    assert type(record).decode(encoded) == record
    assert record.signing_bytes(ledger_id) == (
        b"creditledger/v1/" + name.encode() + b"\0" + ledger_id + encoded
    )
    assert record.digest(ledger_id).hex() == vector["digest"]


def test_an_entry_is_its_vector_to_the_byte() -> None:
    vector = VECTORS["entry"]
    fields = vector["fields"]
    entry = Entry(
        time_unix_ms=fields["time_unix_ms"],
        record=vector_record(fields["record"]),
        signature=bytes.fromhex(fields["signature"]),
    )
    assert entry.encode().hex() == vector["encoded"]
    assert Entry.decode(bytes.fromhex(vector["encoded"])) == entry


def test_a_submission_is_its_vector_to_the_byte() -> None:
    vector = VECTORS["submission"]
    fields = vector["fields"]
    submission = Submission(
        record=vector_record(fields["record"]),
        signature=bytes.fromhex(fields["signature"]),
        bodies=tuple(bytes.fromhex(body) for body in fields["bodies"]),
    )
    assert submission.encode().hex() == vector["encoded"]
    assert Submission.decode(bytes.fromhex(vector["encoded"])) == submission


def test_the_ledger_id_is_the_hash_of_the_encoded_genesis() -> None:
    encoded = bytes.fromhex(VECTORS["genesis"]["encoded"])
    assert RECORDS["genesis"].decode(encoded).ledger_id == hashlib.sha256(encoded).digest()  # type: ignore[attr-defined]
