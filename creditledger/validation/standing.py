"""What is known of each node and validator: others choose by it. Source: specs/validation.md §8."""

from dataclasses import dataclass

from creditledger.credits import reading
from creditledger.credits.reading import Fault
from creditledger.credits.state import StateView
from creditledger.errors import UnknownIdError
from creditledger.quantities import (
    AccountId,
    BlsPublicKey,
    Count,
    MemberIndex,
    MicroCredit,
    PartsPerMillion,
    UnixMillisecond,
)
from creditledger.records.registration import Role
from creditledger.records.state import AccountState


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeStanding:
    """One node's record with the pool."""

    node: AccountId
    name: str
    checks: Count
    upheld: Count
    refuted: Count
    inconclusive: Count
    mismatches: Count
    """Verdicts that refuted a receipt of its, since rule set 3."""
    confirmed_failures: Count
    """Receipts that two validators refuted, or for which two were shown no data."""
    rate_ppm: PartsPerMillion
    """The rate at which its next receipts are checked, in 10^-6."""
    cusum_micro: MicroCredit
    """Its running sum over checks, in 10^-6: specs/check.md §5.3."""
    is_alarmed: bool
    """Its running sum is above the alarm level: every receipt is checked."""
    is_suspended: bool
    """Two validators refuted one receipt: it gets no more work."""
    settled_micro: MicroCredit
    probation_left_micro: MicroCredit
    """Value that must still settle before its rate can fall, after a mismatch or failure too."""
    unvested_micro: MicroCredit
    """What it would lose by cheating now."""
    last_seen_unix_ms: UnixMillisecond
    """Time of its last accepted batch; 0 for none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidatorStanding:
    """One committee member's record with the pool."""

    member: MemberIndex
    bls_key: BlsPublicKey
    checks: Count
    """Verdicts it gave, on any committee it sat on, since rule set 3; so are the other counts."""
    missed: Count
    """Checks drawn for it that it let become overdue, ever."""
    outvoted: Count
    """Verdicts that two others contradicted."""
    canaries: Count
    """Opened canaries that it judged."""
    canaries_missed: Count
    """Those it upheld."""
    faults: tuple[Fault, ...]
    """What it is named for."""


def node_standing(state: StateView, node: bytes) -> NodeStanding:
    """The standing of one node. Raises UnknownIdError for any other account."""
    account = reading.account_state(state, node)
    if account is None or account.role != Role.NODE:
        raise UnknownIdError("no node is registered under this id", found=node.hex())
    return _of_account(state, account)


def all_standings(state: StateView) -> list[NodeStanding]:
    """Every node's standing, ascending by id."""
    return [
        _of_account(state, account) for account in reading.all_accounts(state) if account.role == Role.NODE
    ]


def validator_standings(state: StateView) -> list[ValidatorStanding]:
    """The standing of every member of the committee in force, in its order."""
    committee = reading.parameters_in_force(state).committee
    return [_of_member(state, index, member.bls_key) for index, member in enumerate(committee)]


def _of_member(state: StateView, index: int, bls_key: bytes) -> ValidatorStanding:
    conduct = reading.validator_conduct(state, bls_key)
    return ValidatorStanding(
        member=index,
        bls_key=bls_key,
        checks=conduct.checks,
        missed=reading.validator_missed(state, bls_key),
        outvoted=conduct.outvoted,
        canaries=conduct.canaries,
        canaries_missed=conduct.canaries_missed,
        faults=reading.validator_faults(state, bls_key),
    )


def _of_account(state: StateView, account: AccountState) -> NodeStanding:
    known = reading.node_standing(state, account.account)
    failures = reading.node_probation(state, account.account)
    probation = reading.parameters_in_force(state).probation_micro
    certain_until = max(failures.from_micro + probation, failures.certain_until_micro)
    return NodeStanding(
        node=account.account,
        name=account.name,
        checks=known.checks,
        upheld=known.upheld,
        refuted=known.refuted,
        inconclusive=known.inconclusive,
        mismatches=failures.mismatches,
        confirmed_failures=failures.confirmed,
        rate_ppm=reading.check_rate_ppm(state, account.account),
        cusum_micro=known.cusum_micro,
        is_alarmed=bool(known.alarmed),
        is_suspended=bool(account.suspended),
        settled_micro=known.settled_micro,
        probation_left_micro=max(0, certain_until - known.settled_micro),
        unvested_micro=account.unvested_micro,
        last_seen_unix_ms=known.last_seen_unix_ms,
    )
