"""The levy pool: what is taken waits there until it is paid out, and nobody gets more than the rules say.

Source: specs/credits.md §14."""

import hashlib
from typing import Final

from creditledger.credits.account import CLOSED, account_of, all_accounts, burn, change, put_empty_account
from creditledger.credits.conduct import faults_of
from creditledger.credits.pool import genesis_of, in_force, parameters_of
from creditledger.credits.rounds import RoundInfo, attestation_signatures, round_info
from creditledger.credits.standing import conduct_of, missed_checks
from creditledger.credits.state import State, StateView
from creditledger.errors import RefusedError, UnknownIdError
from creditledger.quantities import AMOUNT_MAX, MicroCredit
from creditledger.records.parameters import LevyUse, Parameters
from creditledger.records.record import Fields
from creditledger.records.registration import Role
from creditledger.records.state import AccountState, account_key
from creditledger.records.transfer import LevyShare

SHARES_MAX: Final = 1_024
"""So many fit into an entry."""
POOL_NAME: Final = "levy-pool"

_MEMBER: Final = b"M/"
_PAYEE: Final = b"F/"
_LAST: Final = b"t/levy"


class MemberLevies(Fields):
    """What an account has to do with levies, since they are returned to members."""

    taken_micro: MicroCredit = 0
    """Of its pay."""
    returned_micro: MicroCredit = 0
    vested_micro: MicroCredit = 0
    """Of its work, net of levies."""


def levy_pool_account(ledger_id: bytes) -> bytes:
    """The id of the account that levies wait in: nobody has its key. 32 bytes."""
    return hashlib.sha256(b"creditledger/v1/levy-pool\0" + ledger_id).digest()


def take_levy(state: State, payee: bytes, amount_micro: int) -> None:
    """Put the levy on a pay of ``payee``'s, which has left the payer, where the rules in force want it."""
    if in_force(state).levy_use == LevyUse.BURN:
        burn(state, amount_micro)
        return
    pool = _open_pool(state)
    change(state, pool, spendable=amount_micro)
    own = member_levies(state, payee)
    _put(state, payee, own.replace(taken_micro=_more(own.taken_micro, amount_micro)))


def count_vested(state: State, node: bytes, amount_micro: int) -> None:
    """So much more of the node's work is its own for good."""
    own = member_levies(state, node)
    _put(state, node, own.replace(vested_micro=_more(own.vested_micro, amount_micro)))


def member_levies(state: State, account: bytes) -> MemberLevies:
    """What the account has to do with levies; all zero for one without any."""
    return state.row(MemberLevies, _MEMBER + account) or MemberLevies()


def name_payee(state: State, bls_key: bytes, payee: bytes) -> None:
    """The validator's parts go to ``payee`` from now on."""
    state.view.put(_PAYEE + bls_key, payee)


def payee_of(state: State, bls_key: bytes) -> bytes | None:
    """Where the validator's parts go; None if it never said."""
    return state.view.get(_PAYEE + bls_key)


def levy_shares(view: StateView, round_number: int) -> tuple[LevyShare, ...]:
    """What a levy for this round pays now, ascending by account; nothing is paid twice.

    Raises UnknownIdError for a round that is not certified; RefusedError if levies are burned or a levy
    for this round or a later one was paid."""
    state = State(view)
    info, parameters = _round(state, round_number), in_force(state)
    if parameters.levy_use == LevyUse.BURN:
        raise RefusedError("levies are burned", expected="levy use validators or members", found="burn")
    last = last_levy_round(state)
    if round_number <= last:
        raise RefusedError("levies were paid out", expected=f"a round above {last}", found=str(round_number))
    available = _pool_micro(state)
    if parameters.levy_use == LevyUse.MEMBERS:
        parts = _of_members(state, parameters, info, available)
    else:
        parts = _of_validators(state, info, available)
    return tuple(
        LevyShare(account=account, amount_micro=part) for account, part in sorted(parts.items()) if part
    )


def pay_levy(state: State, round_number: int, shares: tuple[LevyShare, ...]) -> None:
    """Move the shares out of the pool."""
    pool = _open_pool(state)
    is_members = in_force(state).levy_use == LevyUse.MEMBERS
    for share in shares:
        change(state, pool, spendable=-share.amount_micro)
        change(state, share.account, spendable=share.amount_micro)
        if is_members:
            own = member_levies(state, share.account)
            _put(state, share.account, own.replace(returned_micro=own.returned_micro + share.amount_micro))
    state.view.put(_LAST, round_number.to_bytes(8, "big"))


def last_levy_round(state: State) -> int:
    """The round of the last levy that was paid out; 0 before the first."""
    return int.from_bytes(state.view.get(_LAST) or b"", "big")


def _of_validators(state: State, info: RoundInfo, available: int) -> dict[bytes, int]:
    """Equal parts for all seats; those of absent, faulty or nameless validators stay in the pool."""
    committee = parameters_of(state, info.round.parameters).committee
    part, parts = available // len(committee), dict[bytes, int]()
    for member in attestation_signatures(state, info.round.number):
        key = committee[member].bls_key
        payee = payee_of(state, key)
        if payee is None or account_of(state, payee).suspended == CLOSED:
            continue
        if faults_of(conduct_of(state, key), missed=missed_checks(state, key)):
            continue
        parts[payee] = parts.get(payee, 0) + part
    return parts


def _of_members(state: State, parameters: Parameters, info: RoundInfo, available: int) -> dict[bytes, int]:
    """Equal parts for all active members, each at most what was taken from it and not yet returned."""
    active = [
        account.account
        for account in all_accounts(state.view)
        if _is_active(state, account, least_micro=max(1, parameters.vesting_micro))
    ]
    if not active:
        return {}
    part = available // len(active)
    chosen = sorted(active, key=lambda account: hashlib.sha256(info.digest + account).digest())[:SHARES_MAX]
    return {account: min(part, _owed(member_levies(state, account))) for account in chosen}


def _is_active(state: State, account: AccountState, *, least_micro: int) -> bool:
    is_open_node = account.role == Role.NODE and not account.suspended
    return is_open_node and member_levies(state, account.account).vested_micro >= least_micro


def _owed(levies: MemberLevies) -> int:
    return max(0, levies.taken_micro - levies.returned_micro)


def _round(state: State, number: int) -> RoundInfo:
    info = round_info(state, number)
    if info is None or not info.is_certified:
        raise UnknownIdError("no certified round has this number", found=str(number))
    return info


def _pool_micro(state: State) -> int:
    found = state.entry(AccountState, account_key(levy_pool_account(genesis_of(state).ledger_id)))
    return 0 if found is None else found.available_micro


def _open_pool(state: State) -> bytes:
    """The pool's account, which is opened when it is first needed and has no name that anybody could take."""
    pool = levy_pool_account(genesis_of(state).ledger_id)
    if state.map_value(account_key(pool)) is None:
        put_empty_account(state, pool, Role.LEVY_POOL, POOL_NAME)
    return pool


def _put(state: State, account: bytes, levies: MemberLevies) -> None:
    state.put_row(_MEMBER + account, levies)


def _more(counted: int, amount_micro: int) -> int:
    return min(counted + amount_micro, AMOUNT_MAX)
