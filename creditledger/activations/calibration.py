"""What a model's span looks like when run honestly: the profile checks rely on.

Source: specs/check.md §6."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import numpy as np

from creditledger.activations.delivered import WIDTH_MAX
from creditledger.activations.distance import Float32Rows, PerPosition, trimmed_mean, yardstick_terms
from creditledger.activations.sketch import EXPONENT_MAX, Exponents
from creditledger.errors import ActivationError, MalformedRecordError, StorageError
from creditledger.quantities import Digest, LayerIndex, octets, unsigned
from creditledger.records import canonical
from creditledger.records.receipt import Numerics
from creditledger.records.record import Fields

CALIBRATION_POSITIONS_MIN: Final = 2_048
OUTLIER_NORMS: Final = 10.0
"""Positions of a norm above this many medians (attention sinks) say nothing about the others."""
YARDSTICK_QUANTILES: Final = (0.01, 0.10, 0.50, 0.90, 0.99)
PROFILE_BYTES_MAX: Final = 65_535
_TAG: Final = b"cl/profile"
_VERSION: Final = 1

Ppb = Annotated[int, unsigned()]
Ppm = Annotated[int, unsigned()]


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationRun:
    """One sequence through a span, run twice. All float32, ``(positions, hidden)``."""

    inputs: Float32Rows
    reference: Float32Rows
    yardstick: Float32Rows


class CalibrationProfile(Fields):
    """Channel weights and honest distances of one span under one numerics policy."""

    model: Digest
    layer_start: LayerIndex
    layer_stop: LayerIndex
    numerics: Numerics
    exponents_biased: Annotated[bytes, octets(1, WIDTH_MAX)]
    """One byte a channel: its exponent plus 8."""
    resolution_median_ppm: Ppm
    """Median rho of honest windows, in 10^-6."""
    yardstick_ppb: tuple[Ppb, ...]
    """Relative distance of the yardstick per position, in 10^-9, at 1, 10, 50, 90 and 99 %."""

    def check_rules(self) -> None:
        if self.layer_stop <= self.layer_start:
            raise MalformedRecordError("a profile covers at least one layer")
        if max(self.exponents_biased) > 2 * EXPONENT_MAX:
            raise MalformedRecordError("an exponent is out of range", expected="0..16, biased by 8")
        if len(self.yardstick_ppb) != len(YARDSTICK_QUANTILES):
            raise MalformedRecordError("quantiles", expected=f"{len(YARDSTICK_QUANTILES)} of them")
        if list(self.yardstick_ppb) != sorted(self.yardstick_ppb):
            raise MalformedRecordError("quantiles do not ascend")

    @property
    def exponents(self) -> Exponents:
        """int8 ``(hidden,)``, each from -8 to 8."""
        biased = np.frombuffer(self.exponents_biased, dtype=np.uint8)
        return (biased.astype(np.int16) - EXPONENT_MAX).astype(np.int8)

    @property
    def resolution_median(self) -> float:
        """Median rho of honest windows: no unit."""
        return self.resolution_median_ppm / 1_000_000

    def encode(self) -> bytes:
        """The one encoding: a canonical msgpack array, at most 65,535 bytes."""
        return canonical.encode([_TAG, _VERSION, *self.to_values()], most=PROFILE_BYTES_MAX)

    @classmethod
    def decode(cls, encoded: bytes) -> "CalibrationProfile":
        """The exact inverse of `encode`. Raises MalformedRecordError for any other bytes."""
        values = canonical.decode(encoded, most=PROFILE_BYTES_MAX)
        if not isinstance(values, list) or values[:2] != [_TAG, _VERSION]:
            raise MalformedRecordError("not a calibration profile", expected="version 1")
        return cls.from_values(values[2:])

    @property
    def digest(self) -> bytes:
        """SHA-256 of the encoding: what a pool's parameters name."""
        return hashlib.sha256(self.encode()).digest()


def channel_exponents(
    reference: Float32Rows, *, least_positions: int = CALIBRATION_POSITIONS_MIN
) -> Exponents:
    """D: int8 ``(hidden,)``, so that ``2^D`` brings every channel near one root mean square.

    ``clip(rint(log2(level / rms_j)), -8, 8)`` over the rows whose norm is at most ten times the median
    norm, ``level`` being the median rms or 1 if that is more; a channel that is always 0 gets 8.
    ``reference``: float32, finite, not all zero, at least ``least_positions`` rows.
    Raises ActivationError. Source: specs/check.md §6."""
    if reference.ndim != 2 or len(reference) < least_positions or not reference.size:
        raise ActivationError(
            "too little to calibrate on",
            expected=f"{least_positions} or more rows",
            found=str(reference.shape)[:80],
        )
    squares = reference.astype(np.float64) ** 2
    norms = np.sqrt(squares.sum(axis=1))
    if not bool(np.isfinite(norms).all()):
        raise ActivationError("rows are not finite", expected="no infinity, no NaN")
    ordinary = norms <= OUTLIER_NORMS * np.median(norms)
    rms = np.sqrt(squares[ordinary].mean(axis=0))
    middle = float(np.median(rms))
    if middle <= 0:
        raise ActivationError("most channels are zero", expected="a median rms above 0")
    # Quiet spans are lifted to 1: below, the sketch's own unit would drown bf16 rounding error.
    level = max(middle, 1.0)
    with np.errstate(divide="ignore"):
        powers = np.rint(np.log2(level / rms))
    exponents: Exponents = np.clip(powers, -EXPONENT_MAX, EXPONENT_MAX).astype(np.int8)
    return exponents


def measure_profile(
    runs: Sequence[CalibrationRun],
    *,
    model: bytes,
    layer_start: int,
    layer_stop: int,
    numerics: Numerics,
    least_positions: int = CALIBRATION_POSITIONS_MIN,
    exponents: Exponents | None = None,
) -> CalibrationProfile:
    """The profile of a span from honest runs, best 16 or more sequences of 256 positions.

    ``exponents``: int8 ``(d,)``, measured on more text than the runs; None measures them on the runs.
    Raises ActivationError for arrays that do not fit, are not finite, or have no yardstick error."""
    if not runs:
        raise ActivationError("no run to calibrate on", expected="16 sequences of 256 positions")
    for run in runs:
        _require_run(run, width=runs[0].reference.shape[-1])
    if exponents is None:
        references = np.concatenate([run.reference for run in runs])
        exponents = channel_exponents(references, least_positions=least_positions)
    measured = [_measure(run, exponents) for run in runs]
    resolution = float(np.median([rho for rho, _ in measured]))
    distances = np.sqrt(np.concatenate([y for _, y in measured]))
    quantiles = np.quantile(distances, YARDSTICK_QUANTILES)
    return CalibrationProfile(
        model=model,
        layer_start=layer_start,
        layer_stop=layer_stop,
        numerics=numerics,
        exponents_biased=(exponents.astype(np.int16) + EXPONENT_MAX).astype(np.uint8).tobytes(),
        resolution_median_ppm=round(resolution * 1_000_000),
        yardstick_ppb=tuple(round(float(quantile) * 1_000_000_000) for quantile in quantiles),
    )


def write_profile(path: Path, profile: CalibrationProfile) -> None:
    """Write the encoding to ``path``. Raises StorageError."""
    try:
        path.write_bytes(profile.encode())
    except OSError as error:
        raise StorageError(f"cannot write the profile: {error.strerror}") from None


def read_profile(path: Path) -> CalibrationProfile:
    """Read what `write_profile` wrote. Raises StorageError, or MalformedRecordError."""
    try:
        with path.open("rb") as file:
            encoded = file.read(PROFILE_BYTES_MAX + 1)
    except OSError as error:
        raise StorageError(f"cannot read the profile: {error.strerror}") from None
    return CalibrationProfile.decode(encoded)


def _measure(run: CalibrationRun, exponents: Exponents) -> tuple[float, PerPosition]:
    norms, y, x, _, _ = yardstick_terms(run.reference, run.yardstick, run.inputs, exponents)
    known = norms > 0
    floor = trimmed_mean(y[known])
    if not floor > 0:
        raise ActivationError("the yardstick equals the reference", expected="bf16 rounding error")
    return float(np.sqrt(trimmed_mean(x[known]) / floor)), y[known]


def _require_run(run: CalibrationRun, *, width: int) -> None:
    shape = run.reference.shape
    for name in ("inputs", "reference", "yardstick"):
        rows = getattr(run, name)
        if rows.dtype != np.float32 or rows.ndim != 2 or rows.shape != (shape[0], width):
            raise ActivationError(
                f"{name} does not fit",
                expected=f"float32 ({shape[0]}, {width})"[:80],
                found=f"{rows.dtype} {rows.shape}"[:80],
            )
        if not bool(np.isfinite(rows).all()):
            raise ActivationError(f"{name} is not finite", expected="no infinity, no NaN")
