"""A random Llama small enough to run in milliseconds, wide enough for its statistics to mean something."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from creditledger.activations.bf16 import from_bf16_bits, to_bf16_bits
from creditledger.activations.calibration import CalibrationProfile, CalibrationRun, measure_profile
from creditledger.activations.model import ModelShape
from creditledger.activations.runners.model_source import (
    EMBEDDING,
    ModelSource,
    NamedTensor,
    expected_tensors,
)
from creditledger.activations.runners.numpy_llama import NumpyLlama
from creditledger.activations.runners.weight_cache import WeightCache, write_cache
from creditledger.activations.runners.weights import LoadedModel, SharedWeights
from creditledger.records.receipt import BF16_NUMERICS

SHAPE = ModelShape(layers=4, hidden=128, ff=256, heads=4, kv_heads=2, head_dim=32, vocab=64)


def tiny_llama(folder: Path, *, seed: int = 1, shape: ModelShape = SHAPE) -> LoadedModel:
    """A model with random weights, kept in ``folder``."""
    source = ModelSource(
        name="tiny",
        shape=shape,
        rms_epsilon=float(np.float32(1e-5)),
        rope_theta=10_000.0,
        tie_embeddings=False,
        tensors=lambda: tensors_of(shape, seed),
        tokenizer_json=None,
    )
    write_cache(folder, source, [])
    return LoadedModel(SharedWeights(WeightCache(folder)))


def inputs_of(shape: ModelShape, positions: int, *, seed: int) -> np.ndarray:
    """Rows as a model has them inside: float32 of bf16 values, ``(positions, hidden)``."""
    chance = np.random.default_rng(seed)
    rows = chance.standard_normal((positions, shape.hidden)).astype(np.float32)
    return from_bf16_bits(to_bf16_bits(rows))


def profile_of(model: LoadedModel, *, layer_start: int, layer_stop: int) -> CalibrationProfile:
    """The profile that honest runs of the span give."""
    runner, runs = NumpyLlama(model), []
    for seed in range(8):
        inputs = inputs_of(model.description.shape, 256, seed=1000 + seed)
        span = {"layer_start": layer_start, "layer_stop": layer_stop}
        runs.append(
            CalibrationRun(
                inputs=inputs,
                reference=runner.reference(inputs, **span),
                yardstick=runner.yardstick(inputs, **span),
            )
        )
    return measure_profile(
        runs,
        model=model.description.digest,
        layer_start=layer_start,
        layer_stop=layer_stop,
        numerics=BF16_NUMERICS,
    )


def tensors_of(shape: ModelShape, seed: int = 1) -> Iterator[NamedTensor]:
    """The weights of `tiny_llama`, by name."""
    chance = np.random.default_rng(seed)
    for name, size in expected_tensors(shape, tie_embeddings=False).items():
        if len(size) == 1:
            values = 1 + 0.1 * chance.standard_normal(size)
        elif name == EMBEDDING:
            # As long as the rows that `inputs_of` gives.
            values = chance.standard_normal(size)
        else:
            values = chance.standard_normal(size) / np.sqrt(size[1])
        yield name, to_bf16_bits(values.astype(np.float32))
