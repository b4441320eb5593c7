"""Read access for edges: what a state says, without changing it. Takes any `StateView`.

Source: specs/credits.md §2."""

from collections.abc import Iterator

from creditledger.credits import account as accounts
from creditledger.credits import (
    budgets,
    canary_rules,
    closing_rules,
    confirmation,
    docket,
    holds,
    jobs,
    key_history,
    overdue,
    pool,
    rounds,
    spending,
    standing,
)
from creditledger.credits.account import Totals
from creditledger.credits.budgets import BudgetState
from creditledger.credits.canary_rules import CanaryCounts
from creditledger.credits.conduct import Fault, faults_of
from creditledger.credits.docket import MemberDuty
from creditledger.credits.jobs import JobProgress, Leg
from creditledger.credits.pool import Tip
from creditledger.credits.rounds import RoundInfo
from creditledger.credits.spending import WHOLE_ACCOUNT, DelegationState
from creditledger.credits.standing import Conduct, Probation, Standing
from creditledger.credits.state import MapNodes, State, StateView
from creditledger.credits.step import claimed_id
from creditledger.errors import RoleError, UnknownIdError
from creditledger.records.job import Job
from creditledger.records.parameters import Genesis, Parameters
from creditledger.records.state import (
    AccountState,
    HoldState,
    KeyState,
    LotState,
    ReceiptState,
    account_key,
    consumed_key,
    hold_key,
    lot_key,
    public_key_key,
    receipt_key,
)
from creditledger.records.transfer import Hold
from creditledger.transparency.sparse_merkle import SparseMerkleMap

__all__ = [
    "WHOLE_ACCOUNT",
    "BudgetState",
    "CanaryCounts",
    "Conduct",
    "DelegationState",
    "Fault",
    "JobProgress",
    "Leg",
    "MemberDuty",
    "Probation",
    "RoundInfo",
    "Standing",
    "Tip",
    "Totals",
    "account_named",
    "account_of_key",
    "account_state",
    "all_accounts",
    "awaits_validator",
    "budget_of",
    "canary_counts",
    "check_rate_ppm",
    "checks_of",
    "consumed_index",
    "delegation",
    "duties_of",
    "genesis",
    "has_overdue_checks",
    "hold_body",
    "hold_state",
    "id_digest",
    "is_listed",
    "job_body",
    "job_legs",
    "job_receipts",
    "job_status",
    "key_at",
    "key_state",
    "keys_of",
    "keys_since",
    "latest_certified_round",
    "latest_round",
    "lot_state",
    "map_proof",
    "map_root",
    "map_value",
    "member_duty",
    "members_on_duty",
    "node_probation",
    "node_standing",
    "operator_keys",
    "parameters_digest",
    "parameters_in_force",
    "parameters_with",
    "receipt_state",
    "round_numbered",
    "tip",
    "totals",
    "unsettled_jobs",
    "validator_conduct",
    "validator_faults",
    "validator_missed",
]


def account_state(view: StateView, account: bytes) -> AccountState | None:
    """The account, or None."""
    return State(view).entry(AccountState, account_key(account))


def account_named(view: StateView, name: str) -> bytes | None:
    """The id of the account registered under ``name``, or None."""
    return accounts.account_named(State(view), name)


def all_accounts(view: StateView) -> Iterator[AccountState]:
    """Every account, ascending by id."""
    return accounts.all_accounts(view)


def delegation(view: StateView, account: bytes, delegate: bytes, queue: bytes) -> DelegationState | None:
    """What ``account`` last delegated to ``delegate`` at ``queue``, revoked or expired too, or None."""
    return spending.delegation_of(State(view), account, delegate, queue)


def budget_of(view: StateView, account: bytes, delegate: bytes = WHOLE_ACCOUNT) -> BudgetState | None:
    """The budget of an account, or of one delegate of it, or None."""
    return budgets.budget_of(State(view), account, delegate)


def is_listed(view: StateView, account: bytes) -> bool:
    """Whether leaderboards may name the account."""
    return closing_rules.is_listed(State(view), account)


def hold_state(view: StateView, hold: bytes) -> HoldState | None:
    """The hold with this record digest, or None."""
    return State(view).entry(HoldState, hold_key(hold))


def hold_body(view: StateView, hold: bytes) -> Hold | None:
    """The hold record with this digest, or None."""
    try:
        return holds.hold_of(State(view), hold)
    except UnknownIdError:
        return None


def receipt_state(view: StateView, receipt: bytes) -> ReceiptState | None:
    """The receipt with this record digest, or None."""
    return State(view).entry(ReceiptState, receipt_key(receipt))


def key_state(view: StateView, key: bytes) -> KeyState | None:
    """For which account a public key speaks, or None."""
    return State(view).entry(KeyState, public_key_key(key))


def operator_keys(view: StateView) -> list[tuple[int, bytes]]:
    """(first index, public key) of every key the operator ever signed with, oldest first.

    Raises UnknownIdError before entry 0."""
    state = State(view)
    return key_history.keys_of(state, pool.operator_account(state))


def keys_of(view: StateView, account: bytes) -> list[tuple[int, bytes]]:
    """(first index, public key) of every key that ever signed for an account, oldest first."""
    return key_history.keys_of(State(view), account)


def key_at(view: StateView, account: bytes, index: int) -> bytes:
    """The public key that signs, or signed, entry ``index`` for an account."""
    return key_history.key_at(State(view), account, index)


def keys_since(view: StateView, account: bytes, index: int) -> list[bytes]:
    """The public keys that signed for an account at entry ``index`` or later, oldest first."""
    keys = keys_of(view, account)
    ends = [first for first, _ in keys[1:]]
    return [key for (_, key), end in zip(keys, [*ends, index + 1], strict=True) if end > index]


def account_of_key(view: StateView, key: bytes) -> bytes:
    """The account that ``key`` signs for: ``key`` itself where it is not registered (yet).

    Raises RoleError for a key that was retired."""
    found = key_state(view, key)
    if found is None:
        return key
    if found.until_index:
        raise RoleError(
            "the key was retired by a rotation",
            expected=key_history.key_in_force(State(view), found.account).hex(),
            found=f"{key.hex()} until entry {found.until_index}",
        )
    return found.account


def lot_state(view: StateView, job: bytes, layer_start: int) -> LotState | None:
    """What a settlement paid for one span of a job, or None."""
    return State(view).entry(LotState, lot_key(job, layer_start))


def consumed_index(view: StateView, digest: bytes) -> int | None:
    """The index of the entry that brought the record or receipt with this digest, or None."""
    found = State(view).map_value(consumed_key(digest))
    return None if found is None else int.from_bytes(found, "big")


def id_digest(view: StateView, signer: bytes, client_id: bytes) -> bytes | None:
    """The digest of the record that ``signer`` logged under this 16-byte id, or None."""
    return claimed_id(State(view), signer, client_id)


def job_body(view: StateView, job: bytes) -> Job | None:
    """The job record with this digest, or None."""
    try:
        return jobs.job_of(State(view), job)
    except UnknownIdError:
        return None


def job_status(view: StateView, job: bytes) -> JobProgress | None:
    """What has become of the job (`status` is a `credits.jobs.JobStatus`), or None."""
    try:
        return jobs.progress_of(State(view), job)
    except UnknownIdError:
        return None


def job_legs(view: StateView, job: bytes) -> tuple[Leg, ...]:
    """How far each span of the job's plan has come, in plan order; empty for an unknown job."""
    body = job_body(view, job)
    if body is None:
        return ()
    return tuple(jobs.leg_of(State(view), job, span) for span in body.plan)


def job_receipts(view: StateView, job: bytes, layer_start: int) -> list[tuple[int, bytes]]:
    """(window start, receipt digest) of one span of a job, ascending."""
    return jobs.receipts_of_leg(State(view), job, layer_start)


def unsettled_jobs(view: StateView) -> list[bytes]:
    """Digests of the jobs under an open hold, the first to expire first."""
    return jobs.unsettled_jobs(State(view))


def node_standing(view: StateView, node: bytes) -> Standing:
    """A node's standing; all zero for one never seen."""
    return standing.standing_of(State(view), node)


def check_rate_ppm(view: StateView, node: bytes) -> int:
    """The rate at which a node's receipts are drawn under the parameters in force."""
    return standing.node_rate_ppm(State(view), parameters_in_force(view), node)


def totals(view: StateView) -> Totals:
    """The sums over all accounts."""
    return accounts.totals_of(State(view))


def tip(view: StateView) -> Tip:
    """Entries folded, the last one's time, the latest round and certified round."""
    return pool.tip_of(State(view))


def genesis(view: StateView) -> Genesis:
    """The ledger's genesis. Raises UnknownIdError before entry 0."""
    return pool.genesis_of(State(view))


def parameters_in_force(view: StateView) -> Parameters:
    """The parameters in force. Raises UnknownIdError before entry 0."""
    return pool.in_force(State(view))


def parameters_digest(view: StateView) -> bytes:
    """The digest of the parameters in force. Raises UnknownIdError before entry 0."""
    return pool.in_force_digest(State(view))


def parameters_with(view: StateView, digest: bytes) -> Parameters | None:
    """The parameters with this digest, if they are or were in force."""
    try:
        return pool.parameters_of(State(view), digest)
    except UnknownIdError:
        return None


def latest_round(view: StateView) -> RoundInfo | None:
    """The round logged last: its record, digest, index, and certificate index (0 for none)."""
    return rounds.latest_round(State(view))


def latest_certified_round(view: StateView) -> RoundInfo | None:
    """The certified round with the highest number, or None."""
    return rounds.latest_certified_round(State(view))


def round_numbered(view: StateView, number: int) -> RoundInfo | None:
    """The round with this number, or None."""
    return rounds.round_info(State(view), number)


def duties_of(view: StateView, member: int, round_number: int) -> list[bytes]:
    """The receipts that a member must check for a certified round, ascending by digest."""
    return docket.duties_of(State(view), round_number, member)


def member_duty(view: StateView, member: int, round_number: int) -> MemberDuty | None:
    """How far a member has come with a round; None if nothing was drawn for it."""
    return docket.member_duty(State(view), round_number, member)


def members_on_duty(view: StateView, round_number: int) -> dict[int, MemberDuty]:
    """All members with duties in a round, by member index."""
    return docket.members_on_duty(State(view), round_number)


def checks_of(view: StateView, receipt: bytes) -> list[tuple[int, int]]:
    """(round, member) of every duty to check a receipt, ascending, those that passed on included."""
    return docket.drawn_for(State(view), receipt)


def awaits_validator(view: StateView, receipt: bytes) -> bool:
    """Whether the next certified round may draw another validator for a receipt."""
    return confirmation.is_awaited(State(view), receipt)


def has_overdue_checks(view: StateView, now_unix_ms: int) -> bool:
    """Whether a round certified now would pass checks on."""
    return bool(overdue.overdue_rounds(State(view), now_unix_ms))


def node_probation(view: StateView, node: bytes) -> Probation:
    """What mismatches cost a node; all zero for one that had none."""
    return standing.probation_of(State(view), node)


def validator_conduct(view: StateView, bls_key: bytes) -> Conduct:
    """What is known of the validator with this BLS key, beside the checks it missed."""
    return standing.conduct_of(State(view), bls_key)


def validator_faults(view: StateView, bls_key: bytes) -> tuple[Fault, ...]:
    """What the validator with this BLS key is named for."""
    return faults_of(validator_conduct(view, bls_key), missed=validator_missed(view, bls_key))


def canary_counts(view: StateView) -> CanaryCounts:
    """How many canaries were committed to and opened."""
    return canary_rules.canary_counts(State(view))


def validator_missed(view: StateView, bls_key: bytes) -> int:
    """How many checks the validator with this BLS key let become overdue."""
    return standing.missed_checks(State(view), bls_key)


def map_root(view: StateView) -> bytes:
    """The root of the map at the last round logged."""
    return State(view).map_root


def map_value(view: StateView, root: bytes, key: bytes) -> bytes | None:
    """What the map with ``root``, this one or an older, gives for a map key."""
    return SparseMerkleMap(MapNodes(view)).value(root, key)


def map_proof(view: StateView, root: bytes, key: bytes) -> bytes:
    """A proof of that value, or of its absence, for `sparse_merkle.verify_map_proof`."""
    return SparseMerkleMap(MapNodes(view)).prove(root, key)
