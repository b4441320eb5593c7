"""A pool behind a URL, as the parties of the story use it: nothing is believed but what its log shows."""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import httpx2

from creditledger import errors
from creditledger.credits import reading
from creditledger.credits.state import StateView
from creditledger.errors import BusyError, CreditLedgerError, StorageError, VerificationError
from creditledger.ledger.clock import Clock
from creditledger.ledger.ledger import Ledger, Snapshot
from creditledger.ledger.published_entries import PublishedEntries
from creditledger.ledger.replica import Replica
from creditledger.ledger.writer import Acknowledgement, Outcome
from creditledger.records import canonical
from creditledger.records.entry import Submission
from creditledger.records.record import Record
from creditledger.service.http_source import HttpSource
from creditledger.transparency.trust_policy import TrustPolicy

TIMEOUT_SECONDS: Final = 60.0
LOOK_SECONDS: Final = 0.05


class ReachedLedger(Ledger):
    """What readers and submitters use of a `Ledger`, over a replica in memory that follows the published log.

    A record is taken for logged once the published log shows it at the place that was acknowledged."""

    def __init__(self, url: str, folder: Path, policy: TrustPolicy, *, clock: Clock) -> None:
        self._url = url
        self._folder = folder
        self._trusted = policy
        self._now = clock
        self._turn = threading.RLock()
        self._source = HttpSource(url)
        self._replica = Replica(self._source, policy)
        self._client = httpx2.Client(trust_env=False, timeout=TIMEOUT_SECONDS)
        self._replica.follow(clock())
        self.genesis = reading.genesis(self._replica.state)
        self.id = self.genesis.ledger_id

    @property
    def path(self) -> Path:
        return self._folder

    @contextmanager
    def snapshot(self) -> Iterator[Snapshot]:
        with self._turn:
            checkpoint = self._replica.follow(self._now())
            log: Any = PublishedEntries(self._source, checkpoint)
            yield Snapshot(log=log, state=self._replica.state, beside=self._replica.state)

    @contextmanager
    def read(self) -> Iterator[StateView]:
        with self._turn:
            self._replica.follow(self._now())
            yield self._replica.state

    def bodies(self, record: Record) -> tuple[bytes, ...]:
        with self.snapshot() as snapshot:
            return snapshot.log.bodies(record)

    def policy(self) -> TrustPolicy:
        return self._trusted

    def checkpoint(self) -> bytes:
        with self._turn:
            self._replica.follow(self._now())
            return self._replica.note

    def submit(self, submissions: Sequence[Submission], *, also: Any = None) -> list[Outcome]:
        body = canonical.encode([one.encode() for one in submissions], most=5 * 1024 * 1024)
        try:
            answer = self._client.post(
                f"{self._url}/v1/records", content=body, headers={"content-type": "application/msgpack"}
            )
        except httpx2.HTTPError as error:
            raise BusyError("the pool cannot be reached", found=type(error).__name__) from error
        if answer.status_code != 200:
            raise BusyError("the pool does not answer now", found=answer.text[:150])
        outcomes = [_outcome(row) for row in answer.json()["outcomes"]]
        for submission, outcome in zip(submissions, outcomes, strict=True):
            if isinstance(outcome, Acknowledgement):
                self._require_logged(submission, outcome)
        return outcomes

    def close(self) -> None:
        self._client.close()
        self._source.close()

    def _require_logged(self, submission: Submission, at: Acknowledgement) -> None:
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while self.size <= at.index:
            if time.monotonic() > deadline:
                raise BusyError("the pool does not publish what it acknowledged", found=str(at.index))
            time.sleep(LOOK_SECONDS)
        if self.entry(at.index).record != submission.record:
            raise VerificationError("another record stands where this was acknowledged", found=str(at.index))


def reach(url: str, folder: Path, *, clock: Clock) -> Ledger:
    """The pool at ``url``, for readers with the policy in ``folder``."""
    return ReachedLedger(url, folder, TrustPolicy.load(folder / "policy"), clock=clock)


def _outcome(row: dict[str, Any]) -> Outcome:
    if "index" in row:
        return Acknowledgement(index=row["index"], leaf_hash=bytes.fromhex(row["leaf_hash"]), repeated=False)
    kind = getattr(errors, row["error"], StorageError)
    found: CreditLedgerError = kind(row["message"], expected=row["expected"], found=row["found"])
    return found
