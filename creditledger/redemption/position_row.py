"""Where an account stands, as JSON has it. Source: specs/cli.md §6."""

from collections.abc import Sequence
from typing import Any

from creditledger.credits import reading
from creditledger.credits.account import CLOSED, SUSPENDED
from creditledger.credits.lots import WaitingLot
from creditledger.credits.spending import WHOLE_ACCOUNT
from creditledger.credits.state import StateView
from creditledger.quantities import ZERO_DIGEST
from creditledger.records.registration import Role
from creditledger.records.state import AccountState, HoldStatus, account_key
from creditledger.records.transfer import DelegatedHold
from creditledger.redemption.amount import format_gpu_hours
from creditledger.redemption.notice import Notice
from creditledger.redemption.position import OpenHold, Position


def position_row(position: Position) -> dict[str, Any]:
    """What an account has, as specs/cli.md §6 lists it."""
    state = position.account
    return {
        **_balance(state),
        "balance_micro": position.balance_micro,
        "spendable_micro": position.spendable_micro,
        "gpu_hours": _gpu_hours(position),
        "holds": [hold_row(hold) for hold in position.holds],
        "lots": [_lot_row(lot, state) for lot in position.lots],
        "budgets": [
            {
                "delegate": _delegate(use.budget.delegate),
                "limit_micro": use.budget.limit_micro,
                "days": use.budget.days,
                "notice_micro": use.budget.notice_micro,
                "spent_micro": use.spent_micro,
                "left_micro": use.left_micro,
            }
            for use in position.budgets
        ],
        "delegations": [
            {
                "delegate": row.delegate,
                "queue": row.queue,
                "cap_micro": row.cap_micro,
                "used_micro": row.used_micro,
                "until_unix_ms": row.until_unix_ms,
            }
            for row in position.delegations
        ],
        "notices": notice_rows(position.notices),
    }


def _balance(state: AccountState) -> dict[str, Any]:
    return {
        "account": state.account,
        "name": state.name,
        "role": Role(state.role).name.lower().replace("_", "-"),
        "available_micro": state.available_micro,
        "overdrawn_micro": state.overdrawn_micro,
        "held_micro": state.held_micro,
        "unvested_micro": state.unvested_micro,
        "credit_line_micro": state.credit_line_micro,
        "verified_micro": state.verified_micro,
        "metered_micro": state.metered_micro,
        "suspended": state.suspended == SUSPENDED,
        "closed": state.suspended == CLOSED,
    }


def _gpu_hours(position: Position) -> dict[str, str]:
    return {name: format_gpu_hours(micro) for name, micro in parts_of(position).items()}


def parts_of(position: Position) -> dict[str, int]:
    """What it has of each kind, in micro-reading."""
    return {
        "balance": position.balance_micro,
        "held": position.account.held_micro,
        "unvested": position.account.unvested_micro,
        "available": position.spendable_micro,
    }


def certified_row(state: StateView, account: AccountState) -> dict[str, Any]:
    """As of which entry this is, and whether the latest certified round says the same."""
    info = reading.latest_certified_round(state)
    certified = None
    if info is not None:
        certified = reading.map_value(state, info.round.map_root, account_key(account.account))
    return {
        "size": reading.tip(state).size,
        "round": None if info is None else info.round.number,
        "round_size": None if info is None else info.round.log_size,
        "certified": certified == account.encode(),
    }


def hold_row(hold: OpenHold) -> dict[str, Any]:
    """One open hold, as specs/cli.md §6 lists it."""
    state, body = hold.state, hold.body
    return {
        "hold": state.hold,
        "job": None if state.job == ZERO_DIGEST else state.job,
        "queue": None if state.queue == ZERO_DIGEST else state.queue,
        "class": body.hardware,
        "gpus": body.gpus,
        "duration_ms": body.duration_ms,
        "amount_micro": state.amount_micro,
        "captured_micro": state.captured_micro,
        "held_micro": hold.held_micro,
        "status": HoldStatus(state.status).name.lower(),
        "expires_unix_ms": state.expires_unix_ms,
        "delegate": body.delegate if isinstance(body, DelegatedHold) else None,
    }


def _lot_row(waiting: WaitingLot, account: AccountState) -> dict[str, Any]:
    return {
        "job": waiting.lot.job,
        "layer_start": waiting.lot.layer_start,
        "amount_micro": waiting.lot.amount_micro,
        "settled_round": waiting.lot.settled_round,
        "settled_unix_ms": waiting.lot.settled_unix_ms,
        "rounds_left": waiting.rounds_left,
        "vests_from_unix_ms": waiting.from_unix_ms,
        "value_left_micro": waiting.value_left_micro,
        "suspended": bool(account.suspended),
    }


def notice_rows(notices: Sequence[Notice]) -> list[dict[str, Any]]:
    """What runs low, as every verb answers it."""
    return [
        {
            "notice": notice.shortage.value,
            "delegate": _delegate(notice.delegate),
            "left_micro": notice.left_micro,
            "below_micro": notice.below_micro,
        }
        for notice in notices
    ]


def _delegate(delegate: bytes) -> bytes | None:
    """A budget's delegate; None where it is the whole account's."""
    return None if delegate == WHOLE_ACCOUNT else delegate
