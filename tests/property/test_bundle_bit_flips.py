"""One flipped bit anywhere in a bundle, whatever it shows, and no reader takes it at any level."""

import os
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from creditledger.errors import VerificationError
from creditledger.transparency.bundle import Subject, decode_bundle
from creditledger.transparency.verification import Requirement, verify_bundle
from fakes.shown_pool import Shown, elsewhere, shown

IS_THOROUGH = "CREDITLEDGER_THOROUGH" in os.environ
WHOLE, SOME = "upheld", 7
OTHERS = ("signed", "logged", "vested", "refuted", "hold open", "account", "key", "absent", "batch")
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
    return before.subject == Subject.ABSENT and replace(after, body=before.body) == before


@pytest.mark.parametrize("name", list(shown().bundles) if IS_THOROUGH else [WHOLE, *OTHERS])
def test_no_flipped_bit_is_believed(name: str) -> None:
    step = 1 if IS_THOROUGH or name == WHOLE else SOME
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
