"""Profiles of the demo's spans, measured once and kept in the cache by what they were measured on."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

from creditledger.activations.calibration import CalibrationProfile, read_profile, write_profile
from creditledger.activations.runners.span_calibration import calibrate_spans
from creditledger.activations.runners.weight_cache import default_cache_dir
from creditledger.activations.runners.weights import LoadedModel
from creditledger.errors import CreditLedgerError


def span_profiles(
    model: LoadedModel, spans: Sequence[tuple[int, int]], *, progress: Callable[[int, int], None]
) -> list[CalibrationProfile]:
    """One profile per span, from the cache where it has them all."""
    folder = default_cache_dir().parent / "profiles"
    files = [_file(folder, model.description.digest, spans, stop) for _, stop in spans]
    cached = [_cached(file) for file in files]
    if all(cached):
        return [profile for profile in cached if profile is not None]
    measured = calibrate_spans(model, spans, progress=progress)
    folder.mkdir(parents=True, exist_ok=True)
    for file, profile in zip(files, measured, strict=True):
        write_profile(file, profile)
    return measured


def _file(folder: Path, model: bytes, spans: Sequence[tuple[int, int]], stop: int) -> Path:
    plan = hashlib.sha256(model + repr(list(spans)).encode()).hexdigest()[:32]
    return folder / f"{plan}-{stop}.profile"


def _cached(file: Path) -> CalibrationProfile | None:
    try:
        return read_profile(file)
    except (CreditLedgerError, OSError):
        return None
