"""Outputs made up without running the layers, or not for these inputs: for demonstrations and tests.

Each takes what an honest node would have delivered, ``(positions, hidden)``, and gives another array of
that shape, of bf16 values. Source: specs/threats.md §3.
"""

from typing import Final

import numpy as np

from creditledger.activations.bf16 import Float32Array, round_bf16

BLOCK: Final = 32


def noise_like(outputs: Float32Array, chance: np.random.Generator) -> Float32Array:
    """Rows of the right norm and no meaning."""
    noise = chance.standard_normal(outputs.shape, dtype=np.float32)
    sizes = np.linalg.norm(outputs, axis=1, keepdims=True) / np.linalg.norm(noise, axis=1, keepdims=True)
    return round_bf16(noise * sizes)


def replayed(recorded: Float32Array, inputs: Float32Array) -> Float32Array:
    """The output for another sequence, whatever is asked."""
    return np.resize(recorded, inputs.shape)


def shifted(outputs: Float32Array) -> Float32Array:
    """Every row one position late."""
    return np.roll(outputs, 1, axis=0)


def with_faked_rows(
    outputs: Float32Array, fake: Float32Array, count: int, chance: np.random.Generator
) -> Float32Array:
    """``outputs`` with ``count`` rows of every 32, anywhere among them, taken from ``fake``."""
    mixed = outputs.copy()
    for start in range(0, len(outputs), BLOCK):
        among = np.arange(start, min(start + BLOCK, len(outputs)))
        rows = chance.choice(among, size=min(count, len(among)), replace=False)
        mixed[rows] = fake[rows]
    return mixed


def with_exact_channels(outputs: Float32Array, exact: Float32Array, count: int) -> Float32Array:
    """``outputs`` with the ``count`` largest channels of ``exact``: what a check by top values would see."""
    largest = np.argsort(np.square(exact).mean(axis=0))[-count:]
    mixed = outputs.copy()
    mixed[:, largest] = exact[:, largest]
    return mixed
