"""Dropping, doubling and swapping parts gives no bundle that claims more, or other, than was proven."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import product

import pytest

from creditledger.errors import (
    CertificateError,
    MalformedBundleError,
    MalformedRecordError,
    VerificationError,
)
from creditledger.records import canonical
from creditledger.transparency.bundle import Bundle
from creditledger.transparency.note import Note, parse_note
from creditledger.transparency.verification import Verified, verify_bundle
from fakes.shown_pool import Shown, elsewhere, shown

NAMES = list(shown().bundles)
PARTS = list(Bundle.__struct_fields__)
LISTS = ("leaf", "entry", "job", "delivery", "certified", "states", "verdicts")


def read(encoded: bytes, source: Shown | None = None) -> Verified:
    return verify_bundle(encoded, (source or shown()).policy, require="signed")


def is_weaker(found: Verified, honest: Verified) -> bool:
    """Says the same of the same subject, or less of it."""
    same = (found.subject, found.record, found.work, found.round, found.size)
    return (
        same == (honest.subject, honest.record, honest.work, honest.round, honest.size)
        and set(found.reached) <= set(honest.reached)
        and found.delivered <= honest.delivered
        and found.state == honest.state
    )


@pytest.mark.parametrize("name", NAMES)
def test_a_dropped_part_is_missed_or_was_an_option(name: str) -> None:
    """Only the client's papers and a lot may be left out: then the bundle says less, and nothing else."""
    bundle, honest = Bundle.decode(shown()[name]), read(shown()[name])
    for part in LISTS:
        for position in range(len(getattr(bundle, part))):
            kept = getattr(bundle, part)
            dropped = bundle.replace(**{part: kept[:position] + kept[position + 1 :]})
            is_option = part == "delivery" or (part == "states" and position == 1)
            is_option |= part == "job" and not bundle.delivery
            if is_option:
                assert is_weaker(read(dropped.encode()), honest)
            else:
                with pytest.raises(VerificationError):
                    read(dropped.encode())
    if bundle.checkpoint:
        with pytest.raises(VerificationError):
            read(bundle.replace(checkpoint=b"").encode())
    with pytest.raises(VerificationError):
        read(bundle.replace(body=b"" if bundle.body else bytes(32)).encode())


@pytest.mark.parametrize("name", NAMES)
def test_a_doubled_part_is_refused(name: str) -> None:
    values = Bundle.decode(shown()[name]).to_values()
    assert read(shown()[name])
    for position, value in enumerate(values):
        if isinstance(value, list | tuple) and value:
            doubled = [*values[:position], [*value, value[-1]], *values[position + 1 :]]
            with pytest.raises(VerificationError):
                read(canonical.encode(doubled))


def _swaps(mine: Shown, theirs: Shown) -> Iterator[tuple[str, bytes, bytes]]:
    """Every part of every bundle of ``mine`` replaced by the same part of every one of ``theirs``."""
    for (name, a), (other, b) in product(mine.bundles.items(), theirs.bundles.items()):
        first, second = Bundle.decode(a), Bundle.decode(b)
        for part in PARTS:
            try:
                swapped = first.replace(**{part: getattr(second, part)}).encode()
            except MalformedRecordError:  # such bytes cannot be written
                continue
            # A batch is its entry: with another's it is that other, whole and honest.
            if swapped not in mine.bundles.values():
                yield f"{part} of {name} from {other}", a, swapped


def test_a_part_of_another_bundle_of_the_ledger_is_refused() -> None:
    """Accepted only where it is the same subject said with less, or a later word on it."""
    swaps = accepted = 0
    for what, original, swapped in _swaps(shown(), shown()):
        swaps += 1
        try:
            found = read(swapped)
        except VerificationError:
            continue
        accepted += 1
        honest = read(original)
        assert what.startswith(("delivery of", "job of")), what
        assert replace(found, delivered=honest.delivered, reached=()) == replace(honest, reached=()), what
        assert set(found.reached) - {"vested"} == set(honest.reached) - {"vested"}, what
    assert swaps > 1_500
    assert accepted < swaps // 10


def test_a_part_of_another_ledgers_bundle_is_refused() -> None:
    """But for an empty option, which says less."""
    swaps = 0
    for what, original, swapped in _swaps(shown(), elsewhere()):
        swaps += 1
        try:
            found = read(swapped)
        except VerificationError:
            continue
        assert Bundle.decode(swapped).delivery == (), what
        assert is_weaker(found, read(original)), what
    assert swaps > 800


def test_signed_parts_do_not_stand_in_for_each_other() -> None:
    bundle = Bundle.decode(shown()["vested"])
    signed = {
        "entry": bundle.entry[0],
        "job": bundle.job[0],
        "delivery": bundle.delivery[0],
        "round": bundle.certified[0].round,
        "reveal": bundle.verdicts[0].reveal,
    }
    for (place, old), (source, new) in product(signed.items(), signed.items()):
        if place == source:
            continue
        for part in (new, new.replace(place=old.place)):
            if place == "round":
                changed = bundle.replace(certified=(bundle.certified[0].replace(round=part),))
            elif place == "reveal":
                changed = bundle.replace(verdicts=(bundle.verdicts[0].replace(reveal=part),))
            else:
                changed = bundle.replace(**{place: (part,)})
            with pytest.raises(VerificationError):
                read(changed.encode())


def test_states_and_hashes_do_not_change_places() -> None:
    bundle = Bundle.decode(shown()["vested"])
    entry = bundle.entry[0]
    path = entry.place[0].path
    assert "vested" in read(bundle.encode()).reached
    swapped_path = (path[1], path[0], *path[2:])
    for changed in (
        bundle.replace(states=bundle.states[::-1]),
        bundle.replace(entry=(entry.replace(place=(entry.place[0].replace(path=swapped_path),)),)),
    ):
        with pytest.raises(VerificationError):
            read(changed.encode())


def test_checkpoint_lines_stand_in_one_order_and_each_once() -> None:
    bundle = Bundle.decode(shown()["upheld"])
    note = parse_note(bundle.checkpoint)
    assert len(note.signatures) == 2
    for lines in (note.signatures[::-1], note.signatures * 2, (note.signatures[0],) * 2):
        changed = Note(text=note.text, signatures=lines).encode()
        with pytest.raises(MalformedBundleError):
            read(bundle.replace(checkpoint=changed).encode())


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("batch", ("certified", "states")),
        ("batch", ("job",)),
        ("account", ("entry",)),
        ("account", ("job",)),
        ("hold open", ("job",)),
        ("hold open", ("verdicts",)),
        ("key", ("leaf",)),
        ("absent", ("delivery",)),
        ("signed", ("certified", "states", "verdicts")),
        ("signed", ("checkpoint",)),
    ],
)
def test_a_part_that_the_subject_does_not_have_is_refused(name: str, parts: tuple[str, ...]) -> None:
    bundle, donor = Bundle.decode(shown()[name]), Bundle.decode(shown()["upheld"])
    changed = bundle.replace(**{part: getattr(donor, part) for part in parts})
    with pytest.raises(MalformedBundleError):
        read(changed.encode())


def test_a_place_is_where_the_checkpoint_is() -> None:
    bundle = Bundle.decode(shown()["upheld"])
    place = bundle.entry[0].place
    for changed in (
        bundle.replace(job=(bundle.job[0].replace(place=place),)),
        bundle.replace(delivery=(bundle.delivery[0].replace(place=place),)),
        bundle.replace(entry=(bundle.entry[0].replace(place=()),)),
        bundle.replace(entry=(bundle.entry[0].replace(place=place * 2),)),
        bundle.replace(entry=(bundle.entry[0].replace(signature=bytes(65)),)),
        bundle.replace(entry=(bundle.entry[0].replace(signature=bytes(96)),)),
    ):
        with pytest.raises(MalformedBundleError):
            read(changed.encode())


@pytest.mark.parametrize("size", [1, 31, 33])
def test_an_id_has_32_bytes(size: int) -> None:
    bundle = Bundle.decode(shown()["account"])
    with pytest.raises(MalformedBundleError):
        read(bundle.replace(body=bytes(size)).encode())


def test_only_a_certificate_is_missing_where_only_it_is() -> None:
    bundle = Bundle.decode(shown()["hold open"])
    with pytest.raises(CertificateError):
        read(bundle.replace(certified=(), states=()).encode())
