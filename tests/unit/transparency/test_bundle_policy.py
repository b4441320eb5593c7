"""A bundle counts for a reader only under that reader's own policy."""

from dataclasses import replace

import pytest

from creditledger.errors import (
    CertificateError,
    MalformedBundleError,
    PolicyError,
    SignatureError,
)
from creditledger.ledger.head import log_key
from creditledger.transparency.bundle import Bundle
from creditledger.transparency.cosignature import CosignatureSigner
from creditledger.transparency.note import Note, parse_note
from creditledger.transparency.quorum import PolicyLog, PolicyWitness, WitnessGroup
from creditledger.transparency.trust_policy import TrustPolicy
from creditledger.transparency.verification import Verified, verify_bundle
from fakes.cast import ed25519
from fakes.shown_pool import elsewhere, shown

STRANGER = CosignatureSigner("stranger", ed25519("stranger"))


def read(
    policy: TrustPolicy, name: str = "upheld", *, bundle: Bundle | None = None, now: int | None = None
) -> Verified:
    encoded = shown()[name] if bundle is None else bundle.encode()
    return verify_bundle(encoded, policy, require="signed", now_unix_ms=now)


def with_lines(*names: str, extra: tuple = ()) -> Bundle:
    """The upheld bundle with those lines of its checkpoint, and others, in order."""
    bundle = Bundle.decode(shown()["upheld"])
    note = parse_note(bundle.checkpoint)
    lines = [line for line in note.signatures if line.name in names]
    ordered = tuple(sorted([*lines, *extra], key=lambda line: line.line))
    return bundle.replace(checkpoint=Note(text=note.text, signatures=ordered).encode())


def strangers_line() -> object:
    note = parse_note(Bundle.decode(shown()["upheld"]).checkpoint)
    return STRANGER.cosign(note.text, timestamp=1_800_000_000)


ORIGIN = shown().policy.logs[0].vkey.name
WITNESS = shown().policy.witnesses[0].vkey.name


def test_the_pools_own_policy_accepts() -> None:
    assert "upheld" in read(shown().policy).reached
    assert "upheld" in read(shown().policy, bundle=with_lines(ORIGIN, WITNESS)).reached


def test_a_missing_witness_is_refused() -> None:
    with pytest.raises(PolicyError, match="quorum"):
        read(shown().policy, bundle=with_lines(ORIGIN))
    unasking = replace(shown().policy, quorum="none")
    found = read(unasking, bundle=with_lines(ORIGIN))
    assert ("upheld" in found.reached, found.time_unix_ms) == (True, None)


def test_a_missing_log_line_is_refused() -> None:
    with pytest.raises(SignatureError):
        read(shown().policy, bundle=with_lines(WITNESS))


def test_a_line_that_the_policy_does_not_know_is_refused() -> None:
    """Nobody signs for it, so nobody could tell a bundle from its copy with another such line."""
    with pytest.raises(MalformedBundleError, match="does not know"):
        read(shown().policy, bundle=with_lines(ORIGIN, WITNESS, extra=(strangers_line(),)))
    knowing = replace(
        shown().policy,
        witnesses=(
            *shown().policy.witnesses,
            PolicyWitness(name="stranger", vkey=STRANGER.vkey),
        ),
    )
    assert read(knowing, bundle=with_lines(ORIGIN, WITNESS, extra=(strangers_line(),))).reached


def test_a_quorum_of_two_wants_two() -> None:
    both = WitnessGroup(name="both", threshold=2, members=("local", "stranger"))
    witnesses = (*shown().policy.witnesses, PolicyWitness(name="stranger", vkey=STRANGER.vkey))
    policy = replace(shown().policy, witnesses=witnesses, groups=(both,), quorum="both")
    assert read(policy, bundle=with_lines(ORIGIN, WITNESS, extra=(strangers_line(),))).reached
    with pytest.raises(PolicyError, match="quorum"):
        read(policy)


def test_age_is_measured_from_the_cosignature() -> None:
    policy = replace(shown().policy, max_age_ms=60_000)
    seen = read(policy).time_unix_ms
    assert seen is not None
    for now in (seen - 60_000, seen, seen + 60_000):
        assert read(policy, now=now).reached
    for now in (seen - 60_001, seen + 60_001, 0, 2**62):
        with pytest.raises(PolicyError, match="fresh"):
            read(policy, now=now)


def test_nothing_is_fresh_without_a_witness() -> None:
    policy = replace(shown().policy, quorum="none", max_age_ms=60_000)
    with pytest.raises(PolicyError, match="fresh"):
        read(policy, now=shown().now_unix_ms)


def test_a_signed_receipt_needs_no_checkpoint_to_be_fresh() -> None:
    policy = replace(shown().policy, max_age_ms=1)
    assert read(policy, "signed", now=2**62).reached == ("signed",)


def test_another_origin_is_refused() -> None:
    operator = ed25519("operator").public_key
    other = PolicyLog(vkey=log_key("pool.example/another", operator))
    with pytest.raises((SignatureError, MalformedBundleError)):
        read(replace(shown().policy, logs=(other,)))


def test_another_logs_key_is_refused() -> None:
    impostor = PolicyLog(vkey=log_key(ORIGIN, ed25519("impostor").public_key))
    with pytest.raises((SignatureError, MalformedBundleError)):
        read(replace(shown().policy, logs=(impostor,)))


def test_another_ledger_is_refused() -> None:
    with pytest.raises(PolicyError, match="another ledger"):
        read(elsewhere().policy)
    with pytest.raises(PolicyError, match="names no ledger"):
        read(replace(shown().policy, ledger_id=None))
    with pytest.raises((SignatureError, MalformedBundleError)):
        read(replace(elsewhere().policy, ledger_id=shown().policy.ledger_id))


@pytest.mark.parametrize("name", ["certified", "upheld", "account", "hold open", "key", "absent"])
def test_without_a_committee_nothing_is_certified(name: str) -> None:
    with pytest.raises(CertificateError, match="no committee"):
        read(replace(shown().policy, committee=None), name)


@pytest.mark.parametrize("name", ["signed", "logged", "batch"])
def test_what_needs_no_committee_asks_for_none(name: str) -> None:
    assert read(replace(shown().policy, committee=None), name).reached


def test_a_policy_survives_its_file() -> None:
    again = TrustPolicy.parse(shown().policy.serialize())
    assert read(again) == read(shown().policy)
