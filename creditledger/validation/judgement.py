"""One check of one receipt, from opened evidence to a verdict. Source: specs/validation.md §5."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from hashlib import sha256
from typing import Final

from creditledger.activations.calibration import CalibrationProfile
from creditledger.activations.commitment import OpenedCommitment, open_commitment
from creditledger.activations.cusum import CUSUM_STEP_MAX_MICRO, cusum_step_micro
from creditledger.activations.distance import (
    Rule,
    SpotStatistics,
    judge_statistics,
    rule_for,
    spot_statistics,
    threshold,
)
from creditledger.activations.runners.layer_runner import LayerRunner
from creditledger.activations.sealing import OpenedInputs
from creditledger.activations.token_check import TokenSupport
from creditledger.errors import OpeningError
from creditledger.minting.sealed_evidence import SketchOpening
from creditledger.quantities import AMOUNT_MAX
from creditledger.records import canonical
from creditledger.records.receipt import WINDOW, Receipt
from creditledger.records.verdict import Outcome, Reason
from creditledger.validation.span_rerun import SpanRerun

_EVIDENCE: Final = b"creditledger/v1/evidence\0"
_MICRO: Final = 1_000_000


class Link(IntEnum):
    """How a receipt's boundaries agree with its neighbours' receipts."""

    AGREES = 0
    UNEXPLAINED = 1
    """Its input is not what the span before delivered, and it shows no handover."""
    CONTRADICTS_HANDOVER = 2
    """It handed over, signed, something else than its receipt says it delivered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """The outcome of one check; its statistics stay with the validator."""

    outcome: Outcome
    reason: Reason
    statistics: SpotStatistics | None = None
    threshold: float = 0.0
    cusum_step_micro: int = 0
    """From -6,000,000 to 6,000,000; 0 where nothing was decided."""

    @property
    def ratio(self) -> float | None:
        """Distance of the claim over distance of the yardstick, if it was measured."""
        return None if self.statistics is None else self.statistics.ratio

    def statistics_bytes(self) -> bytes:
        """The statistics as canonical integers in 10^-6; an infinite one is 2^63-1.

        ``[ratio, tail, resolution, threshold, positions, unresolved, worst position]``, or ``[]``."""
        stats = self.statistics
        if stats is None:
            return canonical.encode([])
        measured = [_micro(x) for x in (stats.ratio, stats.tail, stats.resolution, self.threshold)]
        return canonical.encode([*measured, stats.positions, stats.unresolved, stats.worst_position])

    def evidence_digest(self, salt: bytes) -> bytes:
        """SHA-256(tag || salt || statistics): binds the validator, and tells nobody anything.

        ``salt``: 32 bytes. Source: specs/validation.md §6."""
        return evidence_digest(salt, self.statistics_bytes())


def evidence_digest(salt: bytes, statistics: bytes) -> bytes:
    """What a verdict carries of `Judgement.statistics_bytes`. Source: specs/validation.md §6."""
    return sha256(_EVIDENCE + salt + statistics).digest()


def judge_receipt(
    receipt: Receipt,
    *,
    prefix: Sequence[Receipt],
    opening: SketchOpening | Reason,
    inputs: Sequence[OpenedInputs | None],
    runner: LayerRunner,
    profile: CalibrationProfile | None,
    rule: Rule | None = None,
    before: SketchOpening | None = None,
) -> Judgement:
    """Re-execute the windows up to ``receipt`` and judge it; `judge_window` for a shared rerun.

    ``prefix``: the chain's earlier receipts, from window 0; ``inputs``: opened, one per receipt of the
    prefix and then its own, None for what nobody has."""
    rerun = SpanRerun([*prefix, receipt], inputs, runner=runner)
    previous = prefix[-1] if prefix else None
    return judge_window(
        receipt, rerun=rerun, opening=opening, profile=profile, rule=rule, previous=previous, before=before
    )


def judge_window(
    receipt: Receipt,
    *,
    rerun: SpanRerun,
    opening: SketchOpening | Reason,
    profile: CalibrationProfile | None,
    rule: Rule | None = None,
    previous: Receipt | None = None,
    before: SketchOpening | None = None,
    link: Link = Link.AGREES,
) -> Judgement:
    """Judge ``receipt`` against the re-executed span.

    ``opening``: salt and sketch, or why there is none: OPENING if the node sealed something else,
    NO_DATA if nobody has it. ``previous`` and ``before``: the window before and its opening, which a
    window of less than 256 positions is judged with. ``rule``: None takes the declared numerics'."""
    if isinstance(opening, Reason):
        return _without_sketch(opening)
    try:
        claimed = open_commitment(*opening, receipt=receipt)
    except OpeningError:
        return _without_sketch(Reason.OPENING)
    if link is Link.CONTRADICTS_HANDOVER:
        return _refuted(Reason.BROKEN_LINK)
    if link is Link.UNEXPLAINED:
        return Judgement(outcome=Outcome.INCONCLUSIVE, reason=Reason.BROKEN_LINK)
    if profile is None or not rerun.knows_lengths:
        return Judgement(outcome=Outcome.INCONCLUSIVE, reason=Reason.NO_PROFILE)
    if rerun.is_blinded(receipt):
        return Judgement(outcome=Outcome.INCONCLUSIVE, reason=Reason.RESOLUTION)
    if not rerun.covers(receipt):
        return Judgement(outcome=Outcome.INCONCLUSIVE, reason=Reason.NO_DATA)
    windows = [rerun.window(receipt, claimed.sketch)]
    earlier = _opened(previous, before) if receipt.positions < WINDOW else None
    if previous is not None and earlier is not None:
        windows.insert(0, rerun.window(previous, earlier.sketch))
    stats = spot_statistics(windows, exponents=profile.exponents)
    decided = _decided(stats, profile, rule or rule_for(receipt.numerics))
    if decided.outcome is Outcome.UPHELD and claimed.drawn is not None:
        return _judged_tokens(decided, rerun.token_support(receipt, claimed.drawn))
    return decided


def _decided(stats: SpotStatistics, profile: CalibrationProfile, rule: Rule) -> Judgement:
    outcome, reason = judge_statistics(stats, rule=rule, profile_resolution=profile.resolution_median)
    is_conclusive = outcome is not Outcome.INCONCLUSIVE
    return Judgement(
        outcome=outcome,
        reason=reason,
        statistics=stats,
        threshold=threshold(stats.positions, ratio_floor=rule.ratio_floor),
        cusum_step_micro=cusum_step_micro(stats.ratio, rule) if is_conclusive else 0,
    )


def _judged_tokens(decided: Judgement, support: TokenSupport | None) -> Judgement:
    """The rows are honest; so must the tokens be that were drawn from them."""
    if support is None:
        return Judgement(outcome=Outcome.INCONCLUSIVE, reason=Reason.NO_PROFILE)
    if support.is_supported:
        return decided
    return replace(
        decided,
        outcome=Outcome.REFUTED,
        reason=Reason.TOKENS,
        cusum_step_micro=CUSUM_STEP_MAX_MICRO,
    )


def _without_sketch(reason: Reason) -> Judgement:
    if reason is Reason.OPENING:
        return _refuted(reason)
    return Judgement(outcome=Outcome.INCONCLUSIVE, reason=reason)


def _refuted(reason: Reason) -> Judgement:
    return Judgement(outcome=Outcome.REFUTED, reason=reason, cusum_step_micro=CUSUM_STEP_MAX_MICRO)


def _opened(receipt: Receipt | None, opening: SketchOpening | None) -> OpenedCommitment | None:
    """What the window before committed to; without it a short window is judged alone."""
    if receipt is None or opening is None:
        return None
    try:
        return open_commitment(*opening, receipt=receipt)
    except OpeningError:
        return None


def _micro(value: float) -> int:
    return AMOUNT_MAX if not math.isfinite(value) else min(AMOUNT_MAX, round(value * _MICRO))
