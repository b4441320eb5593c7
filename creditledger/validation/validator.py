"""A validator's loop: follow, attest, re-execute, commit, reveal. Source: specs/validation.md.

Everything it signs is in its journal first, so a restart goes on where it was."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from creditledger.activations.runners.layer_runner import LayerRunner
from creditledger.credits import reading
from creditledger.credits.context import SignatureVerifier
from creditledger.credits.reading import MemberDuty, RoundInfo
from creditledger.errors import CreditLedgerError, StorageError, UnknownIdError
from creditledger.ledger.clock import system_clock
from creditledger.ledger.ledger import Ledger
from creditledger.ledger.published_entries import published_prover
from creditledger.ledger.replica import Replica
from creditledger.ledger.source import DirectorySource, LogSource
from creditledger.ledger.writer import Acknowledgement
from creditledger.records.entry import Submission
from creditledger.records.parameters import Parameters
from creditledger.transparency.trust_policy import TrustPolicy
from creditledger.validation.duties import DutyJudge
from creditledger.validation.evidence import DirectoryEvidence, EvidenceSink, EvidenceSource
from creditledger.validation.journal import Journal, RoundVerdicts
from creditledger.validation.judgement import Judgement
from creditledger.validation.logged_receipts import LoggedReceipts
from creditledger.validation.opened_evidence import OpenedEvidence
from creditledger.validation.refutation import RefutationMaker, refutations_of
from creditledger.validation.reruns import Reruns
from creditledger.validation.round_signing import (
    attest_round,
    follow_log,
    is_final,
    open_round,
    require_own_history,
)
from creditledger.validation.validator_key import ValidatorKey
from creditledger.validation.verdict_signing import salted_verdicts, signed_commit, signed_reveal

Submit: TypeAlias = Callable[[Submission], Acknowledgement]


@dataclass(frozen=True, slots=True, kw_only=True)
class Attested:
    """A round was signed."""

    round: int
    acknowledgement: Acknowledgement


@dataclass(frozen=True, slots=True, kw_only=True)
class Committed:
    """The verdicts of a round were bound to."""

    round: int
    judgements: Mapping[bytes, Judgement]
    """By receipt digest; empty for verdicts that an earlier run had found."""
    acknowledgement: Acknowledgement


@dataclass(frozen=True, slots=True, kw_only=True)
class Revealed:
    """The verdicts of a round were shown."""

    round: int
    verdicts: int
    acknowledgement: Acknowledgement


@dataclass(frozen=True, slots=True, kw_only=True)
class Missed:
    """A duty that can not be done any more."""

    round: int
    reason: str


Action: TypeAlias = Attested | Committed | Revealed | Missed


class Validator:
    """One committee member's work in one ledger."""

    def __init__(
        self,
        source: Ledger | LogSource,
        *,
        key: ValidatorKey,
        runner: LayerRunner | Mapping[bytes, LayerRunner],
        journal: Path,
        evidence: EvidenceSource | None = None,
        sink: EvidenceSink | None = None,
        policy: TrustPolicy | None = None,
        submit: Submit | None = None,
        clock: Callable[[], int] = system_clock,
        random_bytes: Callable[[int], bytes] = os.urandom,
        patience_ms: int = 0,
        verifier: SignatureVerifier | None = None,
        reruns: Reruns | None = None,
    ) -> None:
        """``source``: where the published log is read, or a `Ledger` open for writing, which is then
        published before each step and gives what else is None. ``runner``: of the pool's model, or by
        model digest. ``journal``: this key's directory. ``sink``: where the evidence of refutations goes.
        ``patience_ms``: how long after a round is certified it waits for inputs that nobody shows yet.
        ``verifier``: shared by parties of one process, it checks each signature once. ``reruns``: who
        re-executes spans, by default ``runner``.

        Raises StorageError, BusyError (another process has the journal), MalformedRecordError."""
        ledger = source if isinstance(source, Ledger) else None
        if ledger is None and None in (evidence, sink, policy, submit):
            raise UnknownIdError(
                "a log alone does not say enough", expected="evidence, sink, policy and submit"
            )
        self._ledger = ledger
        self._source: LogSource = (
            DirectorySource(source.directory.public) if isinstance(source, Ledger) else source
        )
        self._policy = policy or _given(ledger).policy()
        self._evidence = evidence or DirectoryEvidence(_given(ledger).path)
        self._sink: EvidenceSink = sink or DirectoryEvidence(_given(ledger).path)
        self._submit: Submit = submit or _given(ledger).append
        self._key = key
        self._runners = runner if isinstance(runner, Mapping) else {runner.model.digest: runner}
        self._clock = clock
        self._random_bytes = random_bytes
        self._reruns = reruns
        self._patience_ms = patience_ms
        self._journal_path = journal
        self._journal: Journal | None = None
        self._replica = Replica(self._source, self._policy, verifier=verifier)
        self._receipts = LoggedReceipts(self._source)
        self._finished_rounds = 0
        self._sent: set[bytes] = set()
        self._given_up: set[int] = set()

    @property
    def replica(self) -> Replica:
        """This validator's own copy of the state."""
        return self._replica

    def step(self) -> list[Action]:
        """Do what is due now, and say what was done; empty if there is nothing.

        Raises VerificationError, IntegrityError or PolicyError for a log that must not be vouched for:
        nothing is signed then. StorageError and BusyError mean: again later."""
        if self._ledger is not None:
            self._ledger.publish()
        for index, entry in follow_log(self._replica, now_unix_ms=self._clock()):
            self._receipts.note(index, entry)
        journal = self._opened_journal()
        require_own_history(self._replica, journal)
        return [*self._attest(journal), *self._do_duties(journal)]

    def close(self) -> None:
        """Let go of the journal."""
        if self._journal is not None:
            self._journal.close()
            self._journal = None

    def _opened_journal(self) -> Journal:
        if self._journal is None:
            self._journal = Journal(
                self._journal_path,
                ledger_id=self._replica.ledger_id,
                public_key=self._key.bls.public_key,
            )
        return self._journal

    def _attest(self, journal: Journal) -> list[Action]:
        info = open_round(self._replica, policy=self._policy)
        if info is None:
            return []
        state, ledger_id = self._replica.state, self._replica.ledger_id
        submission = attest_round(info, state=state, ledger_id=ledger_id, key=self._key, journal=journal)
        if submission is None or not self._is_unsent(submission):
            return []
        number = info.round.number
        try:
            return [Attested(round=number, acknowledgement=self._send(submission))]
        except CreditLedgerError as error:
            if not is_final(error):
                raise
            # Certified meanwhile, or a newer round: too late to be of use.
            self._sent.add(submission.record.encode())
            return [Missed(round=number, reason=_reason(error))]

    def _do_duties(self, journal: Journal) -> list[Action]:
        latest = reading.latest_certified_round(self._replica.state)
        if latest is None:
            return []
        actions: list[Action] = []
        is_behind_us = True
        for number in range(self._finished_rounds + 1, latest.round.number + 1):
            info = reading.round_numbered(self._replica.state, number)
            is_done = info is None or not info.is_certified or self._do_duty(info, journal, actions)
            is_behind_us &= is_done
            if is_behind_us:
                self._finished_rounds = number
        return actions

    def _do_duty(self, info: RoundInfo, journal: Journal, actions: list[Action]) -> bool:
        """Do the next thing for one round; whether nothing is left to do for it."""
        state, number = self._replica.state, info.round.number
        parameters = reading.parameters_with(state, info.round.parameters)
        member = None if parameters is None else self._key.member_index(parameters.committee)
        duty = None if member is None else reading.member_duty(state, member, number)
        if parameters is None or member is None or duty is None:
            return True
        if duty.reveal_index or number in self._given_up:
            return True
        if duty.missed:
            actions.append(self._give_up(number, "overdue: its checks passed on"))
            return True
        try:
            if not duty.committed:
                actions.extend(self._commit(info, member, parameters, journal))
            elif self._may_reveal(info, parameters):
                actions.extend(self._reveal(info, member, duty, journal))
        except CreditLedgerError as error:
            if not is_final(error):
                raise
            actions.append(self._give_up(number, _reason(error)))
            return True
        return False

    def _give_up(self, number: int, reason: str) -> Missed:
        """Have done with a round's duty; said once in a run."""
        self._given_up.add(number)
        return Missed(round=number, reason=reason)

    def _commit(
        self, info: RoundInfo, member: int, parameters: Parameters, journal: Journal
    ) -> Sequence[Action]:
        number = info.round.number
        judgements: Mapping[bytes, Judgement] = {}
        bound = journal.verdicts(number)
        if bound is None:
            judged = self._judge(info, member)
            if judged is None:
                return []
            judgements = judged
            bound = salted_verdicts(
                judgements, round_number=number, member=member, random_bytes=self._random_bytes
            )
            # Evidence before the promise: a crash in between leaves a file that the next try replaces;
            # reversed, a refutation that nobody could repeat.
            self._keep_refutations(bound, journal)
            journal.note_verdicts(bound)
        submission = signed_commit(bound, member=member, key=self._key, ledger_id=self._replica.ledger_id)
        if not self._is_unsent(submission):
            return []
        acknowledgement = self._send(submission)
        return [Committed(round=number, judgements=judgements, acknowledgement=acknowledgement)]

    def _judge(self, info: RoundInfo, member: int) -> Mapping[bytes, Judgement] | None:
        """All judgements due; None while it is worth waiting for inputs."""
        state, ledger_id = self._replica.state, self._replica.ledger_id
        judge = DutyJudge(
            self._receipts,
            self._opened(),
            runners=self._runners,
            ledger_id=ledger_id,
            reruns=self._reruns,
        )
        due = reading.duties_of(state, member, info.round.number)
        may_wait = self._clock() < info.certified_unix_ms + self._patience_ms
        if may_wait and judge.lacks_inputs(state, due):
            return None
        return judge.judge(state, due)

    def _opened(self) -> OpenedEvidence:
        return OpenedEvidence(self._evidence, key=self._key.audit, ledger_id=self._replica.ledger_id)

    def _keep_refutations(self, bound: RoundVerdicts, journal: Journal) -> None:
        """Keep the evidence of what is refuted, sealed; it goes out with the reveal, which it shows."""
        if not any(refutations_of(bound)):
            return
        proofs = published_prover(self._source, self._replica, self._policy)
        made = RefutationMaker(self._receipts, self._opened(), state=self._replica.state, proofs=proofs)
        for name, sealed in made.sealed(bound, key=self._key, random_bytes=self._random_bytes):
            journal.keep_refutation(name, sealed)

    def _ship_refutations(self, bound: RoundVerdicts, journal: Journal) -> None:
        for name, _ in refutations_of(bound):
            if journal.has_refutation(name):
                self._sink.ship(name, journal.refutation(name))

    def _may_reveal(self, info: RoundInfo, parameters: Parameters) -> bool:
        """Whether all on duty have committed, or had the time to."""
        on_duty = reading.members_on_duty(self._replica.state, info.round.number).values()
        is_over = self._clock() >= info.certified_unix_ms + parameters.grace_ms
        return is_over or all(duty.committed for duty in on_duty)

    def _reveal(self, info: RoundInfo, member: int, duty: MemberDuty, journal: Journal) -> Sequence[Action]:
        bound = _bound_verdicts(journal, info.round.number)
        submission = signed_reveal(
            bound, member=member, commitment=duty.commitment, key=self._key, ledger_id=self._replica.ledger_id
        )
        if not self._is_unsent(submission):
            return []
        self._ship_refutations(bound, journal)
        acknowledgement = self._send(submission)
        for name, _ in refutations_of(bound):
            journal.forget_refutation(name)
        return [
            Revealed(round=info.round.number, verdicts=len(bound.verdicts), acknowledgement=acknowledgement)
        ]

    def _is_unsent(self, submission: Submission) -> bool:
        """Whether this run has not sent it yet; the published log shows it a little later only."""
        return submission.record.encode() not in self._sent

    def _send(self, submission: Submission) -> Acknowledgement:
        acknowledgement = self._submit(submission)
        self._sent.add(submission.record.encode())
        return acknowledgement


def _reason(error: CreditLedgerError) -> str:
    return f"{type(error).__name__}: {error}"[:300]


def _given(ledger: Ledger | None) -> Ledger:
    if ledger is None:
        raise StorageError("no ledger to ask", expected="a Ledger")
    return ledger


def _bound_verdicts(journal: Journal, number: int) -> RoundVerdicts:
    bound = journal.verdicts(number)
    if bound is None:
        raise UnknownIdError(
            f"the journal lacks the verdicts of round {number} that this key committed to",
            expected="the journal that was used then",
        )
    return bound
