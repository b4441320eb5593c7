"""specs/ledger.md §5: an id that failed for a reason that may pass stays failed."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from creditledger.errors import (
    ConflictError,
    CreditLedgerError,
    FailedIdError,
    InsufficientCreditError,
    LimitError,
    SignatureError,
    UnknownIdError,
)
from creditledger.ledger import failed_ids
from creditledger.ledger.fsck import fsck
from creditledger.ledger.ledger import Ledger
from creditledger.records.entry import Submission
from fakes.cast import ed25519, fake_id
from fakes.shown_pool import ShownPool

GRANTED = 10**9


@pytest.fixture
def pool(memory_path: Path) -> Iterator[ShownPool]:
    found = ShownPool(memory_path / "ledger", rule_set=4, vesting_ms=0)
    yield found
    found.ledger.close()


def refusal(pool: ShownPool, submission: Submission) -> CreditLedgerError:
    with pytest.raises(CreditLedgerError) as caught:
        pool.ledger.append(submission)
    return caught.value


def pay(pool: ShownPool, amount: int, *, tag: object = 0) -> Submission:
    made = pool.papers.transfer(pool.client, pool.node.public_key, amount)
    return pool.papers.signed(pool.client, made.record.replace(id=fake_id("pay", tag)))


def reopen(pool: ShownPool) -> None:
    path = pool.ledger.path
    pool.ledger.close()
    pool.ledger = Ledger.open(
        path, operator=ed25519("operator"), witness=ed25519("witness"), clock=pool.clock
    )


def test_an_id_that_lacked_credit_is_never_taken_again(pool: ShownPool) -> None:
    """Not with the credit there, not with other content, not after a restart; a new id is."""
    assert type(refusal(pool, pay(pool, GRANTED + 1))) is InsufficientCreditError
    pool.ledger.append(pool.papers.grant(pool.client.public_key, 5))
    pool.certify()
    for _ in range(2):
        for amount in (GRANTED + 1, 1):
            error = refusal(pool, pay(pool, amount))
            assert (type(error), error.found) == (FailedIdError, "InsufficientCreditError")
        reopen(pool)
    assert fsck(pool.ledger.path).ok
    pool.ledger.append(pay(pool, GRANTED + 1, tag="new"))


def test_another_signer_may_use_the_same_id(pool: ShownPool) -> None:
    refusal(pool, pay(pool, GRANTED + 1))
    pool.ledger.append(pay(pool, 10, tag="funds"))
    other = pool.papers.transfer(pool.node, pool.client.public_key, 1)
    pool.ledger.append(pool.papers.signed(pool.node, other.record.replace(id=fake_id("pay", 0))))


def test_a_used_up_budget_fails_the_id_too(pool: ShownPool) -> None:
    pool.ledger.append(pool.papers.budget(pool.client, 10))
    assert type(refusal(pool, pay(pool, 11))) is LimitError
    pool.ledger.append(pool.papers.budget(pool.client, 100))
    assert refusal(pool, pay(pool, 11)).found == "LimitError"
    pool.ledger.append(pay(pool, 11, tag=1))


def test_only_what_its_signer_signed_fails_an_id(pool: ShownPool) -> None:
    """Or anybody could spoil ids that others have not used yet."""
    good = pay(pool, GRANTED + 1)
    forged = replace(good, signature=pool.node.sign(b"other"))
    assert type(refusal(pool, forged)) is SignatureError
    pool.ledger.append(pay(pool, GRANTED))


@pytest.mark.parametrize("error", [UnknownIdError, ConflictError])
def test_what_would_fail_again_is_not_kept(pool: ShownPool, error: type[CreditLedgerError]) -> None:
    known = pay(pool, 1)
    if error is ConflictError:
        pool.ledger.append(known)
    nobody = pool.papers.signed(pool.client, known.record.replace(payee=ed25519("nobody").public_key))
    assert type(refusal(pool, nobody)) is error
    assert pool.ledger.append(known).repeated is (error is ConflictError)


def test_of_each_signer_the_newest_are_kept(pool: ShownPool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failed_ids, "KEPT_MAX", 3)
    for tag in range(5):
        refusal(pool, pay(pool, GRANTED + 1, tag=tag))
    with pool.ledger._store.read() as view:
        rows = list(view.scan(failed_ids.FAILED))
    assert len(rows) == 3 + 3 + 1
    assert type(refusal(pool, pay(pool, 1, tag=2))) is FailedIdError
    pool.ledger.append(pay(pool, 1, tag=1))


def test_a_group_that_fails_and_repeats_an_id_answers_both(pool: ShownPool) -> None:
    """One durable commit: the second of a group sees what became of the first."""
    answers = pool.ledger.submit([pay(pool, GRANTED + 1), pay(pool, 1), pay(pool, 1, tag=1)])
    assert [type(answer).__name__ for answer in answers] == [
        "InsufficientCreditError",
        "FailedIdError",
        "Acknowledgement",
    ]


def test_a_failed_id_is_no_part_of_the_state(pool: ShownPool) -> None:
    with pool.ledger.read() as view:
        before = dict(view.scan(b""))
    refusal(pool, pay(pool, GRANTED + 1))
    with pool.ledger.read() as view:
        assert dict(view.scan(b"")) == before
