"""How tokens are drawn from scores: settings that a receipt names by digest. Source: specs/check.md §9."""

import hashlib
import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from creditledger.activations.bf16 import Float32Array
from creditledger.errors import ActivationError, OpeningError

SAMPLER_BYTES: Final = 1 + 4 + 32
_LAYOUT: Final = struct.Struct("<BI32s")
_NO_SEED: Final = bytes(32)
TEMPERATURE_MILLI_MAX: Final = 100_000


class SamplerKind(IntEnum):
    """What decides between tokens."""

    GREEDY = 1
    SEEDED = 2
    FREE = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampler:
    """The settings of one job's sampler. Raises ActivationError for ones that do not go together."""

    kind: SamplerKind
    temperature_milli: int = 0
    """Scores are divided by a thousandth of it; 0 for greedy and only for it."""
    seed: bytes = _NO_SEED
    """32 bytes that fix every draw; zeros unless seeded."""

    def __post_init__(self) -> None:
        is_greedy, is_seeded = self.kind == SamplerKind.GREEDY, self.kind == SamplerKind.SEEDED
        fits = is_greedy == (self.temperature_milli == 0) and is_seeded == (self.seed != _NO_SEED)
        if not fits or len(self.seed) != 32 or not 0 <= self.temperature_milli <= TEMPERATURE_MILLI_MAX:
            raise ActivationError(
                "sampler settings do not go together",
                expected="greedy without, seeded and free with a temperature; a seed if seeded",
            )

    @classmethod
    def greedy(cls) -> "Sampler":
        """Always the likeliest token."""
        return cls(kind=SamplerKind.GREEDY)

    @classmethod
    def seeded(cls, seed: bytes, *, temperature_milli: int) -> "Sampler":
        """Drawn at a temperature, every draw fixed by ``seed``: 32 bytes, best from the client."""
        return cls(kind=SamplerKind.SEEDED, temperature_milli=temperature_milli, seed=seed)

    @classmethod
    def free(cls, *, temperature_milli: int) -> "Sampler":
        """Drawn by any sampler at this temperature, cut off (top-k, top-p) or not."""
        return cls(kind=SamplerKind.FREE, temperature_milli=temperature_milli)

    @property
    def temperature(self) -> float:
        """What scores are divided by; 1 for greedy."""
        return self.temperature_milli / 1000 if self.temperature_milli else 1.0

    def encode(self) -> bytes:
        """37 bytes: u8 kind, u32le temperature in thousandths, seed."""
        return _LAYOUT.pack(self.kind, self.temperature_milli, self.seed)

    @classmethod
    def decode(cls, encoded: bytes) -> "Sampler":
        """The exact inverse of `encode`. Raises OpeningError."""
        try:
            kind, temperature, seed = _LAYOUT.unpack(encoded)
            return cls(kind=SamplerKind(kind), temperature_milli=temperature, seed=seed)
        except (struct.error, ValueError, ActivationError):
            raise OpeningError("not a sampler", expected=f"{SAMPLER_BYTES} bytes of settings") from None

    @property
    def digest(self) -> bytes:
        """SHA-256("cl/sampler" || encoding): what a receipt names."""
        return hashlib.sha256(b"cl/sampler" + self.encode()).digest()

    def keys(self, scores: Float32Array, position: int) -> NDArray[np.float64]:
        """``scores`` ``(vocab,)`` with the draw's own noise: the largest is the token.

        Seeded: the Gumbel trick, noise from SHAKE-128 of seed and position. Free: the scores alone."""
        if self.kind != SamplerKind.SEEDED:
            return scores.astype(np.float64)
        stream = hashlib.shake_128(b"cl/draw" + self.seed + struct.pack("<I", position))
        words = np.frombuffer(stream.digest(4 * len(scores)), dtype="<u4").astype(np.float64)
        uniform = (words + 0.5) / 2.0**32
        return scores.astype(np.float64) - self.temperature * np.log(-np.log(uniform))

    def pick(self, scores: Float32Array, position: int) -> int:
        """The token after ``position``, given its scores ``(vocab,)``.

        Raises ActivationError for a free sampler: its draws are its own."""
        if self.kind == SamplerKind.FREE:
            raise ActivationError("a free sampler draws by itself", expected="greedy or seeded")
        return int(np.argmax(self.keys(scores, position)))
