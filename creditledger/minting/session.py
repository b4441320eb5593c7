"""One span of one job while it runs: rows in, receipts out. Source: specs/minting.md §2 and §7."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import count
from types import TracebackType
from typing import Any, Final

from creditledger.activations.row_format import row_format, rows_in
from creditledger.activations.token_check import NOT_SAMPLED
from creditledger.errors import ActivationError
from creditledger.minting.failures import FailureCount
from creditledger.minting.receipt_maker import MintedReceipt, ReceiptMaker
from creditledger.minting.rows import OwnedRows, host_rows, own_rows, size_of
from creditledger.minting.window import Portion, Window, WindowBuilder
from creditledger.minting.work_order import WorkOrder
from creditledger.minting.worker import Worker
from creditledger.quantities import ZERO_DIGEST
from creditledger.records.receipt import WINDOW, Receipt

_HandedOver = tuple[OwnedRows, OwnedRows, int, int, int]
"""Inputs, outputs, first position, and when the work on them began and ended."""
_UNSENT_MAX: Final = WINDOW
"""Rows kept back before the worker is woken: one of its thread switches a decoded token is too many."""


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
        """``keep`` is called with each receipt, on the worker; if it raises there is none, and none after it.
        ``previous``: resume after this one."""
        start = 0 if previous is None else previous.window_start + previous.positions
        self._maker = maker
        self._ledger_id = ledger_id
        self._worker = worker
        self._failures = failures
        self._clock = clock
        self._keep = keep
        self._previous = ZERO_DIGEST if previous is None else previous.digest(ledger_id)
        self._windows = WindowBuilder(start=start, stop=maker.order.job.max_positions)
        self._delivered = row_format(maker.numerics.activations)
        self._minted: list[MintedReceipt] = []
        self._unsent: list[_HandedOver] = []
        self._tokens: dict[int, int] = {}
        self._complete: list[Window] = []
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
        return [one.receipt for one in self.minted]

    @property
    def minted(self) -> list[MintedReceipt]:
        """`receipts`, each with the opening that the client is owed where tokens leave the span."""
        with self._failures.counted():
            self._send()
        self._worker.wait()
        return list(self._minted)

    def record(self, *, inputs: Any, outputs: Any, positions: range) -> None:
        """Take the rows that entered and left the span at ``positions``; copied before this returns.

        Both ``(len(positions), hidden)`` in the format of the numerics policy, numpy (bf16 as uint16 bits)
        or torch; float32 is taken for a narrower format if it holds nothing else. Positions follow the
        last recorded ones without a gap. Raises nothing."""
        with self._failures.counted():
            self.take(own_rows(inputs), own_rows(outputs), positions)

    def take(self, inputs: OwnedRows, outputs: OwnedRows, positions: range) -> None:
        """`record` for rows that are ours already; raises ActivationError and BusyError."""
        now = self._clock()
        self._require_next(len(inputs), len(outputs), positions)
        started, self._last_unix_ms = self._last_unix_ms, now
        self._unsent.append((inputs, outputs, positions.start, started, now))
        ends_window = positions.start // WINDOW != positions.stop // WINDOW
        self.next_position = positions.stop
        if ends_window or len(self._unsent) >= _UNSENT_MAX:
            self._send()

    def drew(self, tokens: Sequence[int], *, after: int | None = None) -> None:
        """Say which tokens were drawn after the positions from ``after`` on; None: the last recorded one.

        Positions that nothing is said of were not drawn after: a prompt's. Only for sessions with a
        sampler, and before rows of the next window but one are recorded. Raises nothing."""
        with self._failures.counted():
            first = self.next_position - len(tokens) if after is None else after
            if self._maker.sampler is None or first < 0:
                raise ActivationError("no tokens leave this span", expected="a session with a sampler")
            self._send()
            self._worker.submit(partial(self._tokens.update, zip(count(first), tokens, strict=False)))

    def close(self) -> None:
        """Make the receipt of a last, short window. Raises nothing; a second call does nothing."""
        if not self._is_closed:
            self._is_closed = True
            with self._failures.counted():
                self._send()
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

    def _send(self) -> None:
        """Hand the worker what was recorded."""
        if self._unsent:
            unsent, self._unsent = self._unsent, []
            size = sum(size_of(inputs) + size_of(outputs) for inputs, outputs, *_ in unsent)
            self._worker.submit(partial(self._add, unsent), size=size)

    def _add(self, handed_over: Sequence[_HandedOver]) -> None:
        with self._breaking():
            for inputs, outputs, first, started, ended in handed_over:
                portion = Portion(
                    inputs=rows_in(host_rows(inputs), self._delivered),
                    outputs=rows_in(host_rows(outputs), self._delivered),
                    first_position=first,
                    started_unix_ms=started,
                    ended_unix_ms=ended,
                )
                self._mint_complete()
                self._complete.extend(self._windows.add(portion))
            if self._maker.sampler is None:
                self._mint_complete()

    def _finish(self) -> None:
        with self._breaking():
            self._mint_complete()
            window = self._windows.rest()
            if window is not None:
                self._mint(window)

    def _mint_complete(self) -> None:
        """Make the receipts of whole windows; where tokens leave, only once their last one was drawn."""
        windows, self._complete = self._complete, []
        for window in windows:
            self._mint(window)

    def _mint(self, window: Window) -> None:
        positions = range(window.start, window.start + len(window.inputs))
        tokens = [self._tokens.pop(position, NOT_SAMPLED) for position in positions]
        minted = self._maker.make(window, previous=self._previous, tokens=tokens)
        self._keep(window, minted)
        self._previous = minted.receipt.digest(self._ledger_id)
        self._minted.append(minted)

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
