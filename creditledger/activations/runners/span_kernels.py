"""Every way at hand to arrive at what is delivered as a span's output: honest kernels and cheats.

Cheats run with float32 activations, so that nothing but the cheat shows. Source: specs/check.md §6.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import util
from typing import Final

import numpy as np

from creditledger.activations.bf16 import Float32Array, round_bf16
from creditledger.activations.calibration import CalibrationRun
from creditledger.activations.runners import counterfeits
from creditledger.activations.runners.degraded import DEGRADED_KINDS, degrade_model
from creditledger.activations.runners.numerics import (
    FP32_ACTIVATIONS,
    HONEST_KERNELS,
    SPLIT_K4_BF16,
    Numerics,
)
from creditledger.activations.runners.numpy_llama import NumpyLlama
from creditledger.activations.runners.weights import LoadedModel

Deliver = Callable[[CalibrationRun, CalibrationRun], Float32Array]
"""From a sequence's run, and another sequence's, to what is claimed: float32 of bf16 values."""

INT8: Final = "int8"
"""The finest cheat that a profile must be able to tell from honest work."""
_EXACT_CHANNELS: Final = 64
_TORCH_KERNELS: Final = (
    ("torch-eager", "bfloat16", "eager"),
    ("torch-sdpa", "bfloat16", "sdpa"),
    ("torch-sdpa-fp16", "float16", "sdpa"),
    ("torch-sdpa-fp32", "float32", "sdpa"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanKernel:
    """One way, not yet prepared: a cheat's weights are made when they are needed, and let go after."""

    name: str
    is_honest: bool
    has_bf16_partials: bool = False
    """Honest only under a policy that declares them."""
    prepare: Callable[[], Deliver]


def honest_kernels(model: LoadedModel, *, layer_start: int, layer_stop: int) -> list[SpanKernel]:
    """The numpy kernels, and those of torch where it is installed, on its GPU too if it sees one."""
    span = (layer_start, layer_stop)
    kernels = [
        SpanKernel(
            name=numerics.name,
            is_honest=True,
            has_bf16_partials=numerics is SPLIT_K4_BF16,
            prepare=partial(_running, model, span, numerics),
        )
        for numerics in HONEST_KERNELS
    ]
    if util.find_spec("torch") is None:
        return kernels
    from creditledger.activations.runners.torch_blocks import devices

    return kernels + [
        SpanKernel(
            name=name if device == "cpu" else f"{name}-{device}",
            is_honest=True,
            prepare=partial(_torch, model, span, dtype, attention, device),
        )
        for device in devices()
        for name, dtype, attention in _TORCH_KERNELS
    ]


def degraded_kernels(
    model: LoadedModel, *, layer_start: int, layer_stop: int, kinds: Sequence[str] = DEGRADED_KINDS
) -> list[SpanKernel]:
    """Lesser models, and the declared one with a lesser key-value cache."""
    span = (layer_start, layer_stop)
    kernels = [_cheat(kind, partial(_degraded, model, span, kind)) for kind in kinds]
    if tuple(kinds) == DEGRADED_KINDS:
        kernels.append(_cheat("int4-but-64-channels", partial(_exact_channels, model, span)))
        kernels += [_cheat(f"kv-int{bits}", partial(_small_cache, model, span, bits)) for bits in (8, 4)]
    return kernels


def counterfeit_kernels(*, seed: int) -> list[SpanKernel]:
    """Outputs that were made up from what an honest node would deliver. Same ``seed``, same outputs."""
    return [_cheat(name, partial(_counterfeit, name, seed)) for name in _ways(np.random.default_rng(0))]


class QuantisedCache:
    """A `KeyValueMemory` that keeps keys and values in ``bits`` bits, one scale per head and position."""

    def __init__(self, bits: int) -> None:
        self._most = np.float32(2 ** (bits - 1) - 1)

    def extend(
        self, layer: int, keys: Float32Array, values: Float32Array
    ) -> tuple[Float32Array, Float32Array]:
        """For a run that begins at position 0: what comes back is what was kept."""
        return self._kept(keys), self._kept(values)

    def _kept(self, rows: Float32Array) -> Float32Array:
        largest = np.abs(rows).max(axis=-1, keepdims=True)
        scale = np.where(largest > 0, largest, np.float32(1)) / self._most
        return np.asarray(np.rint(rows / scale) * scale, dtype=np.float32)


def _cheat(name: str, prepare: Callable[[], Deliver]) -> SpanKernel:
    return SpanKernel(name=name, is_honest=False, prepare=prepare)


def _counterfeit(name: str, seed: int) -> Deliver:
    return _ways(np.random.default_rng(seed))[name]


def _ways(chance: np.random.Generator) -> dict[str, Deliver]:
    def noise(run: CalibrationRun, other: CalibrationRun) -> Float32Array:
        return counterfeits.noise_like(run.yardstick, chance)

    def faked(count: int, fake: Deliver, run: CalibrationRun, other: CalibrationRun) -> Float32Array:
        return counterfeits.with_faked_rows(run.yardstick, fake(run, other), count, chance)

    def identity(run: CalibrationRun, other: CalibrationRun) -> Float32Array:
        return run.inputs

    return {
        "identity": identity,
        "noise": noise,
        "replay": lambda run, other: counterfeits.replayed(other.yardstick, run.inputs),
        "replay-shifted": lambda run, other: counterfeits.shifted(run.yardstick),
        "negated": lambda run, other: -run.yardstick,
        "fake-1-of-32": partial(faked, 1, noise),
        "fake-1-of-32-identity": partial(faked, 1, identity),
        "fake-16-of-32": partial(faked, 16, noise),
    }


def _running(model: LoadedModel, span: tuple[int, int], numerics: Numerics) -> Deliver:
    runner, (start, stop) = NumpyLlama(model), span
    return lambda run, other: runner.run(run.inputs, layer_start=start, layer_stop=stop, numerics=numerics)


def _degraded(model: LoadedModel, span: tuple[int, int], kind: str) -> Deliver:
    lesser = degrade_model(model, kind, layer_start=span[0], layer_stop=span[1])
    return _running(lesser, span, FP32_ACTIVATIONS)


def _exact_channels(model: LoadedModel, span: tuple[int, int]) -> Deliver:
    lesser = _degraded(model, span, "int4")

    def deliver(run: CalibrationRun, other: CalibrationRun) -> Float32Array:
        return counterfeits.with_exact_channels(
            lesser(run, other), round_bf16(run.reference), _EXACT_CHANNELS
        )

    return deliver


def _small_cache(model: LoadedModel, span: tuple[int, int], bits: int) -> Deliver:
    runner, (start, stop) = NumpyLlama(model), span
    return lambda run, other: runner.run(
        run.inputs,
        layer_start=start,
        layer_stop=stop,
        numerics=FP32_ACTIVATIONS,
        memory=QuantisedCache(bits),
    )


def _torch(model: LoadedModel, span: tuple[int, int], dtype: str, attention: str, device: str) -> Deliver:
    from creditledger.activations.runners.torch_blocks import TorchBlocks

    blocks = TorchBlocks(
        model, layer_start=span[0], layer_stop=span[1], dtype=dtype, attention=attention, device=device
    )
    return lambda run, other: round_bf16(blocks.run(run.inputs))
