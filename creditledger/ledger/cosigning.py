"""Asking witnesses: all at once, in bounded time, and believing none of them unread.

Source: specs/ledger.md §6, after C2SP tlog-witness."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from typing import Final, Protocol

from creditledger.errors import (
    BusyError,
    ConsistencyProofError,
    CreditLedgerError,
    IntegrityError,
    PolicyError,
    RollbackError,
    SignatureError,
    StorageError,
)
from creditledger.ledger.stored_log import StoredLog
from creditledger.transparency.cosignature import note_verifier
from creditledger.transparency.merkle import prove_consistency
from creditledger.transparency.note import VerifierKey, add_signatures, parse_note
from creditledger.transparency.witness import AddCheckpoint, StaleSizeError

TIMEOUT_SECONDS: Final = 10.0
GRACE_SECONDS: Final = 0.5
"""How long the others are waited for once a quorum has cosigned."""
TRIES_MAX: Final = 3
"""A witness's word about its size is not signed: it may send us round so often."""


class Cosigner(Protocol):
    """A witness as the publisher sees it, near or far. Called from a thread of its own."""

    @property
    def name(self) -> str:
        """What the policy calls it."""

    @property
    def vkey(self) -> VerifierKey:
        """Whose line it gives."""

    def cosign(self, request: AddCheckpoint) -> bytes:
        """Its signature line with LF.

        Raises StaleSizeError with the size it has, VerificationError where it refuses, BusyError where
        it is away or late."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What became of asking one witness."""

    name: str
    line: bytes = b""
    """Its verified signature line with LF; empty without one."""
    error: CreditLedgerError | None = None
    """Why there is none."""

    @property
    def status(self) -> str:
        """``cosigned``, ``ahead`` (it says that it has seen a larger log), ``away`` or ``refused``."""
        if self.error is None:
            return "cosigned"
        if isinstance(self.error, RollbackError):
            return "ahead"
        return "away" if isinstance(self.error, BusyError) else "refused"


@dataclass(frozen=True, slots=True)
class _Asked:
    place: int
    """Among the cosigners: names are the policy's business, and two may be the same."""
    cosigner: Cosigner
    tries: int


def collect(
    cosigners: Sequence[Cosigner],
    note: bytes,
    log: StoredLog,
    *,
    old_size: int,
    suffices: Callable[[Sequence[bytes]], bool],
    timeout_s: float = TIMEOUT_SECONDS,
    grace_s: float = GRACE_SECONDS,
) -> list[Reply]:
    """Ask every witness to cosign ``note``, a checkpoint of all of ``log``; one reply each, in order.

    ``old_size``: where they are thought to be; who is elsewhere is asked again with the right proof.
    Waits at most ``timeout_s``, and ``grace_s`` once ``suffices`` says that the lines so far are enough.
    Raises nothing that a witness can cause."""
    if not cosigners:
        return []
    pool = ThreadPoolExecutor(len(cosigners), thread_name_prefix="cosign")
    replies: dict[int, Reply] = {}
    try:
        pending = {
            pool.submit(cosigner.cosign, _request(note, log, old_size)): _Asked(place, cosigner, 1)
            for place, cosigner in enumerate(cosigners)
        }
        deadline = time.monotonic() + timeout_s
        while pending:
            if suffices([reply.line for reply in replies.values() if reply.line]):
                deadline = min(deadline, time.monotonic() + grace_s)
            if (left := deadline - time.monotonic()) <= 0:
                break
            for future in wait(pending, timeout=left, return_when=FIRST_COMPLETED).done:
                asked = pending.pop(future)
                size = _size_to_try(future, asked, log.size)
                if size is None:
                    replies[asked.place] = _reply(future, asked.cosigner, note, log.size)
                else:
                    again = pool.submit(asked.cosigner.cosign, _request(note, log, size))
                    pending[again] = replace(asked, tries=asked.tries + 1)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    return [replies.get(place) or _late(cosigner.name) for place, cosigner in enumerate(cosigners)]


def quorum_error(error: PolicyError, replies: Sequence[Reply]) -> CreditLedgerError:
    """What to raise where ``replies`` did not reach the policy's quorum: the worst that was found.

    A witness that has seen more or another log, or a state of our own that is damaged, comes before
    one that is merely away."""
    for kind in (RollbackError, IntegrityError, StorageError, ConsistencyProofError):
        for reply in replies:
            if isinstance(reply.error, kind):
                return reply.error
    missing = "; ".join(f"{reply.name}: {reply.error}" for reply in replies if reply.error is not None)
    return BusyError(
        f"the witnesses' quorum is not reached: {missing or error}",
        expected=error.expected,
        found=error.found,
    )


def _request(note: bytes, log: StoredLog, old_size: int) -> AddCheckpoint:
    proof = prove_consistency(log.node, first=old_size, second=log.size)
    return AddCheckpoint(old_size=old_size, proof=tuple(proof), note=note)


def _size_to_try(future: "Future[bytes]", asked: _Asked, size: int) -> int | None:
    """The size to ask again from, or None where the answer stands."""
    error = future.exception()
    if isinstance(error, StaleSizeError) and asked.tries < TRIES_MAX and error.stored_size <= size:
        return error.stored_size
    return None


def _reply(future: "Future[bytes]", cosigner: Cosigner, note: bytes, size: int) -> Reply:
    error = future.exception()
    if error is None:
        try:
            return Reply(name=cosigner.name, line=_own_line(future.result(), cosigner.vkey, note))
        except CreditLedgerError as found:
            error = found
    if isinstance(error, StaleSizeError):
        error = _misplaced(error, cosigner.name, size)
    if isinstance(error, AssertionError) or not isinstance(error, Exception):
        raise error
    if not isinstance(error, CreditLedgerError):
        # Whatever its client stumbled over: one witness does not stop the others.
        error = BusyError(f"asking it failed: {type(error).__name__}: {error}")
    return Reply(name=cosigner.name, error=error)


def _own_line(answer: bytes, vkey: VerifierKey, note: bytes) -> bytes:
    """The line by ``vkey`` in ``answer``, verified. Lines of other keys are dropped: one that is false
    would spoil the whole note. Raises SignatureError, MalformedRecordError."""
    before = parse_note(note)
    added = parse_note(add_signatures(note, [answer])).signatures[len(before.signatures) :]
    own = [line for line in added if (line.name, line.key_id) == (vkey.name, vkey.key_id)]
    if not own:
        raise SignatureError("it gives no line of its own", expected=str(vkey), found=f"{len(added)} others")
    for line in own:
        note_verifier(vkey).verify(before.text, line.body)
    return own[-1].line


def _misplaced(error: StaleSizeError, name: str, size: int) -> CreditLedgerError:
    if error.stored_size > size:
        return RollbackError(
            f"witness {name} has seen a larger log",
            expected=f"at least {error.stored_size} entries",
            found=str(size),
        )
    return BusyError("its size changes whenever it is asked", found=str(error.stored_size))


def _late(name: str) -> Reply:
    return Reply(name=name, error=BusyError("no answer in time", found=name))
