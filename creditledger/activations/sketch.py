"""The fuzzy sketch: two seeded random-sign projections of every row. Source: specs/check.md §2."""

import hashlib
import hmac
import struct
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from creditledger.activations.bf16 import from_bf16_bits
from creditledger.activations.delivered import WIDTH_MAX, Rows, require_rows
from creditledger.errors import ActivationError, OpeningError
from creditledger.records import canonical
from creditledger.records.receipt import Numerics, Receipt

Exponents: TypeAlias = NDArray[np.int8]
"""``(hidden,)``: channel ``j`` is weighted by ``2^exponents[j]``, each from -8 to 8."""
Sketch: TypeAlias = NDArray[np.float16]
"""``(positions, 2)``."""
Sums: TypeAlias = NDArray[np.float64]
"""``(positions, 2)``: integers of magnitude at most 2^53, exact."""

PROJECTIONS: Final = 2
BLOCK_POSITIONS: Final = 32
"""Positions that share one SHAKE-128 stream."""
EXPONENT_MAX: Final = 8
FRACTION_BITS: Final = 12
"""Rows are rounded to multiples of 2^-12 after weighting."""
MAGNITUDE_MAX: Final = 2.0**38
STORED_MAX: Final = 65_504.0
_STORED_SHIFT: Final = FRACTION_BITS + 8
_SCRATCH_VALUES: Final = 1 << 15
"""Of rows in hand at once: with their signs less than a MiB."""

if WIDTH_MAX * int(MAGNITUDE_MAX) > 2**53:  # pragma: no cover - a fact about two constants
    raise AssertionError("sums of a sketch would not be exact in float64")


@dataclass(frozen=True, slots=True, kw_only=True)
class SketchContext:
    """What a sketch's seed is bound to, besides the rows: no other receipt has the same signs."""

    model: bytes
    layer_start: int
    layer_stop: int
    job: bytes
    window_start: int
    node: bytes
    input_root: bytes
    numerics: bytes
    """Canonical encoding of the numerics policy, see `numerics_bytes`."""

    @classmethod
    def of_receipt(cls, receipt: Receipt) -> "SketchContext":
        """The context that ``receipt`` fixes."""
        return cls(
            model=receipt.model,
            layer_start=receipt.layer_start,
            layer_stop=receipt.layer_stop,
            job=receipt.job,
            window_start=receipt.window_start,
            node=receipt.node,
            input_root=receipt.input_root,
            numerics=numerics_bytes(receipt.numerics),
        )

    def digest(self) -> bytes:
        """SHA-256 of the fields in fixed places. Raises ActivationError. Source: specs/check.md §2."""
        for name in ("model", "job", "node", "input_root"):
            if len(getattr(self, name)) != 32:
                raise ActivationError(f"{name} has another length", expected="32 bytes")
        try:
            spans = struct.pack("<II", self.layer_start, self.layer_stop)
            start = struct.pack("<I", self.window_start)
            numerics = struct.pack("<H", len(self.numerics)) + self.numerics
        except struct.error:
            raise ActivationError("context is out of range", expected="u32 numbers") from None
        parts = (b"cl/ctx", self.model, spans, self.job, start, self.node, self.input_root, numerics)
        return hashlib.sha256(b"".join(parts)).digest()


def numerics_bytes(numerics: Numerics) -> bytes:
    """The canonical encoding of a numerics policy alone."""
    return canonical.encode(numerics.to_values())


def sketch_seed(context: SketchContext, output_root: bytes) -> bytes:
    """SHA-256("cl/sk1" || ctx || output root): the rows are fixed before their signs are known."""
    if len(output_root) != 32:
        raise ActivationError("output root has another length", expected="32 bytes")
    return hashlib.sha256(b"cl/sk1" + context.digest() + output_root).digest()


def sketch(rows: Rows, *, seed: bytes, exponents: Exponents) -> Sketch:
    """The sketch of the rows of one window: float16 ``(positions, 2)``, finite, no negative zero.

    ``rows``: ``(positions, hidden)``, finite; ``seed``: 32 bytes, from `sketch_seed`.
    Same bits on every machine. Raises ActivationError. Source: specs/check.md §2."""
    scaled = stored_scale(signed_sums(rows, seed=seed, exponents=exponents))
    clipped = np.clip(scaled, -STORED_MAX, STORED_MAX)
    return np.asarray((clipped + 0.0).astype(np.float16))  # + 0.0: a zero sum has one encoding.


def signed_sums(rows: Rows, *, seed: bytes, exponents: Exponents) -> Sums:
    """The sums before they are stored: exact integers in units of ``2^-12``, as float64.

    Same arguments and errors as `sketch`."""
    require_rows(rows)
    require_exponents(exponents, width=rows.shape[1])
    if len(seed) != 32:
        raise ActivationError("seed has another length", expected="32 bytes")
    scale = np.ldexp(np.float32(1), exponents.astype(np.int32) + FRACTION_BITS)
    blocks = [
        _block_sums(rows[start : start + BLOCK_POSITIONS], scale, seed, number)
        for number, start in enumerate(range(0, len(rows), BLOCK_POSITIONS))
    ]
    return np.concatenate(blocks)


def stored_scale(sums: Sums) -> Sums:
    """``sums`` in the unit that float16 stores, not yet rounded."""
    return np.ldexp(sums, -_STORED_SHIFT)


def sums_of_sketch(values: Sketch) -> Sums:
    """The inverse of `stored_scale` for stored values: exact."""
    return np.ldexp(values.astype(np.float64), _STORED_SHIFT)


def sketch_bytes(values: Sketch) -> bytes:
    """Row by row, little-endian: 4 bytes a position. Raises ActivationError if not a finite sketch."""
    if values.dtype != np.float16 or values.ndim != 2 or values.shape[1] != PROJECTIONS:
        raise ActivationError(
            "not a sketch", expected="float16 (n, 2)", found=f"{values.dtype} {values.shape}"[:80]
        )
    if not bool(np.isfinite(values).all()):
        raise ActivationError("sketch is not finite")
    return values.astype("<f2").tobytes()


def read_sketch(encoded: bytes) -> Sketch:
    """The inverse of `sketch_bytes`. Raises OpeningError for bytes that no sketch has."""
    if not encoded or len(encoded) % (2 * PROJECTIONS):
        raise OpeningError("sketch has another length", expected="4 bytes a position")
    values = np.frombuffer(encoded, dtype="<f2").astype(np.float16).reshape(-1, PROJECTIONS)
    if not bool(np.isfinite(values).all()):
        raise OpeningError("sketch is not finite")
    return values


def sketch_commitment(salt: bytes, encoded: bytes) -> bytes:
    """SHA-256("cl/sketch" || salt || sketch bytes); ``salt`` has 32 bytes. Source: specs/check.md §3."""
    if len(salt) != 32:
        raise ActivationError("salt has another length", expected="32 bytes")
    return hashlib.sha256(b"cl/sketch" + salt + encoded).digest()


def verify_sketch(salt: bytes, encoded: bytes, *, commitment: bytes, positions: int) -> Sketch:
    """The sketch of ``positions`` rows that ``commitment`` binds. Raises OpeningError."""
    if len(salt) != 32 or not hmac.compare_digest(sketch_commitment(salt, encoded), commitment):
        raise OpeningError("sketch is not what was committed to", expected=commitment.hex())
    values = read_sketch(encoded)
    if len(values) != positions:
        raise OpeningError("sketch covers other positions", expected=str(positions), found=str(len(values)))
    return values


def real_rows(rows: Rows) -> NDArray[np.float32]:
    """The values of ``rows`` as float32, exactly; uint16 are bf16 bit patterns. Raises ActivationError."""
    require_rows(rows)
    if rows.dtype == np.uint16:
        return from_bf16_bits(np.asarray(rows, dtype=np.uint16))
    return np.asarray(rows, dtype=np.float32)


def require_exponents(exponents: Exponents, *, width: int) -> None:
    """Raises ActivationError unless int8, ``(width,)``, each from -8 to 8."""
    if exponents.dtype != np.int8 or exponents.shape != (width,):
        raise ActivationError(
            "exponents do not fit the rows",
            expected=f"int8 ({width},)",
            found=f"{exponents.dtype} {exponents.shape}"[:80],
        )
    if int(exponents.min()) < -EXPONENT_MAX or int(exponents.max()) > EXPONENT_MAX:
        raise ActivationError("an exponent is out of range", expected="-8..8")


def _block_sums(rows: Rows, scale: NDArray[np.float32], seed: bytes, number: int) -> Sums:
    positions, width = rows.shape
    bits = _sign_bits(seed, number, positions=positions, width=width)
    # A few rows at a time, in the same memory: where the allocator gives large pieces back at once (as beside
    # torch), whole blocks would ask for new pages each time, which takes longer than the sums.
    step = max(1, _SCRATCH_VALUES // width)
    units = np.empty((step, width), np.float32)
    exact, signs = np.empty((step, width)), np.empty((step, PROJECTIONS, width))
    sums = np.empty((positions, PROJECTIONS))
    for start in range(0, positions, step):
        some = slice(start, start + step)
        count = len(sums[some])
        _units(real_rows(rows[some]), scale, out=units[:count])
        exact[:count] = units[:count]
        signs[:count] = bits[some]
        # Signs of +-1 are 2 bit - 1: every partial sum is an integer below 2^53, in any order.
        plus = np.matmul(signs[:count], exact[:count, :, np.newaxis])[:, :, 0]
        sums[some] = 2.0 * plus - exact[:count].sum(axis=1, keepdims=True)
    return sums


def _units(values: NDArray[np.float32], scale: NDArray[np.float32], *, out: NDArray[np.float32]) -> None:
    """Weighted, in whole units of ``2^-12``, clipped."""
    if not bool(np.isfinite(values).all()):
        raise ActivationError("rows are not finite", expected="no infinity, no NaN")
    # A power of two times a float32 is exact, or beyond the clip; so float32 is wide enough here.
    with np.errstate(over="ignore"):
        np.multiply(values, scale, out=out)
    np.rint(out, out=out)
    np.clip(out, -MAGNITUDE_MAX, MAGNITUDE_MAX, out=out)


def _sign_bits(seed: bytes, number: int, *, positions: int, width: int) -> NDArray[np.uint8]:
    """``(positions, 2, width)``: block ``number`` of the stream, lowest bit of each byte first."""
    count = positions * PROJECTIONS * width
    stream = hashlib.shake_128(seed + struct.pack("<I", number)).digest((count + 7) // 8)
    bits = np.unpackbits(np.frombuffer(stream, dtype=np.uint8), count=count, bitorder="little")
    return bits.reshape(positions, PROJECTIONS, width)
