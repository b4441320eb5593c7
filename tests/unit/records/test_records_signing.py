"""What a signature covers: one ledger, one kind, one body. Source: specs/records.md §5."""

import hashlib
from itertools import pairwise

import pytest

from creditledger.errors import MalformedRecordError
from creditledger.records.entry import Submission
from creditledger.records.kinds import Kind
from creditledger.records.record import signing_prefix
from creditledger.records.registration import admission_bytes
from creditledger.records.round import Attestation, draw_seed, round_statement
from creditledger.records.transfer import Expire
from creditledger.records.verdict import canary_commitment, verdict_commitment
from creditledger.transparency.keys import Ed25519Signer
from record_strategies import RECORDS

LEDGERS = [hashlib.sha256(bytes([number])).digest() for number in range(3)] + [bytes(32), b"\xff" * 32]


def test_one_body_signs_differently_in_every_ledger_and_kind() -> None:
    """All distinct, none the beginning of another: a signature holds in one place only."""
    body = Expire(hold=bytes(32)).encode()
    signed = sorted(signing_prefix(kind, ledger) + body for kind in Kind for ledger in LEDGERS)
    assert len(signed) == len(Kind) * 5
    for earlier, later in pairwise(signed):  # in order, a prefix stands right before what it begins
        assert not later.startswith(earlier)


def test_no_prefix_begins_another_whatever_the_body() -> None:
    """Bodies cannot be chosen to make two kinds or ledgers sign the same bytes."""
    prefixes = sorted(signing_prefix(kind, ledger) for kind in Kind for ledger in LEDGERS)
    assert all(not later.startswith(earlier) for earlier, later in pairwise(prefixes))


def test_other_statements_begin_like_no_record() -> None:
    """What is signed or hashed beside records has a domain that is no kind's name."""
    names = {kind.name.lower().encode() for kind in Kind}
    assert not names & {b"admission", b"canary-commitment", b"seed", b"verdicts"}
    assert admission_bytes(b"a" * 32, bytes(32)) == (b"creditledger/v1/admission\0" + bytes(32) + b"a" * 32)
    assert draw_seed(b"s") == hashlib.sha256(b"creditledger/v1/seed\0s").digest()
    planted = canary_commitment(receipt=b"r" * 32, salt=b"s" * 32)
    opened = hashlib.sha256(b"creditledger/v1/canary-commitment\0" + b"s" * 32 + b"r" * 32)
    assert planted == opened.digest()
    commitment = verdict_commitment(member_key=b"k" * 48, root=b"r" * 32, salt=b"s" * 32)
    assert commitment == (
        hashlib.sha256(b"creditledger/v1/verdicts\0" + b"k" * 48 + b"s" * 32 + b"r" * 32).digest()
    )


def test_a_round_statement_is_no_attestation_record() -> None:
    """Both carry the kind's prefix; the statement's body is a pair and starts differently."""
    statement = round_statement(b"r" * 32, b"c" * 32, LEDGERS[0])
    record = Attestation(round=b"r" * 32, committee=b"c" * 32, member=0).signing_bytes(LEDGERS[0])
    prefix = signing_prefix(Kind.ATTESTATION, LEDGERS[0])
    assert statement == prefix + b"\x92\xc4\x20" + b"r" * 32 + b"\xc4\x20" + b"c" * 32
    assert record[len(prefix)] == 0x95


def test_signing_again_changes_no_id() -> None:
    """K2: a record's id is of what is signed, never of a signature: whoever signs, however often."""
    record = Expire(hold=bytes(32))
    signatures = {
        Ed25519Signer(bytes([number]) * 32).sign(record.signing_bytes(LEDGERS[0])) for number in range(9)
    }
    submissions = [Submission(record=record, signature=signature) for signature in signatures]
    assert len({submission.encode() for submission in submissions}) == 9
    assert {submission.record.digest(LEDGERS[0]) for submission in submissions} == {record.digest(LEDGERS[0])}


@pytest.mark.parametrize("length", [0, 31, 33, 64])
def test_a_ledger_id_of_another_length_is_refused(length: int) -> None:
    record = Expire(hold=bytes(32))
    assert len(record.digest(bytes(32))) == 32
    with pytest.raises(MalformedRecordError, match="ledger id"):
        record.digest(bytes(length))


def test_kind_numbers_are_fixed() -> None:
    """A number once given is never given again. Source: specs/records.md §4."""
    assert {kind.name: int(kind) for kind in Kind} == {
        "ENTRY": 1, "GENESIS": 2, "PARAMETERS": 3, "REGISTRATION": 4, "ROTATION": 5, "DELEGATION": 6,
        "BUDGET": 7, "CLOSING": 8, "LISTING": 9,
        "JOB": 16, "RECEIPT": 17, "BATCH": 18, "DELIVERY": 19, "HANDOVER": 20,
        "ROUND": 32, "ATTESTATION": 33, "CERTIFICATE": 34, "COMMIT": 35, "REVEAL": 36, "VERDICT": 37,
        "CANARY": 38, "CANARY_COMMIT": 39,
        "GRANT": 48, "TRANSFER": 49, "HOLD": 50, "CAPTURE": 51, "RELEASE": 52, "EXPIRE": 53, "REFUND": 54,
        "SLASH": 55, "LEVY": 56, "SETTLEMENT": 57, "CREDIT_LINE": 58,
        "DELEGATED_HOLD": 59, "CLAWBACK": 60, "LEVY_PAYEE": 61,
        "QUOTE": 64,
        "ACCOUNT_STATE": 80, "HOLD_STATE": 81, "KEY_STATE": 82, "RECEIPT_STATE": 83, "LOT_STATE": 84,
        "BUNDLE": 96,
        "VOTE": 112, "REVIEW": 113, "CLEARING": 114,
    }  # fmt: skip


def test_every_record_class_has_its_own_kind() -> None:
    assert len({record.KIND for record in RECORDS.values()}) == len(RECORDS)
