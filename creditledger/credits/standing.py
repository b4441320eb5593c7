"""A node's record with the pool: its checks, their outcomes, what it settled, when it was last seen;
and a validator's: the checks it did, missed, and got wrong.

Source: specs/credits.md §9."""

from typing import Final

from creditledger.credits.duty import rate_ppm
from creditledger.credits.state import State
from creditledger.quantities import AMOUNT_MAX, Code, Count, MicroCredit, UnixMillisecond
from creditledger.records.parameters import Parameters
from creditledger.records.record import Fields
from creditledger.records.verdict import CUSUM_STEP_BIAS, Outcome, Verdict

_STANDING: Final = b"s/"
_PROBATION: Final = b"N/"
_MISSED: Final = b"V/"
_CONDUCT: Final = b"O/"


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


class Probation(Fields):
    """What mismatches cost a node: all its receipts are checked for a while, or from the start again."""

    mismatches: Count = 0
    """Verdicts that refuted a receipt of its."""
    confirmed: Count = 0
    """Receipts that two validators refuted, or for which two were shown no data."""
    certain_until_micro: MicroCredit = 0
    """Settled value up to which every receipt is checked, for a mismatch."""
    from_micro: MicroCredit = 0
    """Settled value at which its probation began: 0, or what it was at the last confirmed failure."""


class Conduct(Fields):
    """What is known of a validator beside the checks it missed."""

    checks: Count = 0
    """Verdicts it gave."""
    outvoted: Count = 0
    """Those that two other validators contradicted."""
    canaries: Count = 0
    """Canaries among them that were opened."""
    canaries_missed: Count = 0
    """Canaries it upheld."""


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
    return standing.replace(
        checks=standing.checks + 1,
        upheld=standing.upheld + (verdict.outcome == Outcome.UPHELD),
        refuted=standing.refuted + (verdict.outcome == Outcome.REFUTED),
        inconclusive=standing.inconclusive + (verdict.outcome == Outcome.INCONCLUSIVE),
        cusum_micro=level,
        alarmed=int(is_cusum_alarm(level)),
    )


def after_settlement(standing: Standing, amount_micro: int) -> Standing:
    """The standing after work worth ``amount_micro`` was settled."""
    return standing.replace(settled_micro=settled_after(standing.settled_micro, amount_micro))


def settled_after(settled_micro: int, amount_micro: int) -> int:
    """A node's settled value after ``amount_micro`` more: it stops at the largest amount."""
    return min(settled_micro + amount_micro, AMOUNT_MAX)


def probation_of(state: State, node: bytes) -> Probation:
    """What mismatches cost the node; all zero for one that had none."""
    return state.row(Probation, _PROBATION + node) or Probation()


def put_probation(state: State, node: bytes, probation: Probation) -> None:
    """Set what mismatches cost a node."""
    state.put_row(_PROBATION + node, probation)


def restart_probation(state: State, node: bytes) -> None:
    """From now on the node is checked like one that settled nothing yet."""
    settled = standing_of(state, node).settled_micro
    put_probation(state, node, probation_of(state, node).replace(from_micro=settled))


def conduct_of(state: State, bls_key: bytes) -> Conduct:
    """What is known of the validator with this BLS key."""
    return state.row(Conduct, _CONDUCT + bls_key) or Conduct()


def put_conduct(state: State, bls_key: bytes, conduct: Conduct) -> None:
    """Set what is known of a validator."""
    state.put_row(_CONDUCT + bls_key, conduct)


def node_rate_ppm(state: State, parameters: Parameters, node: bytes, *, value_micro: int = 0) -> int:
    """The rate, in 10^-6, at which a receipt of the node's is checked. Source: specs/credits.md §7."""
    standing, probation = standing_of(state, node), probation_of(state, node)
    return rate_ppm(
        parameters,
        settled_micro=standing.settled_micro,
        is_alarmed=bool(standing.alarmed),
        value_micro=value_micro,
        certain_until_micro=probation.certain_until_micro,
        probation_from_micro=probation.from_micro,
    )


def missed_checks(state: State, bls_key: bytes) -> int:
    """How many checks the validator with this BLS key let become overdue."""
    found = state.view.get(_MISSED + bls_key)
    return 0 if found is None else int.from_bytes(found, "big")


def add_missed_checks(state: State, bls_key: bytes, count: int) -> None:
    """Hold ``count`` more overdue checks against a validator."""
    total = missed_checks(state, bls_key) + count
    state.view.put(_MISSED + bls_key, total.to_bytes(8, "big"))
