"""Channel exponents and the profile's one encoding. specs/check.md §6."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import msgpack
import numpy as np
import pytest

from creditledger.activations.bf16 import round_bf16
from creditledger.activations.calibration import (
    CalibrationProfile,
    CalibrationRun,
    channel_exponents,
    measure_profile,
    read_profile,
    write_profile,
)
from creditledger.errors import ActivationError, MalformedRecordError, StorageError
from creditledger.records.receipt import BF16_NUMERICS

VECTOR = Path(__file__).parents[2] / "vectors" / "check" / "profile.json"
PROFILE = CalibrationProfile(
    model=b"\1" * 32,
    layer_start=4,
    layer_stop=8,
    numerics=BF16_NUMERICS,
    exponents_biased=bytes([0, 8, 16, 9]),
    resolution_median_ppm=61_500_000,
    yardstick_ppb=(1, 2, 3, 4, 5),
)


def test_exponents_even_out_the_channels() -> None:
    scales = np.array([1.0, 1.0, 1.0, 2.0, 4.1, 0.25, 1000.0, 1e-6, 0.0], np.float32)
    signs = np.where(np.random.default_rng(1).random((2048, 9)) < 0.5, -1, 1).astype(np.float32)
    assert channel_exponents(signs * scales).tolist() == [0, 0, 0, -1, -2, 2, -8, 8, 8]


def test_quiet_channels_are_lifted_to_one() -> None:
    rows = np.ones((2048, 3), np.float32)
    assert channel_exponents(rows * np.float32(2.0**-5)).tolist() == [5, 5, 5]
    assert channel_exponents(rows * np.float32(2.0**-12)).tolist() == [8, 8, 8]
    assert channel_exponents(rows * np.float32(2.0**12)).tolist() == [0, 0, 0]


def test_outlier_positions_do_not_count() -> None:
    rows = np.ones((2048, 4), np.float32)
    rows[:5, 0] = 1e4
    assert channel_exponents(rows).tolist() == [0, 0, 0, 0]
    rows[:5, 0] = 15.0  # a norm of nearly 8 medians is ordinary, and shows once there are enough
    rows[:900, 0] = 15.0
    assert channel_exponents(rows)[0] < 0


def test_too_few_rows_are_refused() -> None:
    rows = np.ones((2048, 4), np.float32)
    channel_exponents(rows)
    with pytest.raises(ActivationError):
        channel_exponents(rows[:-1])
    assert channel_exponents(rows[:10], least_positions=10).shape == (4,)


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf])
def test_rows_without_information_are_refused(value: float) -> None:
    with pytest.raises(ActivationError):
        channel_exponents(np.full((2048, 4), value, np.float32))


def runs(count: int = 8) -> list[CalibrationRun]:
    rng = np.random.default_rng(4)
    made = []
    for _ in range(count):
        inputs = round_bf16(rng.standard_normal((256, 24)).astype(np.float32))
        reference = inputs + rng.standard_normal((256, 24)).astype(np.float32) * 0.3
        made.append(CalibrationRun(inputs=inputs, reference=reference, yardstick=noisy(reference, rng)))
    return made


def noisy(rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return round_bf16(rows + rng.standard_normal(rows.shape).astype(np.float32) * 0.003)


def profile_of(given: list[CalibrationRun]) -> CalibrationProfile:
    return measure_profile(given, model=b"\1" * 32, layer_start=0, layer_stop=4, numerics=BF16_NUMERICS)


def test_a_measured_profile_describes_its_runs() -> None:
    profile = profile_of(runs())
    assert profile.exponents.tolist() == [0] * 24
    assert 50 < profile.resolution_median < 120
    assert profile.yardstick_ppb[0] < profile.yardstick_ppb[4]
    assert 2_000_000 < profile.yardstick_ppb[2] < 6_000_000
    assert CalibrationProfile.decode(profile.encode()) == profile


@pytest.mark.parametrize("name", ["inputs", "reference", "yardstick"])
def test_runs_that_do_not_fit_are_refused(name: str) -> None:
    good = runs()
    for wrong in (
        getattr(good[1], name)[:-1],
        getattr(good[1], name).astype(np.float64),
        np.full((256, 24), np.nan, np.float32),
    ):
        with pytest.raises(ActivationError):
            profile_of([good[0], replace(good[1], **{name: wrong}), *good[2:]])


def test_runs_without_a_yardstick_error_or_no_runs_are_refused() -> None:
    with pytest.raises(ActivationError):
        profile_of([replace(run, yardstick=round_bf16(run.reference)) for run in runs()])
    with pytest.raises(ActivationError):
        profile_of([])


def test_stored_vector() -> None:
    vector = json.loads(VECTOR.read_text())
    encoded = bytes.fromhex(vector["encoded"])
    profile = CalibrationProfile.decode(encoded)
    assert profile.exponents.tolist() == vector["exponents"]
    assert profile.exponents.dtype == np.int8
    assert profile.resolution_median_ppm == vector["resolution_median_ppm"]
    assert list(profile.yardstick_ppb) == vector["yardstick_ppb"]
    assert profile.encode() == encoded
    assert profile.digest.hex() == vector["digest"] == hashlib.sha256(encoded).hexdigest()


def values_of(profile: CalibrationProfile) -> list:
    return msgpack.unpackb(profile.encode())


@pytest.mark.parametrize(
    ("at", "value"),
    [
        (0, b"cl/other"),
        (1, 2),
        (2, b"\1" * 31),
        (3, 8),
        (6, b""),
        (6, bytes([17])),
        (8, [1, 2, 3, 4]),
        (8, [2, 1, 3, 4, 5]),
    ],
    ids=["tag", "version", "model", "no-layer", "no-channel", "exponent", "four", "descending"],
)
def test_another_content_is_refused(at: int, value: object) -> None:
    values = values_of(PROFILE)
    assert CalibrationProfile.decode(msgpack.packb(values)) == PROFILE
    values[at] = value
    with pytest.raises(MalformedRecordError):
        CalibrationProfile.decode(msgpack.packb(values))


def test_another_encoding_of_the_same_values_is_refused() -> None:
    encoded = PROFILE.encode()
    with pytest.raises(MalformedRecordError):
        CalibrationProfile.decode(encoded + b"\0")
    longer = b"\xdc" + len(values_of(PROFILE)).to_bytes(2, "big") + encoded[1:]
    assert msgpack.unpackb(longer) == values_of(PROFILE)
    with pytest.raises(MalformedRecordError):
        CalibrationProfile.decode(longer)


def test_a_profile_survives_its_file(tmp_path: Path) -> None:
    path = tmp_path / "span.profile"
    write_profile(path, PROFILE)
    assert read_profile(path) == PROFILE
    path.write_bytes(bytes(70_000))
    with pytest.raises(MalformedRecordError):
        read_profile(path)
    with pytest.raises(StorageError):
        read_profile(tmp_path / "missing")
    with pytest.raises(StorageError):
        write_profile(tmp_path / "missing" / "file", PROFILE)
