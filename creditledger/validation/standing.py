"""What is known of each node and validator: others choose by it. Source: specs/validation.md §8."""

from dataclasses import dataclass

from creditledger.credits import reading
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
    rate_ppm: PartsPerMillion
    """The rate at which its next receipts are checked, in 10^-6."""
    is_alarmed: bool
    """Its running sum is above the alarm level: every receipt is checked."""
    is_suspended: bool
    """Two validators refuted one receipt: it gets no more work."""
    settled_micro: MicroCredit
    probation_left_micro: MicroCredit
    """Value that must still settle before its rate can fall."""
    unvested_micro: MicroCredit
    """What it would lose by cheating now."""
    last_seen_unix_ms: UnixMillisecond
    """Time of its last accepted batch; 0 for none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidatorStanding:
    """One committee member's record with the pool."""

    member: MemberIndex
    bls_key: BlsPublicKey
    missed: Count
    """Checks drawn for it that it let become overdue, on any committee it sat on."""


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
    return [
        ValidatorStanding(
            member=index,
            bls_key=member.bls_key,
            missed=reading.validator_missed(state, member.bls_key),
        )
        for index, member in enumerate(committee)
    ]


def _of_account(state: StateView, account: AccountState) -> NodeStanding:
    known = reading.node_standing(state, account.account)
    probation = reading.parameters_in_force(state).probation_micro
    return NodeStanding(
        node=account.account,
        name=account.name,
        checks=known.checks,
        upheld=known.upheld,
        refuted=known.refuted,
        inconclusive=known.inconclusive,
        rate_ppm=reading.check_rate_ppm(state, account.account),
        is_alarmed=bool(known.alarmed),
        is_suspended=bool(account.suspended),
        settled_micro=known.settled_micro,
        probation_left_micro=max(0, probation - known.settled_micro),
        unvested_micro=account.unvested_micro,
        last_seen_unix_ms=known.last_seen_unix_ms,
    )
