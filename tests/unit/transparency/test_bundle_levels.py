"""Every requirement has a bundle that is just good enough, and one that falls just short."""

import pytest

from creditledger.errors import PolicyError
from creditledger.records.state import AccountState, HoldState, HoldStatus, KeyState, ReceiptState
from creditledger.transparency.bundle import Subject
from creditledger.transparency.verification import REQUIREMENTS, Verified, verify_bundle
from fakes.shown_pool import Shown, elsewhere, shown


def verified(name: str, require: str, source: Shown | None = None) -> Verified:
    ledger = source or shown()
    return verify_bundle(ledger[name], ledger.policy, require=require, now_unix_ms=ledger.now_unix_ms)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("require", "enough", "short"),
    [
        ("logged", "logged", "signed"),
        ("upheld", "upheld", "certified"),
        ("upheld", "upheld", "refuted"),
        ("upheld", "upheld", "inconclusive"),
        ("vested", "vested", "settled"),
    ],
)
def test_a_level_is_reached_or_it_is_not(require: str, enough: str, short: str) -> None:
    assert require in verified(enough, require).reached
    with pytest.raises(PolicyError, match=f"does not reach {require}"):
        verified(short, require)


def test_signed_is_the_least_that_a_receipt_can_be() -> None:
    found = verified("signed", "signed")
    assert (found.reached, found.work, found.size, found.time_unix_ms) == (
        ("signed",),
        "unchecked",
        None,
        None,
    )


@pytest.mark.parametrize(
    ("name", "work", "reached"),
    [
        ("logged", "unchecked", ("signed", "logged")),
        ("certified", "unchecked", ("signed", "logged", "certified")),
        ("upheld", "upheld", ("signed", "logged", "certified", "upheld")),
        ("settled", "upheld", ("signed", "logged", "certified", "upheld")),
        ("vested", "upheld", ("signed", "logged", "certified", "upheld", "vested")),
        ("refuted", "refuted", ("signed", "logged", "certified")),
        ("inconclusive", "inconclusive", ("signed", "logged", "certified")),
        ("batch", "unchecked", ("signed", "logged")),
    ],
)
def test_what_is_reported_is_what_is_proven(name: str, work: str, reached: tuple[str, ...]) -> None:
    found = verified(name, "logged")
    assert (found.work, found.reached) == (work, reached)
    assert found.size is not None
    assert found.size > 900
    assert found.time_unix_ms is not None
    assert found.time_unix_ms <= shown().now_unix_ms


def test_a_receipt_without_a_check_drawn_vests_unchecked() -> None:
    found = verified("undrawn vested", "vested", elsewhere())
    assert (found.work, "upheld" in found.reached) == ("unchecked", False)
    with pytest.raises(PolicyError):
        verified("undrawn vested", "upheld", elsewhere())


def test_what_the_client_did_not_accept_is_not_vested() -> None:
    """Its job is settled and its span's lot vested, for the receipts that were delivered."""
    found = verified("undelivered", "logged", elsewhere())
    assert isinstance(found.state, ReceiptState)
    assert (found.state.due, found.state.outcome, found.delivered) == (0, 0, False)
    assert "vested" not in found.reached
    with pytest.raises(PolicyError):
        verified("undelivered", "vested", elsewhere())


@pytest.mark.parametrize("require", REQUIREMENTS)
@pytest.mark.parametrize("name", ["hold open", "account", "key", "absent"])
def test_balances_are_certified_and_never_upheld_or_vested(name: str, require: str) -> None:
    if require in ("signed", "logged"):
        assert "certified" in verified(name, require).reached
    else:
        with pytest.raises(PolicyError):
            verified(name, require)


def test_the_certified_state_is_handed_on() -> None:
    opened, released = verified("hold open", "logged"), verified("hold released", "logged")
    assert isinstance(opened.state, HoldState)
    assert isinstance(released.state, HoldState)
    assert (opened.state.status, released.state.status) == (HoldStatus.OPEN, HoldStatus.RELEASED)
    account, key = verified("account", "logged").state, verified("key", "logged").state
    assert isinstance(account, AccountState)
    assert isinstance(key, KeyState)
    assert account.account == key.account
    absent = verified("absent", "logged")
    assert (absent.subject, absent.state, absent.record) == (Subject.ABSENT, None, None)


def test_an_unknown_requirement_is_refused() -> None:
    assert verified("upheld", "upheld")
    with pytest.raises(PolicyError):
        verified("upheld", "certified by my cousin")
