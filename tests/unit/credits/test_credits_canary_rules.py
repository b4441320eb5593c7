"""Canaries: committed to before the round, opened after the verdicts, never paid."""

from hashlib import sha256

import pytest

from creditledger.credits import reading
from creditledger.credits.account import check_invariant
from creditledger.credits.canary_rules import CanaryCounts
from creditledger.credits.standing import Conduct
from creditledger.errors import ConflictError, OpeningError, RefusedError, SignatureError, UnknownIdError
from creditledger.records.entry import Submission
from creditledger.records.verdict import Canary, CanaryCommit, Outcome, canary_commitment
from fakes.committee import fake_digest, validator
from fakes.pool import Pool

SALT = fake_digest("canary salt")


class Planted:
    """One delivered receipt, committed to as a canary before its round unless ``committed`` is false."""

    def __init__(self, *, committed: bool = True, **changes: object) -> None:
        self.pool = Pool(members=3, quorum=1, **{"rule_set": 3} | changes)
        self.pool.fund(self.pool.client, 100_000_000)
        self.job = self.pool.order(max_positions=100)
        chains = self.pool.work(self.job, 100)
        self.pool.deliver(chains)
        self.receipt = chains[0][0].digest(self.pool.ledger_id)
        if committed:
            self.pool.submit(self.commit())
        self.round = self.pool.run_round().number
        self.asked = list(reading.members_on_duty(self.pool.view, self.round))

    def commit(self, salt: bytes = SALT) -> Submission:
        return self.signed(CanaryCommit(commitment=canary_commitment(receipt=self.receipt, salt=salt)))

    def opening(self, **changes: object) -> Submission:
        canary = Canary(receipt=self.receipt, round=self.round, salt=SALT)
        return self.signed(canary.replace(**changes))  # type: ignore[arg-type]

    def signed(self, record: Canary | CanaryCommit) -> Submission:
        return self.pool.papers.signed(self.pool.papers.operator, record)

    def judge(self, *refuting: int) -> None:
        """Each member on duty speaks; those of ``refuting`` (by place) refute."""
        said = {
            member: self.pool.papers.verdicts(
                self.round,
                member,
                [self.receipt],
                outcomes={self.receipt: Outcome.REFUTED if place in refuting else Outcome.UPHELD},
            )
            for place, member in enumerate(self.asked)
        }
        for member, verdicts in said.items():
            self.pool.submit(self.pool.papers.commit(member, verdicts))
        for member, verdicts in said.items():
            self.pool.submit(self.pool.papers.reveal(member, verdicts))

    def conduct(self, place: int) -> Conduct:
        key = validator(self.asked[place], is_real=False).public_key
        return reading.validator_conduct(self.pool.view, key)


def test_a_canary_is_never_paid_and_names_who_upheld_it() -> None:
    """E14: both said yes; the opening says that it was wrong."""
    case = Planted()
    case.judge()
    case.pool.submit(case.opening())
    assert [case.conduct(place) for place in (0, 1)] == [Conduct(checks=1, canaries=1, canaries_missed=1)] * 2
    state = reading.receipt_state(case.pool.view, case.receipt)
    assert state is not None
    assert state.outcome == Outcome.REFUTED
    assert reading.canary_counts(case.pool.view) == CanaryCounts(committed=1, opened=1)
    account = reading.account_state(case.pool.view, case.pool.node.public_key)
    assert account is not None
    assert not account.suspended
    case.pool.settle(case.job)
    assert reading.account_state(case.pool.view, case.pool.node.public_key) == account
    check_invariant(case.pool.view)


def test_who_refuted_it_missed_nothing() -> None:
    case = Planted()
    case.judge(0, 1)
    case.pool.submit(case.opening())
    assert [case.conduct(place) for place in (0, 1)] == [Conduct(checks=1, canaries=1)] * 2


def test_a_canary_opens_what_was_committed_to_before_its_round() -> None:
    """Otherwise an operator could call a receipt a canary once it saw the verdicts."""
    late = Planted(committed=False)
    late.pool.submit(late.commit())
    late.judge()
    late.pool.refuse(late.opening(), OpeningError, "nothing before the round")
    case = Planted()
    case.judge()
    case.pool.refuse(case.opening(salt=fake_digest("another")), OpeningError, "nothing before the round")
    case.pool.submit(case.opening())


def test_a_canary_waits_for_all_verdicts_and_is_opened_before_it_is_paid() -> None:
    case = Planted()
    case.pool.refuse(case.opening(), RefusedError, "checks are due")
    case.judge()
    case.pool.refuse(case.opening(round=case.round + 1), RefusedError, "not of this round")
    case.pool.refuse(case.opening(receipt=bytes(32)), UnknownIdError, "no such receipt")
    paid = Planted()
    paid.judge()
    paid.pool.settle(paid.job)
    paid.pool.refuse(paid.opening(), RefusedError, "settled")
    case.pool.submit(case.opening())


def test_a_canary_is_committed_to_and_opened_once() -> None:
    case = Planted()
    case.pool.refuse(case.commit(), ConflictError, "logged before")
    second = Planted(committed=False)
    for tag in (b"one", b"two"):
        second.pool.submit(second.commit(salt=sha256(tag).digest()))
    case.judge()
    case.pool.submit(case.opening())
    case.pool.refuse(case.opening(), ConflictError, "logged before")


def test_one_receipt_is_one_canary_however_often_it_was_committed_to() -> None:
    case = Planted(committed=False)
    salts = [sha256(tag).digest() for tag in (b"one", b"two")]
    job = case.pool.order(tag="twice", max_positions=100)
    chains = case.pool.work(job, 100)
    case.pool.deliver(chains)
    case.receipt = chains[0][0].digest(case.pool.ledger_id)
    for salt in salts:
        case.pool.submit(case.commit(salt))
    case.round = case.pool.run_round().number
    case.asked = list(reading.members_on_duty(case.pool.view, case.round))
    case.judge(0, 1)
    case.pool.submit(case.opening(salt=salts[0]))
    case.pool.refuse(case.opening(salt=salts[1]), ConflictError, "opened as a canary")


def test_canaries_are_the_operators() -> None:
    case = Planted(committed=False)
    commit = case.commit()
    forged = case.pool.papers.signed(case.pool.node, commit.record)
    case.pool.refuse(forged, SignatureError)
    case.pool.submit(commit)
    opened = Planted()
    opened.judge()
    opened.pool.refuse(opened.pool.papers.signed(opened.pool.node, opened.opening().record), SignatureError)
    opened.pool.submit(opened.opening())


@pytest.mark.parametrize("rule_set", [1, 2])
def test_earlier_rule_sets_know_no_canaries(rule_set: int) -> None:
    case = Planted(committed=False, rule_set=rule_set)
    case.pool.refuse(case.commit(), RefusedError, "admits no canary_commit")
    case.judge()
    case.pool.refuse(case.opening(), RefusedError, "admits no canary")
