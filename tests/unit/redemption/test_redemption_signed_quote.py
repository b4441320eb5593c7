"""specs/redemption.md §2: a queue signs its quote, and whoever takes it checks that before anything else."""

import pytest

from creditledger.errors import ExpiredError, MalformedRecordError, SignatureError, UnknownIdError
from creditledger.ledger.ledger import Ledger
from creditledger.records import canonical
from creditledger.redemption.signed_quote import SignedQuote, decode_quote, sign_quote, verify_quote
from unit.redemption.redeeming_pool import CLIENT, OTHER_QUEUE, QUEUE, RedeemingPool


@pytest.fixture
def signed(pool: RedeemingPool) -> SignedQuote:
    return sign_quote(pool.quote(), QUEUE, pool.parameters()[1])


def verify(pool: RedeemingPool, quote: SignedQuote) -> None:
    with Ledger.open(pool.path, read_only=True) as ledger, ledger.read() as view:
        verify_quote(quote, view, ledger.id)


def test_decoding_undoes_encoding_signed_or_not(pool: RedeemingPool, signed: SignedQuote) -> None:
    assert decode_quote(signed.encode()) == signed
    assert decode_quote(signed.quote.encode()) == signed.quote


def test_the_queues_signature_is_taken(pool: RedeemingPool, signed: SignedQuote) -> None:
    verify(pool, signed)
    held = pool.wallet().hold(signed)
    assert held.hold.amount_micro == signed.quote.amount_micro


def test_nobody_elses_signature_is(pool: RedeemingPool, signed: SignedQuote) -> None:
    for signer in (CLIENT, OTHER_QUEUE):
        forged = sign_quote(signed.quote, signer, pool.parameters()[1])
        with pytest.raises(SignatureError):
            verify(pool, forged)
        with pytest.raises(SignatureError):
            pool.wallet().hold(forged)


def test_a_signature_is_for_one_quote_and_one_ledger(pool: RedeemingPool, signed: SignedQuote) -> None:
    cheaper = signed.quote.replace(amount_micro=1)
    for other in (signed.replace(quote=cheaper), sign_quote(signed.quote, QUEUE, bytes(32))):
        with pytest.raises(SignatureError):
            pool.wallet().hold(other)


def test_a_queue_cannot_sign_away_the_price_or_the_time(pool: RedeemingPool) -> None:
    """The settling path's price is the parameters', whoever signed another."""
    ledger_id = pool.parameters()[1]
    cheaper = pool.quote().replace(amount_micro=1)
    old = pool.quote().replace(expires_unix_ms=pool.clock())
    for quote in (cheaper, old):
        with pytest.raises(ExpiredError):
            pool.wallet().hold(sign_quote(quote, QUEUE, ledger_id))


def test_a_quote_of_no_queue_is_nobodys(pool: RedeemingPool, signed: SignedQuote) -> None:
    with pytest.raises(UnknownIdError):
        verify(pool, signed.replace(quote=signed.quote.replace(queue=b"\7" * 32)))


def test_a_repeat_needs_no_second_look(pool: RedeemingPool, signed: SignedQuote) -> None:
    """Neither at the expiry nor at a key that has changed since: the hold is logged."""
    first = pool.wallet().hold(signed, id=b"\x77" * 16)
    again = pool.wallet().hold(signed.replace(signature=bytes(64)), id=b"\x77" * 16)
    assert (again.digest, again.acknowledgement.repeated) == (first.digest, True)


@pytest.mark.parametrize("change", ["version", "short", "longer", "tag", "list"])
def test_other_bytes_are_no_quote(signed: SignedQuote, change: str) -> None:
    values = canonical.decode(signed.encode())
    assert isinstance(values, list)
    wrong = {
        "version": [values[0], 2, *values[2:]],
        "short": [*values[:3], bytes(63)],
        "longer": [*values, 1],
        "tag": [b"cl/job", *values[1:]],
        "list": [],
    }[change]
    with pytest.raises(MalformedRecordError):
        decode_quote(canonical.encode(wrong))
