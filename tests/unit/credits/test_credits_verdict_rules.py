"""Commits and reveals: each refusal beside the nearest acceptance."""

from dataclasses import replace

import pytest

from creditledger.credits import reading
from creditledger.credits.verdicts import with_verdict
from creditledger.errors import (
    ConflictError,
    OpeningError,
    RefusedError,
    SignatureError,
    UnknownIdError,
)
from creditledger.records.job import Job
from creditledger.records.state import ReceiptState
from creditledger.records.verdict import Outcome, Reason, Verdict
from fakes.committee import fake_digest, validator
from fakes.pool import Pool


class Checked:
    """A pool with one certified round of work, and each member's right verdicts."""

    def __init__(self, members: int = 2, **changes: object) -> None:
        self.pool = Pool(members=members, **changes)
        self.pool.fund(self.pool.client, 10_000_000)
        self.job: Job = self.pool.order()
        self.digests = [r.digest(self.pool.ledger_id) for r in self.pool.work(self.job, 600)[0]]
        self.round = self.pool.run_round().number
        self.verdicts = {member: self.of(member) for member in range(members)}

    def of(self, member: int, **changes: object) -> list[Verdict]:
        due = reading.duties_of(self.pool.view, member, self.round)
        return self.pool.papers.verdicts(self.round, member, due, **changes)  # type: ignore[arg-type]

    def commit(self, member: int) -> None:
        self.pool.submit(self.pool.papers.commit(member, self.verdicts[member]))


def test_a_member_commits_once_for_what_is_due() -> None:
    case = Checked()
    pool, good = case.pool, case.pool.papers.commit(0, case.verdicts[0])
    pool.refuse(replace(good, record=good.record.replace(member=1)), SignatureError)
    pool.refuse(replace(good, record=good.record.replace(member=2)), UnknownIdError)
    pool.refuse(replace(good, record=good.record.replace(round=99)), UnknownIdError)
    few = pool.papers.commit(0, case.verdicts[0][:2])
    pool.refuse(few, RefusedError, "not those due")
    pool.submit(good)
    pool.refuse(pool.papers.commit(0, case.of(0, step_micro=5)), ConflictError)


def test_a_member_without_duties_has_nothing_to_commit_to() -> None:
    case = Checked()
    case.pool.run_round()
    later = [verdict.replace(round=case.round + 1) for verdict in case.verdicts[0]]
    case.pool.refuse(case.pool.papers.commit(0, later), RefusedError, "nothing was drawn")
    case.commit(0)


def test_commits_wait_for_the_certificate() -> None:
    case = Checked()
    case.pool.close_round()
    verdicts = [verdict.replace(round=case.round + 1) for verdict in case.verdicts[0]]
    case.pool.refuse(case.pool.papers.commit(0, verdicts), UnknownIdError, "certified")


def test_reveals_wait_for_all_commits_or_the_grace() -> None:
    case = Checked()
    pool, reveal = case.pool, case.pool.papers.reveal(0, case.verdicts[0])
    pool.refuse(reveal, RefusedError, "follow a commit")
    case.commit(0)
    pool.refuse(reveal, RefusedError, "not all have committed")
    case.commit(1)
    pool.submit(reveal)
    assert reading.member_duty(pool.view, 0, case.round).reveal_index == len(pool.entries) - 1


def test_after_the_grace_a_reveal_need_not_wait_and_shuts_out_late_commits() -> None:
    case = Checked()
    case.commit(0)
    case.pool.now += case.pool.parameters.grace_ms - 1
    reveal = case.pool.papers.reveal(0, case.verdicts[0])
    case.pool.refuse(reveal, RefusedError)
    case.pool.now += 1
    case.pool.submit(reveal)
    case.pool.refuse(case.pool.papers.commit(1, case.verdicts[1]), RefusedError, "revealed")


def test_a_reveal_opens_what_was_committed() -> None:
    case = Checked(members=1)
    pool, other = case.pool, case.of(0, outcomes={case.digests[0]: Outcome.REFUTED})
    case.commit(0)
    pool.refuse(pool.papers.reveal(0, other), OpeningError, "open the commit")
    good = pool.papers.reveal(0, case.verdicts[0])
    swapped = replace(good, bodies=tuple(verdict.encode() for verdict in other))
    pool.refuse(swapped, OpeningError, "bodies")
    pool.refuse(replace(good, bodies=good.bodies[:2]), OpeningError, "bodies")
    salted = good.record.replace(salt=fake_digest("other salt"))
    pool.refuse(pool.papers.signed(validator(0, is_real=False), salted, *good.bodies), OpeningError)
    pool.submit(good)


@pytest.mark.parametrize("wrong", ["foreign", "twice", "round", "member", "order"])
def test_verdicts_are_for_exactly_the_due_receipts(wrong: str) -> None:
    """What was committed wrongly cannot be revealed at all."""
    case = Checked(members=1)
    right = case.verdicts[0]
    verdicts = {
        "foreign": [right[0].replace(receipt=bytes(32)), *right[1:]],
        "twice": [right[0], right[0], right[2]],
        "round": [right[0], right[1].replace(round=case.round + 1), right[2]],
        "member": [right[0], right[1].replace(member=1), right[2]],
        "order": [right[1], right[0], right[2]],
    }[wrong]
    case.pool.submit(case.pool.papers.commit(0, verdicts))
    case.pool.refuse(case.pool.papers.reveal(0, verdicts), RefusedError)


def test_verdicts_count_for_receipt_and_node() -> None:
    case = Checked()
    pool, refuted, unsure = case.pool, case.digests[0], case.digests[1]
    case.verdicts[0] = case.of(0, outcomes={unsure: Outcome.INCONCLUSIVE}, step_micro=1_000_000)
    case.verdicts[1] = case.of(1, outcomes={refuted: Outcome.REFUTED}, step_micro=-500_000)
    for member in (0, 1):
        case.commit(member)
    for member in (0, 1):
        pool.submit(pool.papers.reveal(member, case.verdicts[member]))
    outcomes = [reading.receipt_state(pool.view, digest).outcome for digest in case.digests]
    assert outcomes == [Outcome.REFUTED, Outcome.INCONCLUSIVE, Outcome.UPHELD]
    standing = reading.node_standing(pool.view, pool.node.public_key)
    assert (standing.checks, standing.upheld, standing.refuted, standing.inconclusive) == (6, 4, 1, 1)
    assert standing.cusum_micro == 3_000_000 - 1_500_000
    assert reading.account_state(pool.view, pool.node.public_key).suspended == 0


@pytest.mark.parametrize(("refuting", "suspended"), [(1, 0), (2, 1)])
def test_two_refutals_of_one_receipt_suspend_its_node(refuting: int, suspended: int) -> None:
    case = Checked()
    for member in range(2):
        guilty = case.digests[0] if member < refuting else case.digests[1]
        outcomes = {guilty: Outcome.REFUTED} if member < refuting else {}
        case.verdicts[member] = case.of(member, outcomes=outcomes)
        case.commit(member)
    for member in range(2):
        case.pool.submit(case.pool.papers.reveal(member, case.verdicts[member]))
    assert reading.account_state(case.pool.view, case.pool.node.public_key).suspended == suspended


def test_two_refutals_of_different_receipts_do_not_suspend() -> None:
    case = Checked()
    for member in range(2):
        case.verdicts[member] = case.of(member, outcomes={case.digests[member]: Outcome.REFUTED})
        case.commit(member)
    for member in range(2):
        case.pool.submit(case.pool.papers.reveal(member, case.verdicts[member]))
    assert reading.account_state(case.pool.view, case.pool.node.public_key).suspended == 0


def test_an_alarm_raises_the_nodes_rate_to_one() -> None:
    """Three steps of six pass ln(10^7); two do not."""
    case = Checked(members=1, probation_micro=0, check_floor_ppm=999_999)
    pool, node = case.pool, case.pool.node.public_key
    assert len(case.verdicts[0]) == 3
    assert reading.check_rate_ppm(pool.view, node) == 999_999
    pool.check_round(case.round, step_micro=6_000_000)
    assert reading.node_standing(pool.view, node).alarmed == 1
    assert reading.check_rate_ppm(pool.view, node) == 10**6


def receipt(due: int) -> ReceiptState:
    return ReceiptState(
        receipt=bytes(32), job=bytes(32), node=bytes(32), layer_start=0, positions=1, batch_index=1,
        round=1, due=due, upheld=0, refuted=0, inconclusive=0, outcome=0, settled=0,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("outcomes", "expected"),
    [
        ([Outcome.UPHELD], Outcome.UNCHECKED),
        ([Outcome.UPHELD, Outcome.UPHELD], Outcome.UPHELD),
        ([Outcome.UPHELD, Outcome.INCONCLUSIVE], Outcome.INCONCLUSIVE),
        ([Outcome.REFUTED, Outcome.INCONCLUSIVE], Outcome.REFUTED),
        ([Outcome.REFUTED], Outcome.REFUTED),
    ],
)
def test_the_worst_verdict_is_the_outcome(outcomes: list[Outcome], expected: Outcome) -> None:
    state = receipt(due=2)
    for outcome in outcomes:
        verdict = Verdict(
            round=1, member=0, receipt=bytes(32), outcome=outcome, reason=Reason.MATCH,
            cusum_step_biased=0, evidence=bytes(32),
        )  # fmt: skip
        state = with_verdict(state, verdict)
    assert state.outcome == expected
