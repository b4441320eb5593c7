"""A silent validator delays a settlement and never prevents it: its checks pass on, or lapse."""

from dataclasses import replace

import pytest

from creditledger.credits import reading, tariff
from creditledger.credits.account import check_invariant
from creditledger.credits.docket import open_rounds
from creditledger.credits.duty import draw_hash
from creditledger.credits.fold import attestations_of, due_settlements, propose_settlement
from creditledger.credits.state import State
from creditledger.errors import BusyError, RefusedError
from creditledger.records.job import Job
from creditledger.records.round import draw_seed
from creditledger.records.state import HoldStatus, ReceiptState
from creditledger.records.transfer import Settlement
from creditledger.records.verdict import Outcome, Reason, Verdict
from fakes.cast import MODEL
from fakes.committee import validator
from fakes.pool import Pool

FUNDS = 10_000_000
BOUND = 5_000_000


class Work:
    """One delivered job and the certified round that drew its checks."""

    def __init__(self, members: int, positions: int = 600, **changes: object) -> None:
        self.pool = Pool(members=members, **changes)
        self.pool.fund(self.pool.client, FUNDS)
        self.job: Job = self.pool.order(max_price_micro=BOUND, max_positions=positions)
        chains = self.pool.work(self.job, positions)
        self.pool.deliver(chains)
        self.digests = [receipt.digest(self.pool.ledger_id) for receipt in chains[0]]
        self.price = tariff.span_price(MODEL, tariff.span_flops(MODEL, 4, 0, positions))
        self.round = self.pool.run_round().number

    def due(self, member: int, number: int | None = None) -> list[bytes]:
        """What a member must check for a round, this work's if none is named."""
        return reading.duties_of(self.pool.view, member, number or self.round)

    def verdicts(self, member: int, number: int | None = None, **changes: object) -> list[Verdict]:
        due = self.due(member, number)
        return self.pool.papers.verdicts(number or self.round, member, due, **changes)  # type: ignore[arg-type]

    def check(self, *members: int, number: int | None = None, **changes: object) -> None:
        """These members commit, let the grace pass, and reveal."""
        number = number or self.round
        papers, found = self.pool.papers, {m: self.verdicts(m, number, **changes) for m in members}
        for member, verdicts in found.items():
            self.pool.submit(papers.commit(member, verdicts))
        self.pool.now = max(self.pool.now, self.deadline(number) - self.pool.parameters.grace_ms)
        for member, verdicts in found.items():
            self.pool.submit(papers.reveal(member, verdicts))

    def deadline(self, number: int | None = None) -> int:
        info = reading.round_numbered(self.pool.view, number or self.round)
        assert info is not None
        return info.certified_unix_ms + 2 * self.pool.parameters.grace_ms

    def pass_on(self, number: int | None = None) -> int:
        """Certify a round at the deadline of one; its number."""
        self.pool.now = self.deadline(number)
        return self.pool.run_round().number

    def states(self) -> list[ReceiptState]:
        found = [reading.receipt_state(self.pool.view, digest) for digest in self.digests]
        return [state for state in found if state is not None]

    def missed(self, index: int) -> int:
        key = validator(index, is_real=False).public_key
        return reading.validator_missed(self.pool.view, key)

    def propose(self) -> Settlement:
        digest, ledger_id = self.job.digest(self.pool.ledger_id), self.pool.ledger_id
        return propose_settlement(self.pool.view, digest, ledger_id, now_unix_ms=self.pool.now)

    def settle(self) -> None:
        assert due_settlements(self.pool.view, self.pool.now) == [self.job.digest(self.pool.ledger_id)]
        self.pool.settle(self.job)
        check_invariant(self.pool.view)

    def hold_status(self) -> int:
        progress = reading.job_status(self.pool.view, self.job.digest(self.pool.ledger_id))
        assert progress is not None
        hold = reading.hold_state(self.pool.view, progress.hold)
        assert hold is not None
        return hold.status

    def open_rounds(self) -> list[int]:
        return list(open_rounds(State(self.pool.view)))


def test_a_silent_members_checks_pass_to_the_third_and_the_job_is_paid() -> None:
    """What was due of the silent one is due of whoever was not asked before, in the later round."""
    work = Work(members=3)
    silent = work.due(0)
    left = {digest: {1, 2} - {m for m in (1, 2) if digest in work.due(m)} for digest in silent}
    assert silent
    work.check(1, 2)
    with pytest.raises(BusyError, match="checks are due"):
        work.propose()
    later = work.pass_on()
    for member in (1, 2):
        assert work.due(member, later) == [digest for digest in silent if left[digest] == {member}]
    assert work.due(0, later) == []
    assert [state.due for state in work.states()] == [2] * 3
    assert all(state.round == work.round for state in work.states())
    with pytest.raises(BusyError, match="checks are due"):
        work.propose()
    work.check(*reading.members_on_duty(work.pool.view, later), number=later)
    assert [(state.upheld, state.outcome) for state in work.states()] == [(2, Outcome.UPHELD)] * 3
    work.settle()
    assert work.hold_status() == HoldStatus.SETTLED
    node = reading.account_state(work.pool.view, work.pool.node.public_key)
    assert node is not None
    assert node.unvested_micro == work.price - work.price // 100


def test_where_nobody_is_left_the_others_verdict_decides() -> None:
    work = Work(members=2)
    refuted = work.digests[1]
    work.check(0, outcomes={refuted: Outcome.REFUTED})
    assert [state.outcome for state in work.states()] == [
        Outcome.UNCHECKED,
        Outcome.REFUTED,
        Outcome.UNCHECKED,
    ]
    work.pass_on()
    assert [(state.due, state.outcome) for state in work.states()] == [
        (1, Outcome.UPHELD),
        (1, Outcome.REFUTED),
        (1, Outcome.UPHELD),
    ]
    (payment,) = work.propose().payments
    assert payment.positions == 256 + 88
    work.settle()
    assert work.open_rounds() == []


def test_where_all_are_silent_nothing_is_paid_and_the_client_is_refunded() -> None:
    work = Work(members=2)
    work.pass_on()
    assert [(state.due, state.outcome) for state in work.states()] == [(0, Outcome.INCONCLUSIVE)] * 3
    settlement = work.propose()
    assert (settlement.payments, settlement.burned_micro) == ((), 0)
    assert settlement.released_micro == BOUND
    work.settle()
    client = reading.account_state(work.pool.view, work.pool.client.public_key)
    assert client is not None
    assert (client.available_micro, client.held_micro) == (FUNDS, 0)
    assert work.hold_status() == HoldStatus.SETTLED
    standing = reading.node_standing(work.pool.view, work.pool.node.public_key)
    assert (standing.checks, standing.inconclusive, standing.cusum_micro) == (0, 0, 0)


def test_a_lone_no_data_after_a_lapse_burns_as_any_lone_word_does() -> None:
    """Every validator that looked found nothing; the one that never looked has no say."""
    work = Work(members=2)
    gone = dict.fromkeys(work.digests, Outcome.INCONCLUSIVE)
    work.check(0, outcomes=gone, reason=Reason.NO_DATA)
    work.pass_on()
    settlement = work.propose()
    assert (settlement.payments, settlement.burned_micro) == ((), work.price)
    work.settle()


def test_nothing_passes_before_the_deadline() -> None:
    """The last moment is the round's certificate plus two graces, exclusive."""
    work = Work(members=3)
    before = {member: work.due(member) for member in range(3)}
    work.pool.now = work.deadline() - 1
    assert not reading.has_overdue_checks(work.pool.view, work.pool.now)
    early = work.pool.run_round().number
    assert reading.members_on_duty(work.pool.view, early) == {}
    assert {member: work.due(member) for member in range(3)} == before
    assert not any(duty.missed for duty in reading.members_on_duty(work.pool.view, work.round).values())
    assert [work.missed(member) for member in range(3)] == [0, 0, 0]
    assert work.open_rounds() == [work.round]
    work.check(0, 1, 2)
    assert [state.outcome for state in work.states()] == [Outcome.UPHELD] * 3
    assert work.open_rounds() == []


def test_what_passes_on_is_due_beside_the_later_rounds_own_checks() -> None:
    """One commit and one reveal for both, ascending by digest."""
    work = Work(members=3)
    pool = work.pool
    work.check(1, 2)
    other = pool.order(tag="other", max_positions=600)
    (chain,) = pool.work(other, 600)
    own = {receipt.digest(pool.ledger_id) for receipt in chain}
    later = work.pass_on()
    passed = set(work.due(1, later) + work.due(2, later)) - own
    assert passed == set(work.due(0))
    for member, duty in reading.members_on_duty(pool.view, later).items():
        assert duty.due == len(work.due(member, later))
    pool.check_round(later)
    assert [state.outcome for state in work.states()] == [Outcome.UPHELD] * 3
    work.settle()


def test_a_late_round_alone_passes_nothing_on() -> None:
    """Its certificate's time counts, and until then the duty can still be done."""
    work = Work(members=2)
    work.pool.now = work.deadline() - 1
    record = work.pool.close_round()
    work.pool.now += 5_000
    assert reading.has_overdue_checks(work.pool.view, work.pool.now)
    work.pool.submit(work.pool.papers.commit(0, work.verdicts(0)))
    work.pool.submit(work.pool.papers.reveal(0, work.verdicts(0)))
    work.pool.attest(record)
    work.pool.certify(record)
    assert [work.missed(member) for member in range(2)] == [0, 3]


@pytest.mark.parametrize("has_committed", [False, True])
def test_what_passed_on_is_accepted_no_more(has_committed: bool) -> None:
    """Neither the commit nor, after one, the reveal; in the round it passed to the duty is done."""
    work = Work(members=3)
    late, reveal = work.pool.papers.commit(0, work.verdicts(0)), work.pool.papers.reveal(0, work.verdicts(0))
    if has_committed:
        work.pool.submit(late)
    later = work.pass_on()
    duty = reading.member_duty(work.pool.view, 0, work.round)
    assert duty is not None
    assert (duty.missed, duty.committed, duty.reveal_index) == (1, has_committed, 0)
    other = work.pool.papers.commit(0, work.verdicts(0, step_micro=5))
    work.pool.refuse(other, RefusedError, "passed on")
    work.pool.refuse(reveal, RefusedError, "passed on")
    work.check(*reading.members_on_duty(work.pool.view, later), number=later)


def test_every_missed_check_counts_against_the_validator() -> None:
    work = Work(members=3)
    own = [len(work.due(member)) for member in range(3)]
    work.check(1)
    later = work.pass_on()
    assert [work.missed(member) for member in range(3)] == [own[0], 0, own[2]]
    passed = {m: duty.due for m, duty in reading.members_on_duty(work.pool.view, later).items()}
    assert set(passed) == {1}
    work.pass_on(later)
    assert [work.missed(member) for member in range(3)] == [own[0], passed[1], own[2]]


def test_where_the_substitute_is_silent_too_the_check_passes_on_again() -> None:
    """Nobody is asked twice for one receipt, and the fourth's verdict is what the job waits for."""
    work = Work(members=4, positions=256)
    (digest,) = work.digests
    drawn = [member for member in range(4) if work.due(member)]
    work.check(drawn[0])
    second = work.pass_on()
    (substitute,) = reading.members_on_duty(work.pool.view, second)
    third = work.pass_on(second)
    (last,) = reading.members_on_duty(work.pool.view, third)
    assert {*drawn, substitute, last} == {0, 1, 2, 3}
    asked = [(work.round, drawn[0]), (work.round, drawn[1]), (second, substitute), (third, last)]
    assert reading.checks_of(work.pool.view, digest) == asked
    assert work.open_rounds() == [third]
    work.check(last, number=third)
    assert [(state.due, state.upheld, state.outcome) for state in work.states()] == [(2, 2, Outcome.UPHELD)]
    work.settle()


def test_where_the_last_substitute_is_silent_the_check_lapses() -> None:
    work = Work(members=3, positions=256)
    drawn = [member for member in range(3) if work.due(member)]
    work.check(drawn[1])
    second = work.pass_on()
    third = work.pass_on(second)
    assert reading.members_on_duty(work.pool.view, third) == {}
    assert [(state.due, state.outcome) for state in work.states()] == [(1, Outcome.UPHELD)]
    work.settle()
    assert work.open_rounds() == []


def ranked(pool: Pool, number: int, receipt: bytes) -> list[int]:
    """All signers of a round by hash, as anybody can compute it from the log."""
    seeds = {m: draw_seed(signature) for m, signature in attestations_of(pool.view, number).items()}
    return sorted(seeds, key=lambda member: draw_hash(seeds[member], receipt))


def test_a_receipt_drawn_once_at_a_low_rate_passes_to_the_next_by_hash() -> None:
    work = Work(members=4, positions=256 * 16, probation_micro=0, check_floor_ppm=400_000)
    on_duty = reading.members_on_duty(work.pool.view, work.round)
    silent = min(on_duty, key=lambda member: on_duty[member].due)
    once = [d for d, state in zip(work.digests, work.states(), strict=True) if state.due == 1]
    lone = [digest for digest in once if digest in work.due(silent)]
    assert lone
    work.check(*(member for member in on_duty if member != silent))
    later = work.pass_on()
    for digest in lone:
        chosen = next(m for m in ranked(work.pool, work.round, digest) if m != silent)
        assert digest in work.due(chosen, later)
    passed = sum(duty.due for duty in reading.members_on_duty(work.pool.view, later).values())
    assert passed == len(work.due(silent))
    work.check(*reading.members_on_duty(work.pool.view, later), number=later)
    work.settle()


def test_two_silent_members_checks_go_to_two_others() -> None:
    """One that is itself missing from the round gets nothing of it, nor one member the same check twice."""
    work = Work(members=5, positions=256)
    drawn = [member for member in range(5) if work.due(member)]
    later = work.pass_on()
    expected = [m for m in ranked(work.pool, work.round, work.digests[0]) if m not in drawn][:2]
    assert sorted(reading.members_on_duty(work.pool.view, later)) == sorted(expected)


def test_a_member_missing_from_the_round_gets_nothing_of_it() -> None:
    """Though it was not drawn for this receipt: at this rate each was drawn for others only."""
    work = Work(members=2, positions=256 * 12, probation_micro=0, check_floor_ppm=500_000)
    lone = [d for d, state in zip(work.digests, work.states(), strict=True) if state.due == 1]
    assert work.due(0)
    assert work.due(1)
    assert lone
    later = work.pass_on()
    assert reading.members_on_duty(work.pool.view, later) == {}
    outcomes = {state.outcome for state in work.states() if state.receipt in lone}
    assert outcomes == {Outcome.INCONCLUSIVE}
    undrawn = sum(state.positions for state in work.states() if state.outcome == Outcome.UNCHECKED)
    assert [payment.positions for payment in work.propose().payments] == [undrawn]
    work.settle()


def test_only_signers_of_the_round_step_in() -> None:
    """The third was on the committee and did not sign."""
    work = Work(members=3, quorum=2)
    job = work.pool.order(tag="second", max_positions=256)
    digest = work.pool.work(job, 256)[0][0].digest(work.pool.ledger_id)
    record = work.pool.close_round()
    work.pool.attest(record, 0, 1, 2)
    signatures = attestations_of(work.pool.view, record.number)
    signers = {member: signatures[member] for member in (0, 1)}
    work.pool.submit(work.pool.papers.certificate(record, work.pool.parameters, signers))
    work.pass_on(record.number)
    assert reading.checks_of(work.pool.view, digest) == [(record.number, 0), (record.number, 1)]
    state = reading.receipt_state(work.pool.view, digest)
    assert state is not None
    assert (state.due, state.outcome) == (0, Outcome.INCONCLUSIVE)


def reseated(work: Work, seats: list[int]) -> int:
    """Change the committee just before the deadline; the number of the round certified at it."""
    work.pool.now = work.deadline() - 1
    pool = work.pool
    committee = tuple(pool.parameters.committee[index] for index in seats)
    changed = pool.parameters.replace(sequence=1, committee=committee, quorum=len(seats))
    pool.submit(pool.papers.parameters(changed))
    pool.run_round()
    pool.now += 1
    record = pool.close_round()
    for seat, index in enumerate(seats):
        paper = pool.papers.attestation(index, record, changed)
        pool.submit(replace(paper, record=paper.record.replace(member=seat)))
    pool.certify(record)
    return record.number


@pytest.mark.parametrize("seats", [[2, 1, 0], [1, 2, 0], [0, 1, 2]])
def test_on_another_committee_the_check_goes_to_the_same_key(seats: list[int]) -> None:
    work = Work(members=3, positions=256)
    drawn = [member for member in range(3) if work.due(member)]
    (third,) = {0, 1, 2} - set(drawn)
    work.check(drawn[0])
    later = reseated(work, seats)
    assert list(reading.members_on_duty(work.pool.view, later)) == [seats.index(third)]


def test_who_left_the_committee_is_not_asked() -> None:
    work = Work(members=3, positions=256)
    drawn = [member for member in range(3) if work.due(member)]
    work.check(drawn[0])
    later = reseated(work, drawn)
    assert reading.members_on_duty(work.pool.view, later) == {}
    assert [state.outcome for state in work.states()] == [Outcome.UPHELD]
