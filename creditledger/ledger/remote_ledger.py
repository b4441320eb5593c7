"""A ledger that another machine writes: read from one's own copy, written by asking.

Source: specs/service.md §7."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final, TypeAlias

from creditledger.credits.fold import SignatureVerifier
from creditledger.errors import BusyError, RoleError, StorageError, VerificationError
from creditledger.ledger import rounds
from creditledger.ledger.clock import Clock
from creditledger.ledger.directory import LedgerDirectory
from creditledger.ledger.evidence_taker import EvidenceTaker
from creditledger.ledger.ledger import Ledger, Snapshot
from creditledger.ledger.lmdb_store import LmdbStore
from creditledger.ledger.log_copy import LogCopy
from creditledger.ledger.rounds import RoundStanding
from creditledger.ledger.stored_log import StoredLog
from creditledger.ledger.writer import Acknowledgement, Beside, Outcome, Writer
from creditledger.records.entry import Submission
from creditledger.transparency.bls import BlsSigner
from creditledger.transparency.keys import Ed25519Signer

Post: TypeAlias = Callable[[Sequence[Submission]], list[Outcome]]
"""Has a server log submissions; what it says became of each, in order. Raises BusyError, StorageError."""
OpenTaker: TypeAlias = Callable[[Ed25519Signer, bytes], EvidenceTaker]
"""Where a server takes evidence: by the key of whoever brings it, and the ledger's id."""

SHOWN_WITHIN_SECONDS: Final = 30.0
"""How long an acknowledged record may take to appear under a checkpoint."""
CERTIFIED_WITHIN_SECONDS: Final = 15.0
_LOOK_EVERY_SECONDS: Final = 0.1


class RemoteLedger(Ledger):
    """The same interface as of a ledger in a directory. Nothing that the server says is believed: an
    acknowledgement counts once the log, proven and folded here, has that very record at that place."""

    is_remote = True

    def __init__(
        self,
        directory: LedgerDirectory,
        store: LmdbStore,
        copy: LogCopy,
        post: Post,
        *,
        url: str,
        open_taker: OpenTaker,
        operator: Ed25519Signer | None,
        clock: Clock,
        verifier: SignatureVerifier,
        sleep: Callable[[float], None] = time.sleep,
        close: Callable[[], None],
    ) -> None:
        """``copy``: followed at least once. ``url``: the service's. ``operator``: who signs with `sign`, if
        the key is at hand. ``close``: lets go of store and network, once nobody uses them any more."""
        self.url = url
        self._copy = copy
        self._post = post
        self._open_taker = open_taker
        self._sleep = sleep
        self._let_go = close
        self._turn = threading.RLock()
        self.looks_first = False
        """Whether each reading looks for news first; else it is of the last opening, following or writing."""
        with store.read() as view:
            genesis = StoredLog(view).genesis()
        super().__init__(
            directory,
            store,
            genesis,
            operator=operator,
            ml_dsa=None,
            cosigners=(),
            clock=clock,
            verifier=verifier,
            lock=None,
        )

    def _require_not_rolled_back(self) -> None:
        """Its copy has no head: what it must continue is the last checkpoint that was seen."""

    @contextmanager
    def snapshot(self) -> Iterator[Snapshot]:
        if self.looks_first:
            self.follow()
        with super().snapshot() as found:
            yield found

    @property
    def has_operator(self) -> bool:
        """Whether the operator's key in force is at hand to sign with."""
        try:
            self.operator_signer()
        except RoleError:
            return False
        return True

    def follow(self) -> int:
        """Read what is new; the size of the newest checkpoint. Raises what `LogCopy.follow` raises."""
        with self._turn:
            return self._copy.follow().size

    def close(self) -> None:
        self._let_go()

    def submit(self, submissions: Sequence[Submission], *, also: Beside | None = None) -> list[Outcome]:
        """Have the server log what its rules allow, and look that it did.

        Raises BusyError if the server or its next checkpoint does not come in time: the same submissions may
        be sent again, whatever became of them. Raises VerificationError for an acknowledgement that the log
        does not bear out, StorageError for ``also``: there is nothing here to keep rows in."""
        if also is not None:
            self._require_writer()
        if not submissions:
            return []
        with self._turn:
            outcomes = self._post(submissions)
        if len(outcomes) != len(submissions):
            raise VerificationError(
                "the server answers for other records",
                expected=f"{len(submissions)} outcomes",
                found=str(len(outcomes)),
            )
        acknowledged = [outcome for outcome in outcomes if isinstance(outcome, Acknowledgement)]
        if acknowledged:
            self._await_size(1 + max(outcome.index for outcome in acknowledged))
        for submission, outcome in zip(submissions, outcomes, strict=True):
            if isinstance(outcome, Acknowledgement):
                self._require_logged(submission, outcome)
        return outcomes

    def evidence_taker(self, key: Ed25519Signer) -> EvidenceTaker:
        """Where the server takes evidence of the account that ``key`` signs for; the caller's to close."""
        return self._open_taker(key, self.id)

    def complete_round(self, validators: Mapping[int, BlsSigner] | None = None) -> RoundStanding:
        """Wait for the pool to certify what is logged now; how far it came. The server closes the rounds."""
        size, left = self.size, int(CERTIFIED_WITHIN_SECONDS / _LOOK_EVERY_SECONDS)
        while True:
            with self.read() as state:
                found = rounds.standing(state)
            if (found.is_certified and found.log_size >= size) or not left:
                return found
            left -= 1
            self._sleep(_LOOK_EVERY_SECONDS)
            self.follow()

    def settle_due(self) -> list[Acknowledgement]:
        """The server does that."""
        return []

    def expire_due(self) -> list[Acknowledgement]:
        """The server does that."""
        return []

    def certify(self) -> None:
        """The server does that."""

    def publish(self) -> bytes:
        """The newest checkpoint's note: the server publishes."""
        self.follow()
        return self.checkpoint()

    def _await_size(self, size: int) -> None:
        for _ in range(int(SHOWN_WITHIN_SECONDS / _LOOK_EVERY_SECONDS)):
            if self.size >= size or self.follow() >= size:
                return
            self._sleep(_LOOK_EVERY_SECONDS)
        raise BusyError(
            "what the server acknowledged is under no checkpoint yet",
            expected=f"a log of {size} entries within {SHOWN_WITHIN_SECONDS:.0f} s",
            found=str(self.size),
        )

    def _require_logged(self, submission: Submission, answer: Acknowledgement) -> None:
        with self.snapshot() as snapshot:
            leaf = snapshot.log.node(0, answer.index)
        logged = self.entry(answer.index).record.digest(self.id)
        wanted = submission.record.digest(self.id)
        if leaf != answer.leaf_hash or logged != wanted:
            raise VerificationError(
                f"the server acknowledged entry {answer.index}, which is another",
                expected=wanted.hex(),
                found=logged.hex(),
            )

    def _require_writer(self) -> Writer:
        raise StorageError("only the server writes this ledger", expected="a ledger's own directory")
