"""All checks that a round asks of one validator: judged span by span. Source: specs/validation.md §5."""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypedDict

from creditledger.activations.calibration import CalibrationProfile
from creditledger.activations.runners.layer_runner import LayerRunner
from creditledger.credits import reading
from creditledger.credits.state import StateView
from creditledger.errors import UnknownIdError
from creditledger.minting.sealed_evidence import SketchOpening
from creditledger.records.job import Job, PlanSpan
from creditledger.records.parameters import Parameters
from creditledger.records.receipt import WINDOW, Receipt
from creditledger.records.verdict import Outcome, Reason
from creditledger.validation.attribution import Blame, Boundary, blame_boundary
from creditledger.validation.judgement import Judgement, Link, judge_window
from creditledger.validation.logged_receipts import LoggedReceipt, LoggedReceipts
from creditledger.validation.opened_evidence import OpenedEvidence
from creditledger.validation.reruns import Reruns, RerunsHere
from creditledger.validation.span_rerun import SpanRerun

NO_PROFILE = Judgement(outcome=Outcome.INCONCLUSIVE, reason=Reason.NO_PROFILE)


class _Before(TypedDict):
    """The window before a short one, which is judged with it."""

    previous: Receipt | None
    before: SketchOpening | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """A span that is being re-executed."""

    rerun: SpanRerun
    terms: Parameters
    runner: LayerRunner
    chain: Sequence[LoggedReceipt]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Span:
    """The receipts of one span that are due."""

    due: Sequence[LoggedReceipt]
    job: Job
    run: _Run | None
    """None where it can only be left open."""


class DutyJudge:
    """Judges due receipts by what the log says and the evidence shows."""

    def __init__(
        self,
        receipts: LoggedReceipts,
        evidence: OpenedEvidence,
        *,
        runners: Mapping[bytes, LayerRunner],
        ledger_id: bytes,
        reruns: Reruns | None = None,
    ) -> None:
        """``runners``: by model digest. A receipt of any other model can only be left open. ``reruns``: who
        re-executes, by default these runners."""
        self._receipts = receipts
        self._evidence = evidence
        self._runners = runners
        self._ledger_id = ledger_id
        self._reruns: Reruns = reruns or RerunsHere(runners)

    def judge(self, state: StateView, due: Sequence[bytes]) -> dict[bytes, Judgement]:
        """One judgement per receipt digest of ``due``, in that order. Each span is run once.

        Raises BusyError where spans cannot be run now."""
        spans: dict[tuple[bytes, int], list[LoggedReceipt]] = {}
        for digest in due:
            logged = self._receipts.find(state, digest, ledger_id=self._ledger_id)
            spans.setdefault((logged.receipt.job, logged.receipt.layer_start), []).append(logged)
        judged: dict[bytes, Judgement] = {}
        under_way: deque[_Span] = deque()
        for of_span in spans.values():
            if len(under_way) == self._reruns.at_once:
                judged |= self._judge_span(state, under_way.popleft())
            under_way.append(self._begin(state, of_span))
        for span in under_way:
            judged |= self._judge_span(state, span)
        return {digest: judged[digest] for digest in due}

    def lacks_inputs(self, state: StateView, due: Sequence[bytes]) -> bool:
        """Whether nobody shows inputs for some window that must be run."""
        for digest in due:
            logged = self._receipts.find(state, digest, ledger_id=self._ledger_id)
            if not all(self._evidence.has_inputs(one.receipt) for one in self._chain(state, logged.receipt)):
                return True
        return False

    def _begin(self, state: StateView, due: Sequence[LoggedReceipt]) -> "_Span":
        """Open a span's inputs and have it run, if its model and terms are known."""
        longest = max((one.receipt for one in due), key=lambda receipt: receipt.window_start)
        job = _job(state, longest.job)
        terms = reading.parameters_with(state, job.parameters)
        runner = self._runners.get(longest.model)
        if terms is None or runner is None:
            return _Span(due=due, job=job, run=None)
        chain = self._chain(state, longest)
        receipts = [one.receipt for one in chain]
        inputs = [self._evidence.inputs(receipt) for receipt in receipts]
        rerun = SpanRerun(receipts, inputs, runner=runner, reruns=self._reruns)
        return _Span(due=due, job=job, run=_Run(rerun=rerun, terms=terms, runner=runner, chain=chain))

    def _judge_span(self, state: StateView, span: "_Span") -> dict[bytes, Judgement]:
        run = span.run
        if run is None:
            return {one.digest: NO_PROFILE for one in span.due}
        by_start = {one.receipt.window_start: one for one in run.chain}
        return {
            one.digest: judge_window(
                one.receipt,
                rerun=run.rerun,
                opening=self._evidence.sketch(one, in_force=reading.parameters_in_force(state)),
                profile=self._profile(run.terms, one.receipt, run.runner),
                link=self._link(state, span.job, one.receipt),
                **self._window_before(state, one.receipt, by_start),
            )
            for one in span.due
        }

    def _profile(self, terms: Parameters, receipt: Receipt, runner: LayerRunner) -> CalibrationProfile | None:
        profile = self._evidence.profile(terms, receipt)
        fits = profile is not None and len(profile.exponents) == runner.model.shape.hidden
        return profile if fits else None

    def _chain(self, state: StateView, last: Receipt) -> list[LoggedReceipt]:
        return self._receipts.chain(
            state, last.job, last.layer_start, stop=last.window_start + 1, ledger_id=self._ledger_id
        )

    def _window_before(
        self, state: StateView, receipt: Receipt, by_start: Mapping[int, LoggedReceipt]
    ) -> _Before:
        before = by_start.get(receipt.window_start - WINDOW)
        if before is None or receipt.positions == WINDOW:
            return _Before(previous=None, before=None)
        opening = self._evidence.sketch(before, in_force=reading.parameters_in_force(state))
        return _Before(previous=before.receipt, before=None if isinstance(opening, Reason) else opening)

    def _link(self, state: StateView, job: Job, receipt: Receipt) -> Link:
        """Boundaries with the neighbours: a contradiction is the sender's fault if it signed for it."""
        sender = next((span for span in job.plan if span.layer_stop == receipt.layer_start), None)
        before = None if sender is None else self._neighbour(state, receipt, sender.layer_start)
        if sender is not None and before is not None:
            blame = self._blame(state, sender, before, receipt)
            if blame is not None and not blame.is_senders:
                return Link.UNEXPLAINED
        own = job.span_of(receipt.layer_start)
        after = self._neighbour(state, receipt, receipt.layer_stop)
        if own is not None and after is not None:
            blame = self._blame(state, own, receipt, after)
            if blame is not None and blame.is_senders:
                return Link.CONTRADICTS_HANDOVER
        return Link.AGREES

    def _blame(self, state: StateView, sender: PlanSpan, sent: Receipt, received: Receipt) -> Blame | None:
        ordered = reading.consumed_index(state, received.job)
        keys = reading.keys_since(state, sender.node, ordered or 0)
        boundary = Boundary(
            layer=received.layer_start,
            sender=sender.node,
            receiver=received.node,
            sent=sent.output_root,
            received=received.input_root,
        )
        return blame_boundary(boundary, self._evidence.handovers(sender, received, keys=keys))

    def _neighbour(self, state: StateView, receipt: Receipt, layer_start: int) -> Receipt | None:
        found = self._receipts.at(
            state, receipt.job, layer_start, receipt.window_start, ledger_id=self._ledger_id
        )
        return None if found is None else found.receipt


def _job(state: StateView, digest: bytes) -> Job:
    job = reading.job_body(state, digest)
    if job is None:
        raise UnknownIdError("a receipt's job is not logged", found=digest.hex())
    return job
