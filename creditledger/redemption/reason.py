"""Why an entry moved credits, and who stood on the other side: what a statement says beside the amounts.

Source: specs/redemption.md §8."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from creditledger.credits.holds import hold_of
from creditledger.credits.jobs import job_of
from creditledger.credits.pending import concerned, pending_records
from creditledger.credits.pool import tip_of
from creditledger.credits.state import MAP, State
from creditledger.quantities import ZERO_DIGEST
from creditledger.records.record import Record
from creditledger.records.round import Certificate
from creditledger.records.state import LotState, lot_key
from creditledger.records.transfer import (
    Capture,
    Clawback,
    CreditLine,
    DelegatedHold,
    Expire,
    Grant,
    Hold,
    HoldPurpose,
    Levy,
    Refund,
    Release,
    Settlement,
    Slash,
    Transfer,
)
from creditledger.redemption.movements import Movement

_LOTS: Final = MAP + lot_key(b"", 0)[:-2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """Letters, digits, spaces and ``.,_-`` only: fit for any file that lists it."""

    text: str
    about: bytes | None = None
    """The hold, job or capture that it is about: a digest, 32 bytes."""
    counterpart: bytes | None = None
    """The one account on the other side; None for the system, for nobody, and for several."""


def reason_of(movement: Movement, account: bytes | None = None) -> Reason:
    """Why ``movement`` happened, as ``account`` (32-byte id) sees it; by default without a side."""
    record = movement.entry.record
    if isinstance(record, Certificate):
        return Reason(text=", ".join(_certified(movement, account)))
    found = _of_record(movement, record)
    others = _others(movement, account)
    return replace(found, counterpart=others[0] if len(others) == 1 else None)


def _others(movement: Movement, account: bytes | None) -> list[bytes]:
    """Who else is concerned; of a settlement, for its nodes, only the client."""
    record, state = movement.entry.record, State(movement.after)
    sides = {posting.account for posting in movement.postings if posting.account is not None}
    match record:
        case Hold():
            sides.add(record.queue)
        case Release() | Expire():
            sides.add(hold_of(state, record.hold).queue)
        case Settlement():
            client = job_of(state, record.job).client
            sides = sides if account == client else {client}
    return [] if account is None else sorted(sides - {account, ZERO_DIGEST})


def _of_record(movement: Movement, record: Record) -> Reason:
    match record:
        case Hold():
            return _of_hold(movement, record)
        case Capture():
            return Reason(text=f"capture {record.gpu_ms} gpu-ms", about=record.hold)
        case Release():
            return Reason(text=f"release {record.reason}", about=record.hold)
        case Expire():
            return Reason(text="hold expired", about=record.hold)
        case Refund():
            return Reason(text=f"refund {record.reason}", about=record.capture)
        case Settlement():
            return Reason(text="settlement", about=record.job)
        case Levy():
            return Reason(text=f"levy of round {record.round}")
        case Transfer():
            return Reason(text="transfer")
        case _:
            return Reason(text=_announced(record))


def _of_hold(movement: Movement, hold: Hold) -> Reason:
    if hold.purpose is HoldPurpose.JOB:
        return Reason(text="hold for a job", about=hold.job)
    by = " by a delegate" if isinstance(hold, DelegatedHold) else ""
    text = f"hold {hold.gpus} {hold.hardware} for {hold.duration_ms} ms{by}"
    return Reason(text=text, about=movement.digest)


def _announced(record: Record) -> str:
    """What waits for a round moves nothing yet."""
    kind = record.KIND.name.lower().replace("_", "-")
    match record:
        case Grant() | Slash() | Clawback():
            return f"{kind} {record.reason} announced"
        case CreditLine():
            return f"{kind} announced"
        case _:
            return kind


def _certified(movement: Movement, account: bytes | None) -> Iterator[str]:
    """What a round brought into effect, for one account or for all: at least that it is one."""
    before, after = State(movement.before), State(movement.after)
    yield f"round {tip_of(after).certified_round}"
    waiting = {index for index, _ in pending_records(after)}
    for index, record in pending_records(before):
        if index in waiting or (account is not None and account not in concerned(before, record)):
            continue
        yield _announced(record).removesuffix(" announced")
    vested = sum(1 for _ in _vested(movement, account))
    if vested:
        yield f"{vested} lots vested"


def _vested(movement: Movement, account: bytes | None) -> Iterator[LotState]:
    for key, encoded in movement.after.changes.items():
        if encoded is None or not key.startswith(_LOTS):
            continue
        lot, was = LotState.decode(encoded), movement.before.get(key)
        if lot.vested and was is not None and account in (None, lot.node):
            yield lot


def names_account(record: Record, account: bytes) -> bool:
    """Whether a grant, credit line, slash or clawback says that it is for ``account``."""
    if isinstance(record, Grant | CreditLine):
        return record.account == account
    return isinstance(record, Slash | Clawback) and record.node == account
