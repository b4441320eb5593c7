"""A window of rows becomes a receipt and the sketch it commits to. Source: specs/minting.md §2."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from creditledger.activations.commitment import DrawnTokens, commitment_bytes
from creditledger.activations.delivered import delivered_root
from creditledger.activations.sampler import Sampler
from creditledger.activations.sketch import (
    Exponents,
    SketchContext,
    numerics_bytes,
    sketch,
    sketch_commitment,
    sketch_seed,
)
from creditledger.minting.sealed_evidence import SketchOpening
from creditledger.minting.window import Window
from creditledger.minting.work_order import WorkOrder
from creditledger.quantities import ZERO_DIGEST
from creditledger.records.receipt import Numerics, OutputKind, Receipt


@dataclass(frozen=True, slots=True, kw_only=True)
class MintedReceipt:
    """A receipt with what only its node knows yet."""

    receipt: Receipt
    opening: SketchOpening


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptMaker:
    """Everything that the receipts of one order have in common."""

    order: WorkOrder
    job: bytes
    """The job's digest, 32 bytes."""
    numerics: Numerics
    exponents: Exponents
    """int8 ``(hidden,)``: of the profile that the span is judged by."""
    sampler: Sampler | None
    """How tokens are drawn when tokens leave the span; None for activations."""
    random_bytes: Callable[[int], bytes]

    def make(self, window: Window, *, previous: bytes, tokens: Sequence[int] = ()) -> MintedReceipt:
        """The receipt of ``window``; ``previous``: digest of the chain's last one, or zero.

        ``tokens``: one a position if tokens leave the span.

        Raises ActivationError for rows that are not finite or of another width."""
        order, span = self.order, self.order.span
        input_root = delivered_root(window.inputs, boundary_key=order.input_key, first_position=window.start)
        output_root = delivered_root(
            window.outputs, boundary_key=order.output_key, first_position=window.start
        )
        drawn = None if self.sampler is None else DrawnTokens(sampler=self.sampler, tokens=tuple(tokens))
        opening = self._sketched(window, drawn, input_root=input_root, output_root=output_root)
        receipt = Receipt(
            job=self.job,
            node=span.node,
            layer_start=span.layer_start,
            layer_stop=span.layer_stop,
            window_start=window.start,
            positions=len(window.inputs),
            input_root=input_root,
            output_root=output_root,
            sketch=sketch_commitment(*opening),
            previous=previous,
            model=order.job.model,
            numerics=self.numerics,
            output_kind=OutputKind.ACTIVATIONS if self.sampler is None else OutputKind.TOKENS,
            sampler=ZERO_DIGEST if self.sampler is None else self.sampler.digest,
            started_unix_ms=window.started_unix_ms,
            duration_ms=max(0, window.ended_unix_ms - window.started_unix_ms),
        )
        return MintedReceipt(receipt=receipt, opening=opening)

    def _sketched(
        self, window: Window, drawn: DrawnTokens | None, *, input_root: bytes, output_root: bytes
    ) -> SketchOpening:
        context = SketchContext(
            model=self.order.job.model,
            layer_start=self.order.span.layer_start,
            layer_stop=self.order.span.layer_stop,
            job=self.job,
            window_start=window.start,
            node=self.order.span.node,
            input_root=input_root,
            numerics=numerics_bytes(self.numerics),
        )
        seed = sketch_seed(context, output_root)
        values = sketch(window.outputs, seed=seed, exponents=self.exponents)
        return self.random_bytes(32), commitment_bytes(values, drawn)
