"""Laws of the one encoding: reading undoes writing, and nothing else is read.

Source: specs/records.md §1, §3."""

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from creditledger.errors import MalformedRecordError
from creditledger.records import canonical
from creditledger.records.canonical import Value
from creditledger.records.entry import Entry, Submission
from creditledger.records.record import Record
from record_strategies import RECORDS, entries, fields_of, records, submissions

LEDGER = b"L" * 32


def plain_values() -> st.SearchStrategy[Value]:
    """Anything that has a canonical encoding and little depth."""
    scalars = st.integers(0, 2**63 - 1) | st.integers(0, 300) | st.binary(max_size=300)
    return st.recursive(scalars, lambda inner: st.lists(inner, max_size=20), max_leaves=30).filter(
        lambda value: depth_of(value) <= canonical.DEPTH_MAX
    )


def depth_of(value: Value) -> int:
    """How deep arrays nest: 0 for a scalar."""
    return 1 + max(map(depth_of, value), default=0) if isinstance(value, list) else 0


@given(plain_values())
def test_decoding_undoes_encoding(value: Value) -> None:
    assert canonical.decode(canonical.encode(value)) == value


@given(st.binary(max_size=40))
def test_any_bytes_that_are_read_are_what_would_be_written(encoded: bytes) -> None:
    try:
        value = canonical.decode(encoded)
    except MalformedRecordError:
        return
    assert canonical.encode(value) == encoded


@pytest.mark.parametrize("name", sorted(RECORDS))
@settings(max_examples=settings.default.max_examples // 3)
@given(data=st.data())
def test_decoding_a_record_undoes_encoding_it(name: str, data: st.DataObject) -> None:
    record = data.draw(fields_of(RECORDS[name]))
    encoded = record.encode()
    decoded = RECORDS[name].decode(encoded)
    assert decoded == record
    assert decoded.encode() == encoded
    assert RECORDS[name].from_values(record.to_values()) == record


@pytest.mark.parametrize("name", sorted(RECORDS))
@settings(max_examples=settings.default.max_examples // 3)
@given(data=st.data())
def test_the_short_way_writes_what_msgpack_writes(name: str, data: st.DataObject) -> None:
    """Records are written by msgspec and read by it; any msgpack library gives and takes the same bytes."""
    record = data.draw(fields_of(RECORDS[name]))
    assert record.encode() == msgpack.packb(record.to_values())
    assert RECORDS[name].from_values(msgpack.unpackb(record.encode())) == record


@pytest.mark.parametrize("name", sorted(RECORDS))
@settings(max_examples=settings.default.max_examples // 3)
@given(data=st.data())
def test_many_are_read_and_written_as_one_by_one(name: str, data: st.DataObject) -> None:
    """A byte that moves from one to its neighbour leaves the whole as it was, and is refused all the same."""
    kind = RECORDS[name]
    many = data.draw(st.lists(fields_of(kind), max_size=5))
    encoded = [record.encode() for record in many]
    assert kind.encode_all(many) == encoded
    assert kind.decode_all(encoded) == many
    if len(many) >= 2:
        place, cut = data.draw(st.integers(0, len(many) - 2)), data.draw(st.integers(1, 8))
        moved = [encoded[place][:-cut], encoded[place][-cut:] + encoded[place + 1]]
        for spoilt in (moved, [moved[0], encoded[place + 1]], [encoded[place], moved[1]]):
            with pytest.raises(MalformedRecordError):
                kind.decode_all(encoded[:place] + spoilt + encoded[place + 2 :])


@given(entries())
def test_decoding_an_entry_undoes_encoding_it(entry: Entry) -> None:
    assert Entry.decode(entry.encode()) == entry


@given(submissions())
def test_decoding_a_submission_undoes_encoding_it(submission: Submission) -> None:
    assert Submission.decode(submission.encode()) == submission


@given(records(), records())
def test_records_are_equal_when_their_bytes_are(one: Record, other: Record) -> None:
    assert (one == other) == (one.encode() == other.encode())
    assert (one.digest(LEDGER) == other.digest(LEDGER)) == (one == other)


@given(records(), st.sampled_from(sorted(RECORDS)))
def test_a_record_is_read_as_its_own_kind_only(record: Record, name: str) -> None:
    if RECORDS[name] is type(record):
        assert RECORDS[name].decode(record.encode()) == record
        return
    with pytest.raises(MalformedRecordError):
        RECORDS[name].decode(record.encode())
