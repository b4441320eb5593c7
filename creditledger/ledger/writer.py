"""The one writer: a group of submissions becomes one durable commit. Source: specs/ledger.md §5."""

import hashlib
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from creditledger.credits.fold import FoldContext, SignatureVerifier, TransparencyVerifier, apply_entry
from creditledger.credits.pool import in_force, operator_account, tip_of
from creditledger.credits.state import Overlay, State, StateView
from creditledger.errors import (
    BusyError,
    CreditLedgerError,
    IntegrityError,
    MalformedRecordError,
    StorageError,
)
from creditledger.ledger.clock import Clock
from creditledger.ledger.directory import disk_errors, sync_directory, write_once
from creditledger.ledger.failed_ids import FailedIds, SignerSeen
from creditledger.ledger.head import HeadFile, require_not_rolled_back
from creditledger.ledger.operator_keys import OperatorSigners, operator_at
from creditledger.ledger.signatures_ahead import GROUP_MIN, check_ahead
from creditledger.ledger.store import GuessedWrongError, GuessingStore, Store
from creditledger.ledger.stored_log import StoredLog, kept_beside, state_of
from creditledger.records.entry import Entry, Submission
from creditledger.records.receipt import Batch
from creditledger.records.state import consumed_key
from creditledger.transparency.checkpoint import Checkpoint
from creditledger.transparency.keys import Ed25519Signer


@dataclass(frozen=True, slots=True, kw_only=True)
class Acknowledgement:
    """A record that is durable, with its place in the log."""

    index: int
    leaf_hash: bytes
    """32 bytes."""
    repeated: bool
    """It was logged before; ``index`` is where."""


Outcome: TypeAlias = Acknowledgement | CreditLedgerError
Beside: TypeAlias = Callable[[StateView, Sequence[Outcome]], None]
"""Writes rows of its own, in the commit of the group whose outcomes it is handed."""


@dataclass(frozen=True, slots=True)
class _Parts:
    """A submission as the fold and the disk take it."""

    bodies: tuple[bytes, ...]
    sealed: tuple[bytes, ...]


class Writer:
    """Appends to one log. Safe to call from several threads; they take turns."""

    def __init__(
        self,
        store: Store,
        head_file: HeadFile,
        sealed: Path,
        *,
        origin: str,
        ledger_id: bytes,
        operator: OperatorSigners,
        verifier: SignatureVerifier,
        clock: Clock,
        ask_witnesses: Callable[[], None] | None = None,
    ) -> None:
        """``ask_witnesses`` has a quorum date the log anew and then calls `note_witnesses`, or raises; None
        where no quorum is asked for. Raises RollbackError if the store is older than its head, RoleError
        without the signer in force."""
        self._store = store
        self._head_file = head_file
        self._sealed = sealed
        self._origin = origin
        self._ledger_id = ledger_id
        self._operator = operator
        self._verifier = verifier
        self._clock = clock
        self.turn = threading.RLock()
        """Held by whoever writes what depends on what it read."""
        self._failure: CreditLedgerError | None = None
        self._ask_witnesses = ask_witnesses
        self._witnessed_unix_ms: int | None = None
        with store.read() as view:
            self._tolerance_ms = in_force(State(state_of(view))).clock_tolerance_ms
        head_file.sync()
        with store.read() as view:
            log, state = StoredLog(view), state_of(view)
            self._head = head_file.read(operator_at(state))
            require_not_rolled_back(log, self._head)
            log.require_sound_edge()
            signer = operator.in_force(state)
        self._replace_head(Checkpoint(origin=origin, size=log.size, root=log.root), signer)

    def submit(self, submissions: Sequence[Submission], *, also: Beside | None = None) -> list[Outcome]:
        """Log what the rules allow, in order, in one durable commit; then answer, in order.

        ``also`` may write what is kept beside the log (`stored_log.kept_beside`) in the same commit.

        A refused submission leaves nothing but, perhaps, its id as failed, and answers with its error; a
        repeat answers with its first index. Raises BusyError if the clock cannot be right, and StorageError
        or IntegrityError if nothing of the group may be believed to be logged: the writer then refuses all
        work until the ledger is opened anew."""
        self._check_ahead(submissions)
        with self.turn:
            if self._failure is not None:
                raise StorageError(
                    f"writer stopped: {self._failure}", expected="a ledger opened anew"
                ) from self._failure
            now = self._take_time()
            try:
                if isinstance(self._store, GuessingStore):
                    with suppress(GuessedWrongError):
                        return self._commit(self._store.write_guessing(), submissions, now, also)
                return self._commit(self._store.write(), submissions, now, also)
            except (StorageError, IntegrityError) as error:
                self._failure = error
                raise

    def _check_ahead(self, submissions: Sequence[Submission]) -> None:
        if self._failure is not None or not isinstance(self._verifier, TransparencyVerifier):
            return
        if len(submissions) >= GROUP_MIN:
            with self._store.read() as view:
                check_ahead(state_of(view), submissions, ledger_id=self._ledger_id, verifier=self._verifier)

    def note_witnesses(self, cosigned_unix_ms: int | None) -> None:
        """Take note of what time a quorum of witnesses last said it was."""
        self._witnessed_unix_ms = cosigned_unix_ms

    def _take_time(self) -> int:
        """This machine's time (Unix milliseconds), taken once so that nothing can jump in between.

        Asks the witnesses anew if their last word is not this time, to within the pool's tolerance. Raises
        BusyError where they are away, or disagree with this machine's clock."""
        now = self._clock()
        if self._ask_witnesses is not None and not self._is_witnessed(now):
            self._ask_witnesses()
            now = self._clock()
            if not self._is_witnessed(now):
                raise BusyError(
                    "this machine's clock and its witnesses disagree",
                    expected=f"{self._witnessed_unix_ms} to within {self._tolerance_ms} ms",
                    found=str(now),
                )
        return now

    def _is_witnessed(self, now: int) -> bool:
        # Witnesses date whole seconds.
        witnessed, tolerance = self._witnessed_unix_ms, self._tolerance_ms
        return witnessed is not None and witnessed - tolerance <= now <= witnessed + tolerance + 1_000

    def _commit(
        self,
        transaction: AbstractContextManager[StateView],
        submissions: Sequence[Submission],
        now: int,
        also: Beside | None,
    ) -> list[Outcome]:
        # The order is the promise: sealed sketches, then the commit, then the head, then the answer.
        # Stopped anywhere between, what was answered is there, and what is there is whole.
        with transaction as view:
            log = StoredLog(view)
            log.require_sound_edge()
            if (log.size, log.root) != (self._head.size, self._head.root):
                require_not_rolled_back(log, self._head)
            time = self._entry_time(view, now)
            sealed: list[bytes] = []
            state = Overlay(state_of(view))
            failed = FailedIds(view, operator=operator_account(State(state)))
            outcomes = [
                self._admit(state, log, failed, submission, time, sealed) for submission in submissions
            ]
            state.merge()
            if any(isinstance(outcome, Acknowledgement) and not outcome.repeated for outcome in outcomes):
                log.seal()
                if sealed and isinstance(self._store, GuessingStore):
                    self._store.confirm_guesses()
                self._keep_sealed(sealed)
            if also is not None:
                also(kept_beside(view), outcomes)
            # Also after a rotation in this group: nothing was admitted whose successor is not here.
            signer = self._operator.in_force(state_of(view))
        self._replace_head(Checkpoint(origin=self._origin, size=log.size, root=log.root), signer)
        return outcomes

    def _admit(
        self,
        state: StateView,
        log: StoredLog,
        failed: FailedIds,
        submission: Submission,
        time: int,
        sealed: list[bytes],
    ) -> Outcome:
        digest = submission.record.digest(self._ledger_id)
        logged = State(state).map_value(consumed_key(digest))
        if logged is not None:
            index = int.from_bytes(logged, "big")
            return Acknowledgement(index=index, leaf_hash=log.node(0, index), repeated=True)
        entry = Entry(time_unix_ms=time, record=submission.record, signature=submission.signature)
        seen = SignerSeen(self._verifier, submission.signature)
        context = FoldContext(
            ledger_id=self._ledger_id,
            index=log.size,
            log_root=lambda: log.root_at(log.size),
            verifier=seen,
        )
        try:
            failed.require_not_failed(submission.record)
            encoded = entry.encode()
            parts = _parts(submission)
            self._operator.require_successor(state, submission)
            apply_entry(state, entry, parts.bodies, context)
        except (StorageError, IntegrityError):
            raise
        except CreditLedgerError as error:
            if seen.is_good:
                failed.note(submission.record, error)
            return error
        index = log.size
        leaf = log.append(encoded)
        log.put_bodies(submission.record, parts.bodies)
        sealed.extend(parts.sealed)
        return Acknowledgement(index=index, leaf_hash=leaf, repeated=False)

    def _entry_time(self, view: StateView, now: int) -> int:
        """``max(previous, now)``. Raises BusyError when the clock contradicts the log."""
        state = State(state_of(view))
        previous = tip_of(state).time_unix_ms
        tolerance = self._tolerance_ms = in_force(state).clock_tolerance_ms
        if now + tolerance < previous:
            raise BusyError(
                "this machine's clock is behind the log",
                expected=f"at least {previous} less {tolerance} ms",
                found=str(now),
            )
        return max(previous, now)

    def _keep_sealed(self, blobs: Sequence[bytes]) -> None:
        if not blobs:
            return
        for blob in blobs:
            write_once(self._sealed / hashlib.sha256(blob).hexdigest(), blob, mode=0o600)
        with disk_errors(self._sealed):
            sync_directory(self._sealed)

    def _replace_head(self, head: Checkpoint, signer: Ed25519Signer) -> None:
        if head != self._head:
            self._head_file.replace(head, signer)
            self._head = head


def _parts(submission: Submission) -> _Parts:
    """A batch's last body is its sealed sketches. Raises MalformedRecordError if they are not."""
    record, bodies = submission.record, submission.bodies
    if not isinstance(record, Batch):
        return _Parts(bodies, ())
    found = hashlib.sha256(bodies[-1]).digest() if bodies else b""
    if found != record.sealed:
        raise MalformedRecordError(
            "the batch's last body is not its sealed sketches",
            expected=record.sealed.hex(),
            found=found.hex() or "no body",
        )
    return _Parts(bodies[:-1], bodies[-1:])
