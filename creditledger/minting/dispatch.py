"""From receipts to the log: they are signed into batches, which wait until the log has answered.

Source: specs/minting.md §4 and §5."""

from collections.abc import Callable, Sequence
from itertools import chain
from threading import Lock
from typing import Final

from creditledger.errors import CreditLedgerError
from creditledger.ledger.writer import Acknowledgement
from creditledger.minting.batching import cut_batches
from creditledger.minting.failures import FailureCount
from creditledger.minting.outbox import SubmissionQueue, SubmitAll
from creditledger.minting.receipt_maker import MintedReceipt
from creditledger.records.entry import Submission
from creditledger.records.parameters import Parameters

SignBatch = Callable[[Sequence[MintedReceipt], Parameters], Submission]
_RECEIPT_BYTES: Final = 1_024
"""More than a receipt takes in a batch beside its sketch."""


class Dispatch:
    """What one node has minted and the log has not answered. Signing waits for no delivery."""

    def __init__(
        self,
        outbox: SubmissionQueue,
        submit: SubmitAll,
        *,
        at_once: int,
        sign: SignBatch,
        parameters: Callable[[], Parameters],
        failures: FailureCount,
    ) -> None:
        """``at_once``: batches that ``submit`` is given together, at most. ``parameters``: those in force."""
        self._outbox = outbox
        self._submit = submit
        self._at_once = at_once
        self._sign = sign
        self._parameters = parameters
        self._failures = failures
        self._pending: list[MintedReceipt] = []
        self._pending_bytes = 0
        self._counting = Lock()
        self._posting = Lock()
        self._delivering = Lock()
        self._in_batch: dict[bytes, list[MintedReceipt]] = {}
        self.refused: list[tuple[Submission, CreditLedgerError]] = []

    @property
    def waiting(self) -> int:
        """Batches that were signed and are not acknowledged."""
        return len(self._outbox)

    def require_room(self, minted: MintedReceipt | None = None) -> None:
        """Raises StorageError if too much waits already to take ``minted``, by default any receipt."""
        self._outbox.require_room(self._pending_bytes + (_RECEIPT_BYTES if minted is None else _size(minted)))

    def add(self, minted: MintedReceipt) -> None:
        """A receipt for the next batch."""
        self._pending.append(minted)
        self._count([minted], 1)

    def post(self) -> None:
        """Sign batches of all receipts so far and put them in the outbox. Raises nothing."""
        with self._posting, self._failures.counted():
            # The minting thread only appends: what it adds meanwhile stays for the next time.
            taken = self._pending[:]
            del self._pending[: len(taken)]
            self._post(taken)

    def deliver(self) -> tuple[list[Acknowledgement], Exception | None]:
        """Have the log take what waits, in order; the acknowledgements, and what stopped it, if anything.

        Raises nothing."""
        acknowledgements: list[Acknowledgement] = []
        stopped_by: Exception | None = None
        with self._delivering, self._failures.counted():
            while True:
                done = self._outbox.deliver(self._answered, at_once=self._at_once)
                acknowledgements += done.acknowledgements
                stopped_by, refused = done.stopped_by, done.refused
                is_divided = self._divide(refused)
                self._note(refused)
                if stopped_by is not None or not is_divided:
                    break
        if stopped_by is not None:
            self._failures.count(stopped_by)
        return acknowledgements, stopped_by

    def _post(self, minted: list[MintedReceipt]) -> None:
        """What fails is pending again, in order."""
        posted = 0
        try:
            if not minted:
                return
            parameters = self._parameters()
            for portion in cut_batches(minted, recipients=len(parameters.committee)):
                submission = self._sign(portion, parameters)
                self._outbox.put(submission)
                self._in_batch[_name(submission)] = list(portion)
                self._count(portion, -1)
                posted += len(portion)
        finally:
            self._pending[:0] = minted[posted:]

    def _answered(self, submissions: Sequence[Submission]) -> Sequence[Acknowledgement | CreditLedgerError]:
        answers = self._submit(submissions)
        for submission, answer in zip(submissions, answers, strict=True):
            if isinstance(answer, Acknowledgement):
                self._in_batch.pop(_name(submission), None)
        return answers

    def _note(self, refused: list[tuple[Submission, CreditLedgerError]]) -> None:
        for submission, error in refused:
            self._failures.count(error)
            self.refused.append((submission, error))

    def _divide(self, refused: list[tuple[Submission, CreditLedgerError]]) -> bool:
        """Where one bad receipt refused other jobs' too, post a batch for each job instead.

        ``refused`` loses the batches that were replaced. Whether there were any. Later batches of the
        same pass go along: their receipts follow those of the first."""
        known = [self._in_batch.pop(_name(submission), []) for submission, _ in refused]
        if not any(len({one.receipt.job for one in minted}) > 1 for minted in known):
            return False
        by_job: dict[bytes, list[MintedReceipt]] = {}
        for one in chain.from_iterable(known):
            by_job.setdefault(one.receipt.job, []).append(one)
        refused[:] = [pair for pair, minted in zip(refused, known, strict=True) if not minted]
        with self._posting:
            for minted in by_job.values():
                self._count(minted, 1)
                with self._failures.counted():
                    self._post(minted)
        return True

    def _count(self, minted: Sequence[MintedReceipt], sign: int) -> None:
        with self._counting:
            self._pending_bytes += sign * sum(map(_size, minted))


def _size(minted: MintedReceipt) -> int:
    return _RECEIPT_BYTES + len(minted.opening[1])


def _name(submission: Submission) -> bytes:
    return submission.record.encode()
