"""What a network witness answers, request by request, in HTTP's terms. Source: specs/log.md §9."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from creditledger.errors import (
    ConsistencyProofError,
    CreditLedgerError,
    IntegrityError,
    MalformedRecordError,
    SignatureError,
    StorageError,
    UnknownIdError,
)
from creditledger.ledger.clock import Clock
from creditledger.service.request_budget import RequestBudget
from creditledger.service.witness_state import LmdbWitnessState
from creditledger.transparency.checkpoint import parse_checkpoint_note
from creditledger.transparency.log_list import WatchedLog
from creditledger.transparency.note import VerifierKey
from creditledger.transparency.witness import AddCheckpoint, StaleSizeError, Witness, parse_add_checkpoint

TEXT: Final = "text/plain; charset=utf-8"
SIZE: Final = "text/x.tlog.size"
STATUS: Final[tuple[tuple[type[CreditLedgerError], int], ...]] = (
    (StaleSizeError, 409),
    (UnknownIdError, 404),
    (SignatureError, 403),
    (ConsistencyProofError, 422),
    (MalformedRecordError, 400),
    (IntegrityError, 500),
    (StorageError, 507),
    (CreditLedgerError, 503),
)
"""The first that fits. The last is for what may go better next time: busy, or overtaken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A response, without its wire."""

    status: int
    content: bytes
    media_type: str = TEXT
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Watched:
    vkeys: tuple[VerifierKey, ...]
    budget: RequestBudget


class WitnessDesk:
    """The two calls of a witness, for many threads. The rules are the `Witness`'s."""

    __slots__ = ("_clock", "_logs", "_on_failure", "_state", "_witness")

    def __init__(
        self,
        witness: Witness,
        state: LmdbWitnessState,
        logs: Iterable[WatchedLog],
        *,
        clock: Clock,
        on_failure: Callable[[CreditLedgerError], None],
    ) -> None:
        """``state`` is the witness's own. ``on_failure`` hears of a state that can be neither read nor
        written: what has failed stays failed until it is opened anew."""
        self._witness = witness
        self._state = state
        self._logs = _by_origin(logs)
        self._clock = clock
        self._on_failure = on_failure

    def add_checkpoint(self, body: bytes) -> Answer:
        """Cosign, or say in the protocol's words why not. Raises nothing of this package."""
        try:
            request = parse_add_checkpoint(body)
            return self._add(request, parse_checkpoint_note(request.note).origin)
        except CreditLedgerError as error:
            return self._refusal(error)

    def checkpoint(self, digest: bytes) -> Answer:
        """The checkpoint cosigned last for the log whose origin has this SHA-256, with both signatures."""
        try:
            note = self._state.note(digest)
            if note is None:
                raise UnknownIdError("nothing was cosigned for this log")
        except CreditLedgerError as error:
            return self._refusal(error)
        return Answer(status=200, content=note, headers={"cache-control": "no-cache"})

    def _add(self, request: AddCheckpoint, origin: str) -> Answer:
        log = self._logs.get(origin)
        if log is None:
            raise UnknownIdError("this witness does not watch that log", found=ascii(origin)[:100])
        now_unix_ms = self._clock()
        if seconds := log.budget.take(now_unix_ms):
            return refusal(429, "the log has asked often enough today", {"retry-after": str(seconds)})
        try:
            lines = self._witness.add_checkpoint(
                request.old_size,
                request.proof,
                request.note,
                log_vkeys=log.vkeys,
                origin=origin,
                now_unix_s=now_unix_ms // 1_000,
            )
        except SignatureError:
            log.budget.give_back()
            raise
        return Answer(status=200, content=lines)

    def _refusal(self, error: CreditLedgerError) -> Answer:
        status = next(status for kind, status in STATUS if isinstance(error, kind))
        if isinstance(error, StaleSizeError):
            return Answer(status=status, content=b"%d\n" % error.stored_size, media_type=SIZE)
        if status in (500, 507):
            self._on_failure(error)
        return refusal(status, str(error), {"retry-after": "1"} if status == 503 else {})


def refusal(status: int, reason: str, headers: dict[str, str]) -> Answer:
    """One line that says why."""
    return Answer(status=status, content=reason.encode("utf-8", "replace") + b"\n", headers=headers)


def _by_origin(logs: Iterable[WatchedLog]) -> dict[str, _Watched]:
    listed: dict[str, list[WatchedLog]] = {}
    for log in logs:
        listed.setdefault(log.origin, []).append(log)
    return {
        origin: _Watched(
            vkeys=tuple(log.vkey for log in same),
            budget=RequestBudget(max(log.requests_per_day for log in same)),
        )
        for origin, same in listed.items()
    }
