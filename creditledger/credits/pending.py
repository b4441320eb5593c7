"""Records that wait for the first round certified over them, and what they then do.

Source: specs/credits.md §8."""

from typing import Final

from creditledger.credits.account import SUSPENDED, account_of, change, credit_grant
from creditledger.credits.jobs import job_of
from creditledger.credits.lots import slash_lots, take_from_lot
from creditledger.credits.pool import put_in_force
from creditledger.credits.standing import restart_probation
from creditledger.credits.state import State
from creditledger.records import canonical
from creditledger.records.entry import record_from_values
from creditledger.records.parameters import Parameters
from creditledger.records.record import Record
from creditledger.records.state import account_key
from creditledger.records.transfer import Clawback, CreditLine, Grant, Slash

_PENDING: Final = b"q/"


def defer(state: State, index: int, record: Record) -> None:
    """Keep a record until a round that covers ``index`` is certified."""
    state.view.put(_PENDING + index.to_bytes(8, "big"), record.encode())


def pending_records(state: State) -> list[tuple[int, Record]]:
    """All records that wait, with their indices, in log order."""
    return [
        (int.from_bytes(key[2:], "big"), record_from_values(canonical.decode(encoded)))
        for key, encoded in state.view.scan(_PENDING)
    ]


def concerned(state: State, record: Record) -> tuple[bytes, ...]:
    """The accounts that a waiting record is about: whose credits or standing it will change."""
    match record:
        case Grant() | CreditLine():
            return (record.account,)
        case Slash():
            return (record.node,)
        case Clawback():
            return (record.node, job_of(state, record.job).client)
        case _:
            return ()


def apply_pending(
    state: State, *, log_size: int, ledger_id: bytes, slash_ends_suspension: bool = False
) -> None:
    """Put into effect, in log order, what waited at indices below ``log_size``.

    ``slash_ends_suspension``: a slashed node may work again, from the start of probation."""
    for index, record in pending_records(state):
        if index >= log_size:
            break
        _take_effect(state, record, ledger_id)
        if slash_ends_suspension and isinstance(record, Slash):
            _readmit(state, record.node)
        state.view.delete(_PENDING + index.to_bytes(8, "big"))


def _take_effect(state: State, record: Record, ledger_id: bytes) -> None:
    match record:
        case Grant():
            credit_grant(state, record.account, record.amount_micro)
        case CreditLine():
            account = account_of(state, record.account).replace(credit_line_micro=record.limit_micro)
            state.put_entry(account_key(record.account), account)
        case Slash():
            slash_lots(state, record.node, record.amount_micro)
        case Clawback():
            _claw_back(state, record)
        case Parameters():
            put_in_force(state, record, ledger_id)
        case _:
            raise AssertionError(f"{record.KIND.name} does not wait for a round")


def _claw_back(state: State, clawback: Clawback) -> None:
    """What is left of the lot, and unvested, goes to the job's client, up to the clawback's amount."""
    taken = take_from_lot(state, clawback.job, clawback.layer_start, clawback.amount_micro)
    change(state, clawback.node, unvested=-taken)
    change(state, job_of(state, clawback.job).client, spendable=taken)


def _readmit(state: State, node: bytes) -> None:
    """A quorum has decided what the failure costs: the node may work again, and is checked as a newcomer."""
    account = account_of(state, node)
    if account.suspended == SUSPENDED:
        state.put_entry(account_key(node), account.replace(suspended=0))
        restart_probation(state, node)
