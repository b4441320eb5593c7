"""Holds: credits set aside, each until it ends exactly once. Source: specs/credits.md §5."""

from typing import Final

from creditledger.credits.spending import give_back
from creditledger.credits.state import State
from creditledger.errors import HoldClosedError, UnknownIdError
from creditledger.quantities import AMOUNT_MAX
from creditledger.records.state import HoldState, HoldStatus, hold_key
from creditledger.records.transfer import Hold, decode_hold

_HOLD: Final = b"h/"
_ENDING: Final = b"e/"

_ENDED: Final = (HoldStatus.RELEASED, HoldStatus.EXPIRED, HoldStatus.SETTLED)


def open_hold(state: State, digest: bytes, hold: Hold) -> None:
    """Keep a new hold, open, and list it by its expiry."""
    state.view.put(_HOLD + digest, hold.encode())
    put_hold_state(
        state,
        HoldState(
            hold=digest,
            holder=hold.holder,
            job=hold.job,
            queue=hold.queue,
            amount_micro=hold.amount_micro,
            captured_micro=0,
            status=HoldStatus.OPEN,
            expires_unix_ms=hold.expires_unix_ms,
        ),
    )


def put_hold_state(state: State, hold: HoldState) -> None:
    """Set what has become of a hold; one that ended is listed no more."""
    state.put_entry(hold_key(hold.hold), hold)
    key = _ENDING + hold.expires_unix_ms.to_bytes(8, "big") + hold.hold
    if hold.status in _ENDED:
        state.view.delete(key)
    else:
        state.view.put(key, b"")


def end_hold(state: State, hold: HoldState, status: HoldStatus, *, captured_micro: int) -> None:
    """End a hold for good; what it did not take is no longer spent."""
    give_back(state, hold.hold, hold.amount_micro - captured_micro)
    put_hold_state(state, hold.replace(status=status, captured_micro=captured_micro))


def hold_of(state: State, digest: bytes) -> Hold:
    """The hold record. Raises UnknownIdError."""
    encoded = state.view.get(_HOLD + digest)
    if encoded is None:
        raise UnknownIdError("no such hold", found=digest.hex())
    return decode_hold(encoded)


def live_hold(state: State, digest: bytes, *statuses: HoldStatus) -> HoldState:
    """The hold, in one of ``statuses``. Raises UnknownIdError, HoldClosedError."""
    found = state.entry(HoldState, hold_key(digest))
    if found is None:
        raise UnknownIdError("no such hold", found=digest.hex())
    if found.status not in statuses:
        raise HoldClosedError(
            "hold is past that",
            expected=" or ".join(status.name.lower() for status in statuses),
            found=HoldStatus(found.status).name.lower(),
        )
    return found


def live_holds_until(state: State, expires_unix_ms: int) -> list[bytes]:
    """Digests of the holds not ended whose expiry is not later, the first to expire first."""
    holds = []
    for key, _ in state.view.scan(_ENDING):
        if int.from_bytes(key[2:10], "big") > expires_unix_ms:
            break
        holds.append(key[10:])
    return holds


def live_holds_of(state: State, holder: bytes) -> list[HoldState]:
    """The holds of an account that have not ended, the first to expire first.

    Reads every live hold of the pool: each is bounded by its expiry, so they are as many as are open now."""
    found = (state.entry(HoldState, hold_key(digest)) for digest in live_holds_until(state, AMOUNT_MAX))
    return [hold for hold in found if hold is not None and hold.holder == holder]
