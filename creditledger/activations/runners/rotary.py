"""Rotary position embedding in the HuggingFace layout: channel i turns with i + head_dim / 2."""

import numpy as np

from creditledger.activations.bf16 import Float32Array
from creditledger.activations.model import ModelDescription
from creditledger.activations.runners.numerics import Numerics


class Rotation:
    """Cosines and sines for positions ``first`` to ``first + count - 1``: ``(count, 1, half)``.

    The angles are float32 products of position and frequency, as trained models expect."""

    def __init__(self, model: ModelDescription, numerics: Numerics, *, first: int, count: int) -> None:
        half = model.shape.head_dim // 2
        exponents = np.arange(half, dtype=np.float32) / np.float32(half)
        frequencies = np.float32(1) / np.power(np.float32(model.rope_theta), exponents)
        positions = np.arange(first, first + count, dtype=np.float32)
        angles = (positions[:, None] * frequencies)[:, None, :]
        self._numerics = numerics
        self._cosine = self._term(np.cos(angles))
        self._sine = self._term(np.sin(angles))

    def turn(self, heads: Float32Array) -> Float32Array:
        """``heads``: ``(count, heads, head_dim)``, left as it is. Returns it turned."""
        half = heads.shape[-1] // 2
        low, high = heads[..., :half], heads[..., half:]
        turned = np.empty_like(heads)
        np.subtract(self._term(low * self._cosine), self._term(high * self._sine), out=turned[..., :half])
        np.add(self._term(high * self._cosine), self._term(low * self._sine), out=turned[..., half:])
        return self._numerics.round(turned) if self._numerics.rotation else turned

    def _term(self, values: Float32Array) -> Float32Array:
        return self._numerics.round(values) if self._numerics.rotation_terms else values
