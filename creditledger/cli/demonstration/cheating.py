"""What the dishonest node of the story delivers. Source: specs/threats.md §3."""

from collections.abc import Callable
from typing import Final

import numpy as np

from creditledger.activations.bf16 import Float32Array
from creditledger.activations.runners.counterfeits import noise_like, replayed
from creditledger.activations.runners.degraded import degrade_model
from creditledger.activations.runners.numerics import FUSED
from creditledger.activations.runners.numpy_llama import NumpyLlama
from creditledger.activations.runners.weights import LoadedModel

CHEATS: Final = ("int8", "int4", "skip", "noise", "replay")

Kernel = Callable[[Float32Array], Float32Array]
"""From a prefix of bf16 values ``(T, hidden)`` to what is delivered for it."""


def honest_kernel(model: LoadedModel, span: tuple[int, int]) -> Kernel:
    """The declared layers, with other rounding points than the validators' yardstick."""
    runner = NumpyLlama(model)
    start, stop = span
    return lambda inputs: runner.run(inputs, layer_start=start, layer_stop=stop, numerics=FUSED)


def cheating_kernel(
    kind: str,
    model: LoadedModel,
    span: tuple[int, int],
    *,
    earlier: Callable[[], Float32Array],
    seed: int,
) -> Kernel:
    """A cheaper way to something that looks like the span's output.

    ``int8``, ``int4``, ``skip``: a lesser model. ``noise``: rows of the right size and no meaning.
    ``replay``: the output for what ``earlier`` gives, another prompt's inputs, whatever is asked."""
    honest = honest_kernel(model, span)
    if kind == "noise":
        return lambda inputs: noise_like(honest(inputs), np.random.default_rng(seed))
    if kind == "replay":
        recorded = honest(earlier())
        return lambda inputs: replayed(recorded, inputs)
    return honest_kernel(degrade_model(model, kind, layer_start=span[0], layer_stop=span[1]), span)
