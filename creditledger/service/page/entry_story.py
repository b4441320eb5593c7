"""What an entry says, in a few words: who did what, and about how much. Source: specs/service.md §9."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from creditledger.credits import reading
from creditledger.credits.state import StateView
from creditledger.quantities import AccountId, MicroCredit
from creditledger.records.kinds import Kind
from creditledger.records.record import Record
from creditledger.records.registration import Role
from creditledger.service.page.recent_log import Logged
from creditledger.service.page.wording import counted, grouped, handle


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """One entry, told."""

    index: int
    time_unix_ms: int
    what: str
    who: "Who | None"
    """Whose account it is about."""
    by: str
    """Who speaks where it is about no account."""
    amount_micro: MicroCredit | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Who:
    """An account as the page links to it."""

    account: AccountId
    name: str
    path: str


_WORDS: Final[dict[Kind, Callable[[Any], str]]] = {
    Kind.GENESIS: lambda record: "founded the ledger",
    Kind.PARAMETERS: lambda record: f"rules changed, number {record.sequence}",
    Kind.REGISTRATION: lambda record: f"registered as {Role(record.role).name.lower()}",
    Kind.ROTATION: lambda record: "changed its key",
    Kind.DELEGATION: lambda record: "let another key spend" if record.cap_micro else "ended a delegation",
    Kind.BUDGET: lambda record: "set a budget",
    Kind.CLOSING: lambda record: "closed its account",
    Kind.LISTING: lambda record: "may be listed" if record.listed else "asked not to be listed",
    Kind.JOB: lambda record: f"ordered work over {counted(len(record.plan), 'span')}",
    Kind.BATCH: lambda record: f"logged {counted(record.count, 'receipt')}",
    Kind.DELIVERY: lambda record: "countersigned and closed a job" if record.closes else "countersigned",
    Kind.ROUND: lambda record: f"round {grouped(record.number)} over {grouped(record.log_size)} entries",
    Kind.ATTESTATION: lambda record: "signed a round",
    Kind.CERTIFICATE: lambda record: "certified a round",
    Kind.COMMIT: lambda record: f"committed to {counted(record.count, 'verdict')}",
    Kind.REVEAL: lambda record: f"showed {counted(record.count, 'verdict')}",
    Kind.CANARY: lambda record: "canary opened",
    Kind.CANARY_COMMIT: lambda record: "canary committed to",
    Kind.GRANT: lambda record: f"granted: {record.reason}",
    Kind.CREDIT_LINE: lambda record: "credit line set",
    Kind.TRANSFER: lambda record: "transferred credits",
    Kind.HOLD: lambda record: "held credits",
    Kind.DELEGATED_HOLD: lambda record: "held credits by a delegate",
    Kind.CAPTURE: lambda record: "captured what a job used",
    Kind.RELEASE: lambda record: f"released a hold: {record.reason}",
    Kind.EXPIRE: lambda record: "hold expired",
    Kind.REFUND: lambda record: f"refunded: {record.reason}",
    Kind.SLASH: lambda record: f"slashed: {record.reason}",
    Kind.CLAWBACK: lambda record: f"clawed back: {record.reason}",
    Kind.LEVY: lambda record: "levies paid out",
    Kind.LEVY_PAYEE: lambda record: "named who gets its levies",
    Kind.SETTLEMENT: lambda record: f"job settled, {counted(len(record.payments), 'span')} paid",
}
_ACTORS: Final = ("node", "client", "account", "holder", "queue", "payer", "payee")
"""Fields that name whom an entry is about, the first that a record has counts."""
_PATHS: Final = {Role.NODE: "/nodes/", Role.QUEUE: "/queues/"}


def told(state: StateView, logged: Logged) -> Told:
    """``logged`` in words; names are those of ``state``."""
    record = logged.record
    account = next((getattr(record, name) for name in _ACTORS if hasattr(record, name)), None)
    return Told(
        index=logged.index,
        time_unix_ms=logged.time_unix_ms,
        what=_WORDS[record.KIND](record),
        who=None if account is None else who_is(state, account),
        by=_speaker(record),
        amount_micro=_amount(record),
    )


def who_is(state: StateView, account: bytes) -> Who | None:
    """The account, if it is registered."""
    found = reading.account_state(state, account)
    if found is None:
        return None
    path = _PATHS.get(Role(found.role), "/accounts/")
    return Who(account=account, name=found.name, path=path + handle(found.name, account))


def _speaker(record: Record) -> str:
    if record.KIND == Kind.CERTIFICATE:
        return "a quorum"
    if record.KIND == Kind.LEVY_PAYEE:
        return "a validator"
    member: int | None = getattr(record, "member", None)
    return "operator" if member is None else f"validator {member}"


def _amount(record: Record) -> int | None:
    if record.KIND == Kind.SETTLEMENT:
        return sum(payment.amount_micro for payment in record.payments)  # type: ignore[attr-defined]
    amount: int | None = getattr(record, "amount_micro", None)
    return amount
