"""Two of at most three validators decide: confirmers, second looks, what a failure costs whom."""

from collections.abc import Mapping
from dataclasses import replace

import pytest

from creditledger.credits import reading, tariff
from creditledger.credits.account import check_invariant
from creditledger.credits.ballot import Ballot
from creditledger.credits.duty import CERTAIN_PPM, draw_hash, draw_threshold, rate_ppm
from creditledger.credits.fold import attestations_of, due_settlements, propose_settlement
from creditledger.credits.standing import Conduct, Probation
from creditledger.errors import BusyError
from creditledger.records.round import draw_seed
from creditledger.records.state import ReceiptState
from creditledger.records.transfer import Settlement
from creditledger.records.verdict import Outcome, Reason
from fakes.cast import MODEL
from fakes.committee import validator
from fakes.pool import Pool, fake_id

U, R, D, I = "URDI"  # noqa: E741
OUTCOMES = {U: Outcome.UPHELD, R: Outcome.REFUTED, D: Outcome.INCONCLUSIVE, I: Outcome.INCONCLUSIVE}
REASONS = {U: Reason.MATCH, R: Reason.RATIO, D: Reason.NO_DATA, I: Reason.RESOLUTION}
PRICE = tariff.span_price(MODEL, tariff.span_flops(MODEL, 4, 0, 100))
PROBATION = 4 * PRICE


class Case:
    """One receipt of one delivered job, in a pool of validators that say what they are told to."""

    def __init__(self, members: int = 4, **changes: object) -> None:
        self.pool = Pool(members=members, quorum=1, **{"rule_set": 3, "probation_micro": PROBATION} | changes)
        self.pool.fund(self.pool.client, 100_000_000)
        self.work("first")

    def work(self, tag: str) -> None:
        """Another job of one receipt, delivered and drawn."""
        pool = self.pool
        self.job = pool.order(tag=tag, max_positions=100)
        chains = pool.work(self.job, 100)
        pool.deliver(chains)
        self.receipt = chains[0][0].digest(pool.ledger_id)
        self.round = pool.run_round().number
        self.asked = list(reading.members_on_duty(pool.view, self.round))

    def say(self, number: int, what: Mapping[int, str]) -> None:
        """The members commit to and reveal what they found on the receipt in round ``number``."""
        pool, papers = self.pool, self.pool.papers
        found = {
            member: papers.verdicts(
                number, member, [self.receipt], outcomes={self.receipt: OUTCOMES[word]}, reason=REASONS[word]
            )
            for member, word in what.items()
        }
        for member, verdicts in found.items():
            pool.submit(papers.commit(member, verdicts))
        for member, verdicts in found.items():
            pool.submit(papers.reveal(member, verdicts))

    def first(self, words: str) -> None:
        """What those that were drawn say, in their order."""
        self.say(self.round, dict(zip(self.asked, words, strict=True)))

    def ask(self) -> tuple[int, list[int]]:
        """Certify a round; its number, and who must look at the receipt in it."""
        number = self.pool.run_round().number
        asked = reading.members_on_duty(self.pool.view, number)
        on = [member for member in asked if self.receipt in reading.duties_of(self.pool.view, member, number)]
        return number, on

    def confirm(self, word: str) -> int:
        """One round, one confirmer, who says ``word``; which member it was."""
        number, on = self.ask()
        assert len(on) == 1
        assert on[0] not in self.asked
        self.say(number, {on[0]: word})
        self.asked.append(on[0])
        return on[0]

    @property
    def state(self) -> ReceiptState:
        found = reading.receipt_state(self.pool.view, self.receipt)
        assert found is not None
        return found

    @property
    def is_suspended(self) -> bool:
        account = reading.account_state(self.pool.view, self.pool.node.public_key)
        assert account is not None
        return bool(account.suspended)

    @property
    def probation(self) -> Probation:
        return reading.node_probation(self.pool.view, self.pool.node.public_key)

    @property
    def rate(self) -> int:
        return reading.check_rate_ppm(self.pool.view, self.pool.node.public_key)

    def conduct(self, member: int) -> Conduct:
        return reading.validator_conduct(self.pool.view, validator(member, is_real=False).public_key)

    def outvoted(self) -> list[int]:
        return [member for member in range(4) if self.conduct(member).outvoted]

    def propose(self) -> Settlement:
        digest, ledger_id = self.job.digest(self.pool.ledger_id), self.pool.ledger_id
        return propose_settlement(self.pool.view, digest, ledger_id, now_unix_ms=self.pool.now)

    def settle(self) -> None:
        assert due_settlements(self.pool.view, self.pool.now) == [self.job.digest(self.pool.ledger_id)]
        self.pool.settle(self.job)
        check_invariant(self.pool.view)


@pytest.mark.parametrize(
    ("first", "confirmers", "outcome", "suspended", "outvoted"),
    [
        ("UU", "", Outcome.UPHELD, False, ""),
        ("RR", "", Outcome.REFUTED, True, ""),
        ("UR", "R", Outcome.REFUTED, True, "U"),
        ("RU", "R", Outcome.REFUTED, True, "U"),
        ("RU", "U", Outcome.REFUTED, False, "R"),
        ("RU", "I", Outcome.REFUTED, False, ""),
        ("RI", "R", Outcome.REFUTED, True, ""),
        ("RI", "U", Outcome.REFUTED, False, ""),
        ("RD", "U", Outcome.REFUTED, False, ""),
        ("UD", "U", Outcome.UPHELD, False, ""),
        ("UD", "D", Outcome.INCONCLUSIVE, True, ""),
        ("UD", "R", Outcome.REFUTED, False, ""),
        ("DD", "", Outcome.INCONCLUSIVE, True, ""),
        ("UI", "", Outcome.INCONCLUSIVE, False, ""),
    ],
)
def test_two_of_at_most_three_decide(
    first: str, confirmers: str, outcome: Outcome, suspended: bool, outvoted: str
) -> None:
    """A confirmer is asked until two agree or three were heard; whom two contradict is outvoted."""
    case = Case()
    case.first(first)
    for word in confirmers:
        assert case.state.due == len(case.asked) + 1
        with pytest.raises(BusyError, match="checks are due"):
            case.propose()
        case.confirm(word)
    assert case.ask()[1] == []
    assert (case.state.outcome, case.is_suspended) == (outcome, suspended)
    said = dict(zip(case.asked, first + confirmers, strict=True))
    assert [said[member] for member in case.outvoted()] == list(outvoted)
    paid = sum(payment.amount_micro for payment in case.propose().payments)
    assert paid == (PRICE if outcome is Outcome.UPHELD else 0)
    case.settle()


def test_a_mismatch_makes_checks_certain_and_a_failure_starts_probation_again() -> None:
    """E18, E5: a lone mismatch costs this receipt's pay, and checks for as much as probation was."""
    case = Case(probation_micro=PRICE, check_floor_ppm=1)
    case.first("UU")
    case.settle()
    assert reading.node_standing(case.pool.view, case.pool.node.public_key).settled_micro == PRICE
    assert case.rate == CERTAIN_PPM
    case.work("second")
    case.first("RU")
    case.confirm("U")
    assert case.probation == Probation(mismatches=1, confirmed=0, certain_until_micro=2 * PRICE, from_micro=0)
    case.work("third")
    case.first("RR")
    assert case.probation == Probation(
        mismatches=3, confirmed=1, certain_until_micro=2 * PRICE, from_micro=PRICE
    )


@pytest.mark.parametrize(
    ("settled", "certain_until", "began", "rate"),
    [(8, 0, 0, 500_000), (8, 9, 0, 10**6), (8, 8, 0, 500_000), (8, 0, 4, 10**6), (12, 0, 4, 500_000)],
)
def test_the_rate_starts_over_after_a_failure(
    settled: int, certain_until: int, began: int, rate: int
) -> None:
    parameters = Pool().parameters.replace(probation_micro=4, check_floor_ppm=1)
    assert rate == rate_ppm(
        parameters,
        settled_micro=settled,
        is_alarmed=False,
        certain_until_micro=certain_until,
        probation_from_micro=began,
    )


def test_no_data_takes_two_validators_and_burns_the_price() -> None:
    """E7: the price is not refunded to a client that may have hidden the inputs itself. E10: the node keeps
    its own, and is suspended as for a refuted receipt: else silence would pay."""
    case = Case()
    case.first("DD")
    settlement = case.propose()
    assert (settlement.burned_micro, settlement.payments) == (PRICE, ())
    assert case.probation.confirmed == 1
    assert case.is_suspended
    case.settle()


def test_one_validators_no_data_burns_nothing() -> None:
    case = Case(members=1)
    case.first("D")
    with pytest.raises(BusyError, match="checks are due"):
        case.propose()
    assert case.ask()[1] == []
    settlement = case.propose()
    assert (settlement.burned_micro, settlement.payments) == (0, ())
    assert (case.state.due, case.state.outcome) == (1, Outcome.INCONCLUSIVE)
    assert case.probation.confirmed == 0
    case.settle()


def test_where_nobody_is_left_to_confirm_the_refutal_stands_and_nobody_is_suspended() -> None:
    case = Case(members=2)
    case.first("RU")
    assert case.state.due == 3
    assert case.ask()[1] == []
    assert (case.state.due, case.state.outcome, case.is_suspended) == (2, Outcome.REFUTED, False)
    assert case.ask()[1] == []
    case.settle()


def test_a_silent_confirmers_check_passes_on_and_delays_no_further_than_its_deadline() -> None:
    case = Case()
    case.first("RU")
    _, on = case.ask()
    case.pool.now += 2 * case.pool.parameters.grace_ms
    later, instead = case.ask()
    assert len(instead) == 1
    assert instead[0] not in [*case.asked, *on]
    case.say(later, {instead[0]: R})
    assert case.is_suspended


def test_when_a_drawn_check_lapses_a_refutal_still_finds_its_confirmer() -> None:
    """The one that was silent had the round's only other seed; later signers can still look."""
    case = Case(members=3)
    pool = case.pool
    job = pool.order(tag="few signers", max_positions=100)
    chains = pool.work(job, 100)
    pool.deliver(chains)
    case.receipt = chains[0][0].digest(pool.ledger_id)
    record = pool.close_round()
    pool.attest(record, 0, 1)
    pool.certify(record)
    pool.submit(pool.papers.commit(0, (said := pool.papers.verdicts(
        record.number, 0, [case.receipt], outcomes={case.receipt: Outcome.REFUTED})
    )))  # fmt: skip
    pool.now += pool.parameters.grace_ms
    pool.submit(pool.papers.reveal(0, said))
    pool.now += pool.parameters.grace_ms
    assert case.ask()[1] == [2]
    assert case.state.due == 2


def test_a_tenth_of_what_one_validator_upheld_is_looked_at_again() -> None:
    """Who looks, and whether, is in the next round's seeds: nobody knows it when it says yes."""
    looked = 0
    pool = Pool(members=4, quorum=1, rule_set=3, probation_micro=0, check_floor_ppm=10**6 - 1)
    pool.fund(pool.client, 100_000_000)
    for tag in range(60):
        job = pool.order(tag=tag, max_positions=1_024)
        chains = pool.work(job, 1_024)
        pool.deliver(chains)
        digests = [receipt.digest(pool.ledger_id) for receipt in chains[0]]
        pool.check_round(pool.run_round().number)
        singles = [digest for digest in digests if _due(pool, digest) == 1]
        before = {digest: _first_member(pool, digest) for digest in singles}
        record = pool.run_round()
        seeds = {m: draw_seed(s) for m, s in attestations_of(pool.view, record.number).items()}
        for digest in singles:
            left = sorted((draw_hash(seeds[m], digest), m) for m in seeds if m != before[digest])
            is_drawn = int.from_bytes(left[0][0][:8], "big") < draw_threshold(rate=100_000, members=3)
            due = [m for n, m in reading.checks_of(pool.view, digest) if n == record.number]
            assert due == ([left[0][1]] if is_drawn else [])
            looked += is_drawn
        pool.check_round(record.number)
        pool.settle(job)
    assert looked >= 1


def _due(pool: Pool, digest: bytes) -> int:
    state = reading.receipt_state(pool.view, digest)
    assert state is not None
    return state.due


def _first_member(pool: Pool, digest: bytes) -> int:
    return reading.checks_of(pool.view, digest)[0][1]


def test_what_was_upheld_stays_so_unless_refuted() -> None:
    seen = Ballot(due=2, upheld=1, refuted=0, no_data=0, unsure=1)
    assert seen.outcome(Outcome.UPHELD) is Outcome.UPHELD
    assert seen.outcome(Outcome.UNCHECKED) is Outcome.INCONCLUSIVE
    assert replace(seen, unsure=0, no_data=1).outcome(Outcome.UPHELD) is Outcome.UPHELD
    assert replace(seen, unsure=0, no_data=2).outcome(Outcome.UPHELD) is Outcome.INCONCLUSIVE
    assert replace(seen, unsure=0, refuted=1).outcome(Outcome.UPHELD) is Outcome.REFUTED


@pytest.mark.parametrize("amount", [0, 1])
def test_a_quorum_decides_what_a_failure_costs_and_the_node_starts_over(amount: int) -> None:
    case = Case()
    case.first("UU")
    case.settle()
    case.work("second")
    case.first("RR")
    node = case.pool.node.public_key
    assert case.is_suspended
    case.pool.submit(case.pool.papers.slash(node, amount, id=fake_id("slash")))
    assert case.is_suspended
    case.pool.run_round()
    assert not case.is_suspended
    assert case.probation.from_micro == PRICE
    case.work("third")


def test_a_late_refutal_does_not_undo_what_the_quorum_decided() -> None:
    """Three were drawn; two refuted, the node was slashed and readmitted, then the third speaks."""
    case = Case(probation_micro=0, check_floor_ppm=999_999)
    tags = iter(range(200))
    while len(case.asked) < 3:
        case.work(f"until three are drawn {next(tags)}")
    pool, papers = case.pool, case.pool.papers
    told = {
        member: papers.verdicts(
            case.round,
            member,
            reading.duties_of(pool.view, member, case.round),
            outcomes={case.receipt: Outcome.REFUTED},
        )
        for member in case.asked
    }
    for member, verdicts in told.items():
        pool.submit(papers.commit(member, verdicts))
    first, second, late = case.asked[:3]
    for member in (first, second):
        pool.submit(papers.reveal(member, told[member]))
    assert case.is_suspended
    pool.submit(papers.slash(pool.node.public_key, 1, id=fake_id("slash")))
    pool.run_round()
    pool.submit(papers.reveal(late, told[late]))
    assert case.state.refuted == 3
    assert not case.is_suspended


def test_under_rule_set_2_nobody_is_asked_again() -> None:
    case = Case(rule_set=2)
    case.first("RU")
    assert case.state.due == 2
    assert case.ask()[1] == []
    assert case.probation == Probation()
    assert case.conduct(case.asked[0]) == Conduct()
    case.settle()
