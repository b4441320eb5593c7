"""One node's life in the world: its receipts drawn, checked, settled, vested and slashed, round by round.

Nothing a node lives through depends on another node, so lives are lived one by one. Every decision is one of
production's functions; only what they decide about is kept in plain fields instead of in a log's state. The
fold takes 0.4 to 0.8 ms for a receipt, of 20,000,000 in a scenario; this takes some microseconds.
`folded_pool` lives the same lives through the fold. Source: specs/simulation.md §3."""

from dataclasses import dataclass, field, replace

from creditledger.activations.cusum import cusum_next, is_cusum_alarm
from creditledger.credits import tariff
from creditledger.credits.ballot import AGREEING, Ballot
from creditledger.credits.confirmation import SECOND_LOOK_PPM
from creditledger.credits.duty import CERTAIN_PPM, draw_threshold, members_by_hash
from creditledger.credits.standing import settled_after
from creditledger.quantities import AMOUNT_MAX
from creditledger.records.verdict import Outcome
from creditledger.simulation.career import Career, Finding
from creditledger.simulation.chance import Hashes
from creditledger.simulation.pool_rules import Account, PoolRules
from creditledger.simulation.world import FIRST_ROUND


@dataclass(slots=True, kw_only=True, eq=False)
class Checked:
    """A receipt that somebody must judge."""

    receipt: int
    is_fake: bool
    account: Account
    ballot: Ballot
    asked: set[int]
    outcome: Outcome = Outcome.UNCHECKED

    @property
    def has_passed(self) -> bool:
        """Whether it may be paid."""
        return self.outcome is Outcome.UPHELD


@dataclass(slots=True, kw_only=True, eq=False)
class OpenJob:
    """A job that waits for its settlement."""

    round_index: int
    account: Account
    fakes: list[bool]
    checked: dict[int, Checked] = field(default_factory=dict)
    """By the receipt's place in the job."""

    @property
    def is_decided(self) -> bool:
        """Whether all due verdicts are in."""
        return all(checked.ballot.is_complete for checked in self.checked.values())


class Life:
    """What `Career` does under `PoolRules`, from the first round to the last."""

    def __init__(
        self, career: Career, rules: PoolRules, hashes: Hashes, *, slash_micro: int = AMOUNT_MAX
    ) -> None:
        self.career, self.rules, self.hashes = career, rules, hashes
        self.accounts = [Account()]
        self._slash_micro = slash_micro
        self._live = list(self.accounts)
        self._jobs: list[OpenJob] = []
        self._disputed: list[Checked] = []
        self._passed: list[Checked] = []
        world, levy_ppm = career.world, rules.parameters.levy_ppm
        self._prices = [world.price_micro(count) for count in range(world.receipts_a_round + 1)]
        self._nets = [price - tariff.levy(price, levy_ppm) for price in self._prices]
        self._members = world.members

    @property
    def current(self) -> Account:
        """The name that works."""
        return self.accounts[-1]

    def play(self) -> None:
        """Live through all rounds, and count what is left."""
        for round_index in range(self.career.world.rounds):
            self.play_round(round_index)
        self.finish()

    def finish(self) -> None:
        """What vested, and what the current name could still vest."""
        earned = sum(account.available_micro for account in self.accounts)
        self.career.tally.income_micro = earned + self.current.unvested_micro
        for account in self.accounts:
            self.career.trace.note(
                b"E", account.available_micro, account.unvested_micro, account.settled_micro
            )

    def play_round(self, round_index: int) -> None:
        """Work, certificate, verdicts, settlements, and what the node makes of them."""
        duties: list[tuple[int, bytes, Checked]] = []
        if not self.current.is_suspended:
            duties = self._work(round_index)
        if self._disputed or self._passed:
            duties += self._ask_again(round_index)
        for account in self._live:
            if account.awaits_slash:
                account.slash(self._slash_micro)
            account.vest(
                self.rules.parameters,
                round_number=round_index + FIRST_ROUND,
                now_unix_ms=self.career.world.now(round_index),
            )
        if duties:
            self._judge(duties)
        self._settle(round_index)
        if duties:
            self._react()

    def _work(self, round_index: int) -> list[tuple[int, bytes, Checked]]:
        """A job's receipts, and who must check them."""
        account = self.current
        job = OpenJob(round_index=round_index, account=account, fakes=self.career.work(round_index))
        self._jobs.append(job)
        rate = self.rules.rate(account)
        self.career.trace.note(b"R", round_index, rate)
        if rate < CERTAIN_PPM and self.hashes.lowest(round_index) >= draw_threshold(
            rate=rate, members=self._members
        ):
            return []
        return [duty for place in range(len(job.fakes)) for duty in self._draw(job, place, round_index, rate)]

    def _draw(
        self, job: OpenJob, place: int, round_index: int, rate: int
    ) -> list[tuple[int, bytes, Checked]]:
        receipt = round_index * len(job.fakes) + place
        hashes = self.hashes.new(round_index, receipt)
        members = members_by_hash(hashes, rate=rate, members=self._members)
        if not members:
            return []
        checked = Checked(
            receipt=receipt,
            is_fake=job.fakes[place],
            account=job.account,
            ballot=Ballot(due=len(members), upheld=0, refuted=0, no_data=0, unsure=0),
            asked=set(members),
        )
        job.checked[place] = checked
        rank = self.hashes.rank(receipt)
        return [(member, rank, checked) for member in members]

    def _ask_again(self, round_index: int) -> list[tuple[int, bytes, Checked]]:
        """Confirmers of what is disputed, second looks at what one member upheld."""
        disputed, passed, self._disputed, self._passed = self._disputed, self._passed, [], []
        duties = []
        for checked, is_second_look in [(c, False) for c in disputed] + [(c, True) for c in passed]:
            hashes = self.hashes.later(round_index, checked.receipt)
            left = {member: found for member, found in hashes.items() if member not in checked.asked}
            if is_second_look:
                chosen = _second_look(left)
                if chosen is not None:
                    checked.ballot = replace(checked.ballot, due=checked.ballot.due + 1)
            else:
                chosen = min(left, key=lambda member: (left[member], member), default=None)
                if chosen is None:
                    checked.ballot = replace(checked.ballot, due=checked.ballot.due - 1)
                    checked.outcome = checked.ballot.outcome(checked.outcome)
            if chosen is not None:
                checked.asked.add(chosen)
                duties.append((chosen, self.hashes.rank(checked.receipt), checked))
        return duties

    def _judge(self, duties: list[tuple[int, bytes, Checked]]) -> None:
        """Everybody commits, then reveals: by member, then by receipt."""
        duties.sort(key=lambda duty: duty[:2])
        planned: dict[int, int] = {}
        found = []
        for member, _, checked in duties:
            refuted = checked.ballot.refuted + planned.get(checked.receipt, 0)
            finding = self.career.finds(member, checked.receipt, is_fake=checked.is_fake, refuted=refuted)
            if finding.outcome is Outcome.REFUTED:
                planned[checked.receipt] = planned.get(checked.receipt, 0) + 1
            found.append((member, checked, finding))
        for member, checked, finding in found:
            self.career.trace.note(b"V", checked.receipt, member, *finding.codes)
            self._cast(checked, finding)
        self.career.tally.checks += len(duties)

    def _cast(self, checked: Checked, finding: Finding) -> None:
        account, before = checked.account, checked.ballot
        after = _with(before, finding)
        account.cusum_micro = cusum_next(account.cusum_micro, finding.step_micro)
        account.is_alarmed = is_cusum_alarm(account.cusum_micro)
        self.rules.judge(account, before, after)
        if after.wants_confirmer:
            after = replace(after, due=after.due + 1)
            self._disputed.append(checked)
        elif after.wants_second_look:
            self._passed.append(checked)
        checked.ballot, checked.outcome = after, after.outcome(checked.outcome)

    def _settle(self, round_index: int) -> None:
        """Every job whose due verdicts are in."""
        due = [job for job in self._jobs if job.is_decided]
        if len(due) > 1:
            due.sort(key=lambda job: self.hashes.job_rank(job.round_index))
        self._jobs = [job for job in self._jobs if not job.is_decided]
        for job in due:
            self._pay(job, round_index)

    def _pay(self, job: OpenJob, round_index: int) -> None:
        stopped = [place for place, checked in job.checked.items() if not checked.has_passed]
        passed = len(job.fakes) - len(stopped)
        is_burned = self.rules.burns_silence and any(
            checked.ballot.no_data >= AGREEING for checked in job.checked.values()
        )
        charged = self._prices[len(job.fakes) if is_burned else passed]
        amount = 0 if is_burned else charged
        self.career.trace.note(b"S", job.round_index, amount, charged)
        accepted = 0 if is_burned else sum(job.fakes) - sum(job.fakes[place] for place in stopped)
        self.career.settled(amount, charged, accepted)
        if not amount:
            return
        account, net = job.account, self._nets[passed]
        account.settled_micro = settled_after(account.settled_micro, amount)
        account.unvested_micro += net
        account.lots.append(
            (round_index + FIRST_ROUND, self.career.world.now(round_index), account.settled_micro, net)
        )

    def _react(self) -> None:
        """Whoever was suspended is slashed in the next round; the node may come back under a new name."""
        for account in self._live:
            if account.probation.confirmed > account.seen_failures:
                account.seen_failures = account.probation.confirmed
                if account is self.current:
                    self.career.failed()
            if account.is_suspended and not account.awaits_slash:
                account.awaits_slash = True
                self.career.trace.note(b"X", self.accounts.index(account))
        if self.current.is_suspended and self.career.strategy.renames:
            self.accounts.append(Account())
            self._live.append(self.current)
        working = {id(job.account) for job in self._jobs}
        working |= {id(checked.account) for checked in self._disputed + self._passed}
        is_final = self.rules.parameters.vesting_micro > 0
        self._live = [
            account
            for account in self._live
            if account is self.current
            or account.awaits_slash
            or id(account) in working
            or (account.lots and not is_final)
        ]


def _second_look(left: dict[int, bytes]) -> int | None:
    """The member of lowest hash, if that hash is low enough."""
    chosen = min(left, key=lambda member: (left[member], member), default=None)
    if chosen is None:
        return None
    threshold = draw_threshold(rate=SECOND_LOOK_PPM, members=len(left))
    return chosen if int.from_bytes(left[chosen][:8], "big") < threshold else None


def _with(ballot: Ballot, finding: Finding) -> Ballot:
    return Ballot(
        due=ballot.due,
        upheld=ballot.upheld + (finding.outcome is Outcome.UPHELD),
        refuted=ballot.refuted + (finding.outcome is Outcome.REFUTED),
        no_data=ballot.no_data + (finding.outcome is Outcome.INCONCLUSIVE),
        unsure=ballot.unsure,
    )
