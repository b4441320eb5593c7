"""What a node process runs: the declared layers, or a cheat in their place, with torch or with NumPy."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from creditledger.activations.bf16 import Float32Array, round_bf16
from creditledger.activations.calibration import CalibrationRun
from creditledger.activations.runners.degraded import DEGRADED_KINDS, degrade_model
from creditledger.activations.runners.numerics import FUSED
from creditledger.activations.runners.numpy_llama import NumpyLlama
from creditledger.activations.runners.span_kernels import (
    Deliver,
    SpanKernel,
    counterfeit_kernels,
    degraded_kernels,
)
from creditledger.activations.runners.weights import LoadedModel

Span = tuple[int, int]
Kernel = Callable[[Float32Array], Float32Array]
TORCH, NUMPY = "torch", "numpy"
HONEST: Final = ""
LIMITS: Final = ("lora-0.1", "lora-0.3", "kv-int8")
"""What the check is known not to see. Source: specs/check.md §6."""
TWO_FACED: Final = "two-faced"
"""Commits to honest rows, and hands over, signed, others: the node before a boundary only."""
NUMPY_ONLY: Final = ("int4-but-64-channels", "kv-int4")
"""Cheats for which no torch module is at hand."""


def cheats_of(engine: str) -> list[str]:
    """The names of all cheats that ``engine`` can run and a check must see."""
    fakes = [kernel.name for kernel in counterfeit_kernels(seed=0)]
    lesser = [*DEGRADED_KINDS, *(NUMPY_ONLY if engine == NUMPY else ())]
    links = [TWO_FACED] if engine == TORCH else []
    return [name for name in [*lesser, *fakes, *links] if name not in LIMITS]


@dataclass(slots=True)
class Memory:
    """A process's last honest answer: what a replay delivers."""

    last: CalibrationRun | None = None

    def keep(self, inputs: Float32Array, outputs: Float32Array) -> None:
        """Remember an honest run, float32 of bf16 values ``(T, hidden)`` each."""
        self.last = CalibrationRun(inputs=inputs, reference=outputs, yardstick=outputs)

    def claimed(self, deliver: Deliver, inputs: Float32Array, outputs: Float32Array) -> Float32Array:
        """What a cheat makes of a run; ``outputs``: an honest node's."""
        run = CalibrationRun(inputs=inputs, reference=outputs, yardstick=outputs)
        return deliver(run, self.last or run)


def numpy_kernel(model: LoadedModel, span: Span, cheat: str, *, memory: Memory, seed: int) -> Kernel:
    """The span in NumPy: fused rounding, or what ``cheat`` delivers with float32 activations."""
    runner, (start, stop) = NumpyLlama(model), span

    def honest(inputs: Float32Array) -> Float32Array:
        return runner.run(inputs, layer_start=start, layer_stop=stop, numerics=FUSED)

    if cheat == HONEST:
        return honest
    known = degraded_kernels(model, layer_start=start, layer_stop=stop)
    deliver = _named([*known, *counterfeit_kernels(seed=seed)], cheat).prepare()
    return lambda inputs: memory.claimed(deliver, inputs, honest(inputs))


def torch_blocks(model: LoadedModel, span: Span, cheat: str, *, memory: Memory, seed: int) -> Any:
    """The span as torch modules: bf16 and fused attention. A cheat has other weights, or its last block
    gives out something else."""
    from creditledger.activations.runners.torch_blocks import TorchBlocks

    start, stop = span
    if cheat in DEGRADED_KINDS:
        model = degrade_model(model, cheat, layer_start=start, layer_stop=stop)
    blocks = TorchBlocks(model, layer_start=start, layer_stop=stop, attention="sdpa")
    if cheat not in (HONEST, TWO_FACED, *DEGRADED_KINDS):
        deliver = _named(counterfeit_kernels(seed=seed), cheat).prepare()
        _put_in_between(blocks, lambda inputs, outputs: memory.claimed(deliver, inputs, outputs))
    return blocks


def _put_in_between(blocks: Any, claimed: Callable[[Float32Array, Float32Array], Float32Array]) -> None:
    """Have the last block deliver what ``claimed`` makes of the span's inputs and outputs."""
    import torch

    seen: list[Float32Array] = []

    def before(_: Any, args: tuple[Any, ...]) -> None:
        seen[:] = [_as_numpy(args[0])]

    def after(_: Any, __: Any, output: Any) -> Any:
        rows = round_bf16(np.ascontiguousarray(claimed(seen[0], _as_numpy(output))))
        return torch.from_numpy(rows).to(output.dtype)

    blocks.layers[0].register_forward_pre_hook(before)
    blocks.layers[-1].register_forward_hook(after)


def _as_numpy(rows: Any) -> Float32Array:
    return np.array(rows.float().numpy(), dtype=np.float32)


def _named(kernels: list[SpanKernel], name: str) -> SpanKernel:
    return next(kernel for kernel in kernels if kernel.name == name)
