"""One span of one job while it runs: rows in, receipts out. Source: specs/minting.md §2 and §7."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import TracebackType
from typing import Any

from creditledger.errors import ActivationError
from creditledger.minting.failures import FailureCount
from creditledger.minting.receipt_maker import MintedReceipt, ReceiptMaker
from creditledger.minting.rows import OwnedRows, bf16_bits, own_rows, size_of
from creditledger.minting.window import Portion, Window, WindowBuilder
from creditledger.minting.work_order import WorkOrder
from creditledger.minting.worker import Worker
from creditledger.quantities import ZERO_DIGEST
from creditledger.records.receipt import Receipt


class Session:
    """Takes the rows that the model hands over, and makes a receipt of every whole window.

    Nothing that fails in here reaches the model: it is counted, and the receipt is missing. After a
    receipt that could not be made no later one of the span is: the chain would have a hole.
    Used by one thread at a time; leaving the ``with`` block closes it."""

    def __init__(
        self,
        maker: ReceiptMaker,
        *,
        ledger_id: bytes,
        worker: Worker,
        failures: FailureCount,
        clock: Callable[[], int],
        keep: Callable[[Window, MintedReceipt], None],
        previous: Receipt | None = None,
    ) -> None:
        """``keep`` is called with each receipt, on the worker. ``previous``: resume after this one."""
        start = 0 if previous is None else previous.window_start + previous.positions
        self._maker = maker
        self._ledger_id = ledger_id
        self._worker = worker
        self._failures = failures
        self._clock = clock
        self._keep = keep
        self._previous = ZERO_DIGEST if previous is None else previous.digest(ledger_id)
        self._windows = WindowBuilder(start=start, stop=maker.order.job.max_positions)
        self._receipts: list[Receipt] = []
        self._is_broken = False
        self._is_closed = False
        self._last_unix_ms = clock()
        self.next_position = start
        """The position that the next recorded row must have."""

    @property
    def order(self) -> WorkOrder:
        """What is being worked on."""
        return self._maker.order

    @property
    def receipts(self) -> list[Receipt]:
        """All receipts so far, in order; waits for the rows that were handed over."""
        self._worker.wait()
        return list(self._receipts)

    def record(self, *, inputs: Any, outputs: Any, positions: range) -> None:
        """Take the rows that entered and left the span at ``positions``; copied before this returns.

        Both ``(len(positions), hidden)``: numpy float32 (bf16 values) or uint16 (bf16 bits), torch
        float32 or bfloat16. Positions follow the last recorded ones without a gap. Raises nothing."""
        with self._failures.counted():
            self.take(own_rows(inputs), own_rows(outputs), positions)

    def take(self, inputs: OwnedRows, outputs: OwnedRows, positions: range) -> None:
        """`record` for rows that are ours already; raises ActivationError and BusyError."""
        now = self._clock()
        self._require_next(len(inputs), len(outputs), positions)
        started, self._last_unix_ms = self._last_unix_ms, now
        self._worker.submit(
            partial(self._add, inputs, outputs, positions.start, started, now),
            size=size_of(inputs) + size_of(outputs),
        )
        self.next_position = positions.stop

    def close(self) -> None:
        """Make the receipt of a last, short window. Raises nothing; a second call does nothing."""
        if not self._is_closed:
            self._is_closed = True
            with self._failures.counted():
                self._worker.submit(self._finish)

    def __enter__(self) -> "Session":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # After an error the job may go on elsewhere or later: a short receipt would end its chain.
        if kind is None:
            self.close()
        self._is_closed = True

    def _require_next(self, inputs: int, outputs: int, positions: range) -> None:
        if self._is_closed:
            raise ActivationError("session is closed", expected="an open session")
        if positions.step != 1 or not len(positions) == inputs == outputs:
            raise ActivationError(
                "rows do not fit their positions",
                expected=f"{len(positions)} rows",
                found=f"{inputs} inputs, {outputs} outputs",
            )
        if positions.start != self.next_position:
            raise ActivationError(
                "rows do not follow the last ones",
                expected=f"position {self.next_position}",
                found=str(positions.start)[:40],
            )

    def _add(self, inputs: OwnedRows, outputs: OwnedRows, first: int, started: int, ended: int) -> None:
        with self._breaking():
            portion = Portion(
                inputs=bf16_bits(inputs),
                outputs=bf16_bits(outputs),
                first_position=first,
                started_unix_ms=started,
                ended_unix_ms=ended,
            )
            for window in self._windows.add(portion):
                self._mint(window)

    def _finish(self) -> None:
        with self._breaking():
            window = self._windows.rest()
            if window is not None:
                self._mint(window)

    def _mint(self, window: Window) -> None:
        minted = self._maker.make(window, previous=self._previous)
        self._previous = minted.receipt.digest(self._ledger_id)
        self._receipts.append(minted.receipt)
        self._keep(window, minted)

    @contextmanager
    def _breaking(self) -> Iterator[None]:
        """Does nothing more in a broken session; an error inside breaks it, and the worker counts it."""
        if self._is_broken:
            raise ActivationError("an earlier receipt of this session is missing")
        try:
            yield
        except BaseException:
            self._is_broken = True
            raise
