"""Queues: what is held for them, and what ran there. Source: specs/service.md §9."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

from creditledger.credits import reading
from creditledger.credits.holds import hold_of, live_holds_until
from creditledger.credits.state import State, StateView
from creditledger.quantities import AMOUNT_MAX, ZERO_DIGEST, AccountId, MicroCredit
from creditledger.records.record import Record
from creditledger.records.registration import Role
from creditledger.records.state import AccountState, HoldState, hold_key
from creditledger.records.transfer import Capture, Hold, Refund, Release
from creditledger.redemption.position import OpenHold
from creditledger.service.page.entry_story import Who, who_is
from creditledger.service.page.recent_log import Logged

JOBS_MAX: Final = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueRow:
    """One queue, and the holds that name it, the first to expire first."""

    account: AccountState
    holds: tuple[OpenHold, ...]

    @property
    def held_micro(self) -> int:
        """What is set aside for it."""
        return sum(hold.held_micro for hold in self.holds)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassRow:
    """A hardware class: its price, and what is held at one queue for it."""

    name: str
    micro_per_gpu_second: MicroCredit | None
    """None for one that is no longer listed."""
    holds: int
    gpus: int
    held_micro: MicroCredit


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRow:
    """Something that a queue told the log about a job."""

    index: int
    time_unix_ms: int
    what: str
    """captured, released or refunded."""
    reason: str
    holder: Who | None
    hardware: str
    gpus: int
    gpu_ms: int | None
    amount_micro: MicroCredit | None


def queue_rows(state: StateView) -> list[QueueRow]:
    """Every queue, by name. Reads every open hold of the pool once."""
    held: dict[bytes, list[OpenHold]] = {}
    fold = State(state)
    for digest in live_holds_until(fold, AMOUNT_MAX):
        found = fold.entry(HoldState, hold_key(digest))
        if found is not None and found.queue != ZERO_DIGEST:
            held.setdefault(found.queue, []).append(OpenHold(state=found, body=hold_of(fold, digest)))
    queues = [account for account in reading.all_accounts(state) if account.role == Role.QUEUE]
    rows = [QueueRow(account=queue, holds=tuple(held.get(queue.account, ()))) for queue in queues]
    return sorted(rows, key=lambda row: row.account.name)


def class_rows(state: StateView, queue: QueueRow) -> list[ClassRow]:
    """Every class that has a price or a hold, by name."""
    prices = {price.name: price.micro_per_gpu_second for price in reading.parameters_in_force(state).hardware}
    names = sorted({*prices, *(hold.body.hardware for hold in queue.holds)})
    rows = []
    for name in names:
        holds = [hold for hold in queue.holds if hold.body.hardware == name]
        rows.append(
            ClassRow(
                name=name,
                micro_per_gpu_second=prices.get(name),
                holds=len(holds),
                gpus=sum(hold.body.gpus for hold in holds),
                held_micro=sum(hold.held_micro for hold in holds),
            )
        )
    return rows


def job_rows(state: StateView, queue: AccountId, entries: Sequence[Logged]) -> list[JobRow]:
    """The newest of what ``entries``, the newest first, say that ``queue`` ran or ended."""
    return list(islice(_jobs(state, queue, entries), JOBS_MAX))


def _jobs(state: StateView, queue: bytes, entries: Sequence[Logged]) -> Iterator[JobRow]:
    for logged in entries:
        record = logged.record
        if not isinstance(record, Capture | Release | Refund) or record.queue != queue:
            continue
        hold = _hold(state, record)
        yield JobRow(
            index=logged.index,
            time_unix_ms=logged.time_unix_ms,
            what={Capture: "captured", Release: "released", Refund: "refunded"}[type(record)],
            reason="" if isinstance(record, Capture) else record.reason,
            holder=None if hold is None else who_is(state, hold.holder),
            hardware="" if hold is None else hold.hardware,
            gpus=0 if hold is None else hold.gpus,
            gpu_ms=record.gpu_ms if isinstance(record, Capture) else None,
            amount_micro=None if isinstance(record, Release) else record.amount_micro,
        )


def _hold(state: StateView, record: Record) -> Hold | None:
    return reading.hold_body(state, record.hold) if isinstance(record, Capture | Release) else None


def queue_of(rows: Sequence[QueueRow], account: AccountId) -> QueueRow | None:
    """The row of one queue."""
    return next((row for row in rows if row.account.account == account), None)
