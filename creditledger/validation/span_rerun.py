"""One span of one job, re-executed once for all its windows. Source: specs/validation.md §5."""

from collections.abc import Sequence

import numpy as np

from creditledger.activations.bf16 import Float32Array
from creditledger.activations.commitment import DrawnTokens
from creditledger.activations.delivered import verify_delivered
from creditledger.activations.distance import CheckedWindow
from creditledger.activations.row_format import is_in_format, row_format
from creditledger.activations.runners.layer_runner import EmbeddingRuler, LayerRunner, TokenScorer
from creditledger.activations.sealing import OpenedInputs
from creditledger.activations.sketch import Sketch, SketchContext, real_rows, sketch_seed
from creditledger.activations.token_check import TokenSupport, token_support
from creditledger.errors import ActivationError, OpeningError
from creditledger.records.receipt import Receipt
from creditledger.validation.reruns import PendingRerun, Reruns, RerunsHere


class SpanRerun:
    """The whole prefix of a chain's windows as one prefill: once exactly, once as bf16 would.

    Only windows count whose inputs, and those of all windows before, are the committed ones."""

    def __init__(
        self,
        chain: Sequence[Receipt],
        inputs: Sequence[OpenedInputs | None],
        *,
        runner: LayerRunner,
        reruns: Reruns | None = None,
    ) -> None:
        """``chain``: receipts of one job and span from window 0 on; ``inputs``: each one's, opened.

        The work is begun here, for the longest prefix with inputs, and waited for where it is asked about.
        ``reruns``: who does it, by default ``runner`` in this process."""
        self._runner = runner
        self._covered: int | None = 0
        self._pending: PendingRerun | None = None
        self.knows_lengths = chain[0].layer_start > 0 or isinstance(runner, EmbeddingRuler)
        """Whether ``runner`` can tell how long the span's input rows may be."""
        self._blinded_from: int | None = None
        rows = _committed_rows(chain, inputs, width=runner.model.shape.hidden)
        if rows and self.knows_lengths:
            self._begin(
                self._within_lengths(np.concatenate(rows), chain[0]), chain[0], reruns or _here(runner)
            )

    @property
    def covered(self) -> int:
        """Positions that were re-executed, from 0. Raises BusyError where that cannot be done now."""
        if self._covered is None:
            self._covered = self._waited()
        return self._covered

    def covers(self, receipt: Receipt) -> bool:
        """Whether the window of ``receipt`` was re-executed."""
        return receipt.window_start + receipt.positions <= self.covered

    def is_blinded(self, receipt: Receipt) -> bool:
        """Whether some row up to the end of ``receipt``'s window is of no length that layer 0 is given."""
        stop = receipt.window_start + receipt.positions
        return self._blinded_from is not None and self._blinded_from < stop

    def window(self, receipt: Receipt, claimed: Sketch) -> CheckedWindow:
        """What to measure ``claimed``, the opened sketch of ``receipt``, against."""
        where = slice(receipt.window_start, receipt.window_start + receipt.positions)
        return CheckedWindow(
            claimed=claimed,
            seed=sketch_seed(SketchContext.of_receipt(receipt), receipt.output_root),
            reference=self._reference[where],
            yardstick=self._yardstick[where],
            inputs=self._inputs[where],
            delivered=row_format(receipt.numerics.activations),
        )

    def token_support(self, receipt: Receipt, drawn: DrawnTokens) -> TokenSupport | None:
        """How well ``drawn`` follows from the re-executed rows; None if they cannot be scored here."""
        runner = self._runner
        if receipt.layer_stop != runner.model.shape.layers or not isinstance(runner, TokenScorer):
            return None
        where = slice(receipt.window_start, receipt.window_start + receipt.positions)
        return token_support(
            drawn.tokens,
            sampler=drawn.sampler,
            first_position=receipt.window_start,
            reference=self._reference[where],
            yardstick=self._yardstick[where],
            scores=runner.logits,
        )

    def _within_lengths(self, inputs: Float32Array, first: Receipt) -> Float32Array:
        """The rows before the first that is too long or too short for layer 0; later layers have no bound."""
        if first.layer_start > 0 or not isinstance(self._runner, EmbeddingRuler):
            return inputs
        within = self._runner.embedding_lengths().positions_within(inputs)
        if within < len(inputs):
            self._blinded_from = within
        return inputs[:within]

    def _begin(self, inputs: Float32Array, first: Receipt, reruns: Reruns) -> None:
        if not len(inputs):
            return
        self._covered, self._inputs = None, inputs
        self._pending = reruns.begin(
            self._runner.model.digest, inputs, layer_start=first.layer_start, layer_stop=first.layer_stop
        )

    def _waited(self) -> int:
        assert self._pending is not None
        try:
            self._reference, self._yardstick = self._pending()
        except ActivationError:
            return 0  # Inputs that no model takes are no inputs.
        return len(self._inputs)


def _here(runner: LayerRunner) -> Reruns:
    return RerunsHere({runner.model.digest: runner})


def _committed_rows(
    chain: Sequence[Receipt], inputs: Sequence[OpenedInputs | None], *, width: int
) -> list[Float32Array]:
    rows: list[Float32Array] = []
    for receipt, opened in zip(chain, inputs, strict=True):
        if opened is None or not is_committed(receipt, opened, width=width):
            break
        rows.append(real_rows(opened.rows))
    return rows


def is_committed(receipt: Receipt, opened: OpenedInputs, *, width: int) -> bool:
    """Whether ``opened`` are the finite rows, ``width`` wide, that ``receipt`` names as its inputs."""
    if opened.rows.shape != (receipt.positions, width) or opened.first_position != receipt.window_start:
        return False
    try:
        if not is_in_format(opened.rows, row_format(receipt.numerics.activations)):
            return False
        verify_delivered(
            opened.rows,
            boundary_key=opened.boundary_key,
            first_position=opened.first_position,
            root=receipt.input_root,
        )
    except (OpeningError, ActivationError):
        return False
    return bool(np.isfinite(real_rows(opened.rows)).all())
