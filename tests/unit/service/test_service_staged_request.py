"""What front ends and sequencer tell each other is read as it was written."""

import pytest

from creditledger import errors
from creditledger.errors import CreditLedgerError, InsufficientCreditError, MalformedRecordError
from creditledger.ledger.writer import Acknowledgement
from creditledger.service.pool.keeping import Keeping
from creditledger.service.pool.kept_answers import KeyedRequest
from creditledger.service.pool.staged_request import StagedRequest, decode_outcomes, encode_outcomes
from creditledger.service.pool.tellings import tell_one, tell_records
from ledger_pools import FixedClock, registration, signer

LEDGER = bytes(32)
CLOCK = FixedClock()
ERROR = InsufficientCreditError("too little", expected="5", found="\u00fc")


def same(one: object, other: object) -> bool:
    if isinstance(one, CreditLedgerError) and isinstance(other, CreditLedgerError):
        return (type(one), str(one), one.expected, one.found) == (
            type(other), str(other), other.expected, other.found,
        )  # fmt: skip
    return one == other


@pytest.mark.parametrize("telling", [tell_records, tell_one])
def test_a_request_is_read_as_it_was_staged(telling: object) -> None:
    submissions = (registration(LEDGER, "a"), registration(LEDGER, "b"))
    keeping = Keeping(
        request=KeyedRequest(place=b"p" * 32, digest=b"d" * 32),
        telling=telling,  # type: ignore[arg-type]
        asked=[submissions[0], ERROR, submissions[1]],
        ledger_id=LEDGER,
        clock=CLOCK,
    )
    staged = StagedRequest(submissions=submissions, keys=(signer("a").public_key, b""), keeping=keeping)
    found = StagedRequest.decode(staged.encode(), ledger_id=LEDGER, clock=CLOCK)
    assert (found.submissions, found.keys) == (staged.submissions, staged.keys)
    assert found.keeping is not None
    assert (found.keeping.request, found.keeping.telling) == (keeping.request, keeping.telling)
    assert all(map(same, found.keeping.asked, keeping.asked))


def test_a_request_without_a_key_keeps_nothing() -> None:
    staged = StagedRequest(submissions=(registration(LEDGER, "a"),), keys=(b"",))
    assert StagedRequest.decode(staged.encode(), ledger_id=LEDGER, clock=CLOCK) == staged


@pytest.mark.parametrize("content", [b"", b"\x00", b"\x90", b"\x92\x01\x02", b"\x92\x91\x91\x01\x90"])
def test_other_bytes_are_refused(content: bytes) -> None:
    with pytest.raises(MalformedRecordError):
        StagedRequest.decode(content, ledger_id=LEDGER, clock=CLOCK)


def test_outcomes_are_read_as_they_were_written() -> None:
    """Of every kind of error, by its name."""
    kinds = [
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, CreditLedgerError) and kind is not errors.ForkError
    ]
    outcomes = [
        Acknowledgement(index=7, leaf_hash=b"l" * 32, repeated=True),
        *(kind("why", expected="this", found="that") for kind in kinds),
    ]
    assert len(kinds) > 20
    assert all(map(same, decode_outcomes(encode_outcomes(outcomes)), outcomes))
