"""A node's record with the pool: its checks, their outcomes, what it settled, when it was last seen;
and a validator's: the checks it missed.

Source: specs/credits.md §9."""

from dataclasses import dataclass, replace
from typing import Final

from creditledger.credits.state import State
from creditledger.quantities import AMOUNT_MAX, Code, Count, MicroCredit, UnixMillisecond
from creditledger.records.record import Fields
from creditledger.records.verdict import CUSUM_STEP_BIAS, Outcome, Verdict

_STANDING: Final = b"s/"
_MISSED: Final = b"V/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing(Fields):
    """What is known of a node."""

    checks: Count = 0
    upheld: Count = 0
    refuted: Count = 0
    inconclusive: Count = 0
    cusum_micro: MicroCredit = 0
    """The running sum of CUSUM steps in 10^-6, never below 0."""
    alarmed: Code = 0
    """1 while the sum is above its alarm level: every receipt is checked."""
    last_seen_unix_ms: UnixMillisecond = 0
    """Time of the node's last accepted batch; 0 for none."""
    settled_micro: MicroCredit = 0
    """Value of all its settled work, levy included: probation and vesting count this."""


def standing_of(state: State, node: bytes) -> Standing:
    """The node's standing; all zero for one never seen."""
    return state.row(Standing, _STANDING + node) or Standing()


def put_standing(state: State, node: bytes, standing: Standing) -> None:
    """Set a node's standing."""
    state.put_row(_STANDING + node, standing)


def after_verdict(standing: Standing, verdict: Verdict) -> Standing:
    """The standing after one more check. Source: specs/credits.md §9."""
    # Imported here: only a fold that meets verdicts needs the arrays that come along.
    from creditledger.activations.cusum import cusum_next, is_cusum_alarm

    level = cusum_next(standing.cusum_micro, verdict.cusum_step_biased - CUSUM_STEP_BIAS)
    return replace(
        standing,
        checks=standing.checks + 1,
        upheld=standing.upheld + (verdict.outcome == Outcome.UPHELD),
        refuted=standing.refuted + (verdict.outcome == Outcome.REFUTED),
        inconclusive=standing.inconclusive + (verdict.outcome == Outcome.INCONCLUSIVE),
        cusum_micro=level,
        alarmed=int(is_cusum_alarm(level)),
    )


def after_settlement(standing: Standing, amount_micro: int) -> Standing:
    """The standing after work worth ``amount_micro`` was settled."""
    return replace(standing, settled_micro=min(standing.settled_micro + amount_micro, AMOUNT_MAX))


def missed_checks(state: State, bls_key: bytes) -> int:
    """How many checks the validator with this BLS key let become overdue."""
    found = state.view.get(_MISSED + bls_key)
    return 0 if found is None else int.from_bytes(found, "big")


def add_missed_checks(state: State, bls_key: bytes, count: int) -> None:
    """Hold ``count`` more overdue checks against a validator."""
    total = missed_checks(state, bls_key) + count
    state.view.put(_MISSED + bls_key, total.to_bytes(8, "big"))
