"""Lots: what settlements paid, unvested at first, and when each becomes final.

Source: specs/credits.md §10."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

from creditledger.credits.account import account_of, burn, change
from creditledger.credits.pool import tip_of
from creditledger.credits.standing import standing_of
from creditledger.credits.state import State, decode_row
from creditledger.quantities import AccountId, MicroCredit, RoundNumber, UnixMillisecond
from creditledger.records.parameters import Parameters
from creditledger.records.record import Fields
from creditledger.records.state import LotState, lot_key

_UNVESTED: Final = b"o/"
CountVested: TypeAlias = Callable[[State, bytes, int], None]
"""Told a node and how much of its became final."""


class UnvestedLot(Fields):
    """What decides when a lot vests."""

    node: AccountId
    settled_round: RoundNumber
    settled_unix_ms: UnixMillisecond
    settled_micro: MicroCredit
    """The node's settled value once this lot was settled."""


def add_lot(state: State, lot: LotState, *, settled_micro: int) -> None:
    """Keep a new lot. ``settled_micro``: the node's settled value, this lot included."""
    state.put_entry(lot_key(lot.job, lot.layer_start), lot)
    state.put_row(
        _unvested_key(lot),
        UnvestedLot(
            node=lot.node,
            settled_round=lot.settled_round,
            settled_unix_ms=lot.settled_unix_ms,
            settled_micro=settled_micro,
        ),
    )


def vest_lots(
    state: State,
    parameters: Parameters,
    *,
    round_number: int,
    now_unix_ms: int,
    count: CountVested | None = None,
) -> None:
    """Make final every lot that is due when a round is certified. Source: specs/credits.md §10.

    ``count``: is told each lot's node and amount."""
    for key, row in _unvested(state, until_round=round_number - parameters.vesting_rounds):
        is_due = is_vesting_due(
            parameters,
            lot_settled_micro=row.settled_micro,
            lot_settled_round=row.settled_round,
            lot_settled_unix_ms=row.settled_unix_ms,
            node_settled_micro=standing_of(state, row.node).settled_micro,
            round_number=round_number,
            now_unix_ms=now_unix_ms,
        )
        if not is_due or account_of(state, row.node).suspended:
            continue
        lot = _lot(state, key)
        change(state, lot.node, unvested=-lot.amount_micro, spendable=lot.amount_micro)
        state.put_entry(lot_key(lot.job, lot.layer_start), lot.replace(vested=1))
        state.view.delete(key)
        if count is not None:
            count(state, lot.node, lot.amount_micro)


def is_vesting_due(
    parameters: Parameters,
    *,
    lot_settled_micro: int,
    lot_settled_round: int,
    lot_settled_unix_ms: int,
    node_settled_micro: int,
    round_number: int,
    now_unix_ms: int,
) -> bool:
    """Whether rounds, time and later value enough have passed since a lot was settled, for a node that is not
    suspended. ``lot_settled_micro``: the node's settled value then. Source: specs/credits.md §10."""
    return (
        round_number >= lot_settled_round + parameters.vesting_rounds
        and now_unix_ms >= lot_settled_unix_ms + parameters.vesting_ms
        and node_settled_micro - lot_settled_micro >= parameters.vesting_micro
    )


def slash_lots(state: State, node: bytes, amount_micro: int) -> int:
    """Burn up to ``amount_micro`` of a node's unvested credits, the newest lots first; how much it was."""
    left = min(amount_micro, account_of(state, node).unvested_micro)
    burned = left
    for key, row in reversed(_unvested(state)):
        if row.node == node and left:
            left -= _take(state, _lot(state, key), left)
    change(state, node, unvested=-burned)
    burn(state, burned)
    return burned


def take_from_lot(state: State, job: bytes, layer_start: int, amount_micro: int) -> int:
    """Lessen a lot that is not vested by up to ``amount_micro``; by how much it was."""
    lot = state.entry(LotState, lot_key(job, layer_start))
    return 0 if lot is None or lot.vested else _take(state, lot, amount_micro)


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingLot:
    """A lot that is not vested, and what must still come: nothing left means the next certified round."""

    lot: LotState
    rounds_left: int
    """Certified rounds before the one that may vest it."""
    from_unix_ms: UnixMillisecond
    """No round certified earlier vests it."""
    value_left_micro: MicroCredit
    """Of the node's later work that must settle first."""


def waiting_lots_of(state: State, parameters: Parameters, node: bytes) -> list[WaitingLot]:
    """The unvested lots of a node, the oldest first, under these parameters.

    Reads every unvested lot of the pool. Source: specs/credits.md §10."""
    return [
        _waiting(state, parameters, _lot(state, key), row)
        for key, row in _unvested(state)
        if row.node == node
    ]


def _waiting(state: State, parameters: Parameters, lot: LotState, row: UnvestedLot) -> WaitingLot:
    next_round = tip_of(state).certified_round + 1
    later = standing_of(state, row.node).settled_micro - row.settled_micro
    return WaitingLot(
        lot=lot,
        rounds_left=max(0, row.settled_round + parameters.vesting_rounds - next_round),
        from_unix_ms=row.settled_unix_ms + parameters.vesting_ms,
        value_left_micro=max(0, parameters.vesting_micro - later),
    )


def _take(state: State, lot: LotState, amount_micro: int) -> int:
    taken = min(amount_micro, lot.amount_micro)
    state.put_entry(lot_key(lot.job, lot.layer_start), lot.replace(amount_micro=lot.amount_micro - taken))
    if taken == lot.amount_micro:
        state.view.delete(_unvested_key(lot))
    return taken


def _unvested(state: State, *, until_round: int | None = None) -> list[tuple[bytes, UnvestedLot]]:
    """Keys and rows of the unvested lots settled in ``until_round`` or before, the oldest first."""
    found: list[tuple[bytes, UnvestedLot]] = []
    for key, encoded in state.view.scan(_UNVESTED):
        if until_round is not None and int.from_bytes(key[2:10], "big") > until_round:
            break
        found.append((key, decode_row(UnvestedLot, encoded)))
    return found


def _lot(state: State, unvested_key: bytes) -> LotState:
    found = state.entry(LotState, lot_key(unvested_key[10:42], int.from_bytes(unvested_key[42:], "big")))
    if found is None:
        raise AssertionError("an unvested lot has no state")
    return found


def _unvested_key(lot: LotState) -> bytes:
    return _UNVESTED + lot.settled_round.to_bytes(8, "big") + lot.job + lot.layer_start.to_bytes(2, "big")
