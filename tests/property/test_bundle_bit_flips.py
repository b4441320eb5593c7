"""One flipped bit anywhere in a bundle, whatever it shows, and no reader takes it at any level."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from creditledger.errors import MalformedRecordError, VerificationError
from creditledger.records import canonical
from creditledger.transparency.bundle import Subject, decode_bundle
from creditledger.transparency.verification import Requirement, verify_bundle
from fakes.shown_pool import Shown, elsewhere, shown

IS_THOROUGH = "CREDITLEDGER_THOROUGH" in os.environ
WHOLE = ("upheld", "hold open", "account")
"""Three bundles of which every bit is flipped, always: a receipt with all parts, a hold, an account."""
SOME = 11
OTHERS = ("signed", "logged", "vested", "refuted", "key", "absent", "batch")
OWN_LEVEL: dict[str, Requirement] = {"upheld": "upheld", "vested": "vested"}


def flipped(encoded: bytes, bit: int) -> bytes:
    changed = bytearray(encoded)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def accepted(source: Shown, name: str, require: Requirement, step: int) -> list[int]:
    """The flips, every ``step``-th, that made a reader believe something untrue."""
    original, found = source[name], []
    for bit in range(0, 8 * len(original), step):
        changed = flipped(original, bit)
        try:
            verify_bundle(changed, source.policy, require=require)
        except VerificationError:
            continue
        if not _is_another_true_absence(original, changed):
            found.append(bit)
    return found


def _is_another_true_absence(original: bytes, changed: bytes) -> bool:
    """Nobody signs an absence: one empty slot of the map proves it of every id that would stand there.

    So a flipped id may be proven absent just as well, as long as nothing but the id has changed."""
    before, after = decode_bundle(original), decode_bundle(changed)
    return before.subject == Subject.ABSENT and after.replace(body=before.body) == before


@pytest.mark.parametrize("name", list(shown().bundles) if IS_THOROUGH else [*WHOLE, *OTHERS])
def test_no_flipped_bit_is_believed(name: str) -> None:
    step = 1 if IS_THOROUGH or name in WHOLE else SOME
    # What is refused at the least requirement is refused at each: it is the last thing looked at.
    assert verify_bundle(shown()[name], shown().policy, require="signed")
    assert accepted(shown(), name, "signed", step) == []


@pytest.mark.parametrize("name", list(OWN_LEVEL))
def test_no_flipped_bit_is_believed_at_its_own_level(name: str) -> None:
    require, step = OWN_LEVEL[name], 1 if IS_THOROUGH else 4 * SOME + 1
    assert require in verify_bundle(shown()[name], shown().policy, require=require).reached
    assert accepted(shown(), name, require, step) == []


@pytest.mark.parametrize("name", list(elsewhere().bundles))
def test_no_flipped_bit_is_believed_elsewhere(name: str) -> None:
    assert accepted(elsewhere(), name, "signed", 1 if IS_THOROUGH else 8 * SOME + 1) == []


def rearranged(values: Sequence[Any]) -> Iterator[list[Any]]:
    """``values`` with one of them, at any depth, dropped, doubled or swapped with its neighbour."""
    for at, value in enumerate(values):
        before, after = list(values[:at]), list(values[at + 1 :])
        yield [*before, *after]
        yield [*before, value, value, *after]
        if after:
            yield [*before, after[0], value, *after[1:]]
        for inner in rearranged(inside(value)):
            yield [*before, canonical.encode(inner) if isinstance(value, bytes) else inner, *after]


def inside(value: Any) -> Sequence[Any]:
    """The fields of an array, or of a record that travels as bytes."""
    if not isinstance(value, bytes) or not value:
        return value if isinstance(value, list) else ()
    try:
        record = canonical.decode(value)
    except MalformedRecordError:
        return ()
    return record if isinstance(record, list) else ()


@pytest.mark.parametrize("name", sorted(shown().bundles))
def test_no_field_may_be_dropped_doubled_or_swapped(name: str) -> None:
    """Nothing else is believed for it; a receipt without what it need not show proves less."""
    original = shown()[name]
    values = canonical.decode(original)
    assert isinstance(values, list)
    changes = {canonical.encode(changed) for changed in rearranged(values)} - {original}
    assert len(changes) >= 60
    whole = verify_bundle(original, shown().policy, require="signed")
    for changed in changes:
        try:
            found = verify_bundle(changed, shown().policy, require="signed")
        except VerificationError:
            continue
        assert _leaves_out(original, changed), changed.hex()
        assert set(found.reached) <= set(whole.reached)
        assert replace(found, reached=whole.reached, delivered=whole.delivered) == whole


def _leaves_out(original: bytes, changed: bytes) -> bool:
    """Whether only parts are missing that a receipt need not show: order, countersignature, its lot."""
    before, after = decode_bundle(original), decode_bundle(changed)
    return after == before.replace(
        job=before.job if after.job else (),
        delivery=before.delivery if after.delivery else (),
        states=before.states[: len(after.states)],
    )


@given(st.data())
def test_no_changed_bytes_are_believed(data: st.DataObject) -> None:
    """Some bytes replaced, cut out or put in."""
    name = data.draw(st.sampled_from(sorted(shown().bundles)))
    original = shown()[name]
    start = data.draw(st.integers(0, len(original)))
    stop = data.draw(st.integers(start, min(len(original), start + 40)))
    changed = original[:start] + data.draw(st.binary(max_size=40)) + original[stop:]
    if changed == original:
        return
    try:
        verify_bundle(changed, shown().policy, require="signed")
    except VerificationError:
        return
    assert _is_another_true_absence(original, changed)
