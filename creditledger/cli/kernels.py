"""`compare`: does a kernel or driver still pass the pool's check? Source: specs/cli.md §12."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from creditledger.cli.options import INPUT_FILE, json_option
from creditledger.cli.output import emit
from creditledger.errors import ActivationError, StorageError

if TYPE_CHECKING:
    from creditledger.activations.delivered import Rows
    from creditledger.activations.distance import Comparison
    from creditledger.activations.sketch import Exponents

ARRAY_BYTES_MAX: Final = 2 * 1024**3


@click.command()
@click.argument("claimed", metavar="CLAIMED.npy", type=INPUT_FILE)
@click.argument("reference", metavar="REFERENCE.npy", type=INPUT_FILE)
@click.argument("yardstick", metavar="YARDSTICK.npy", type=INPUT_FILE)
@click.option("--input", "inputs", metavar="INPUT.npy", required=True, type=INPUT_FILE)
@click.option("--profile", "profile_path", type=INPUT_FILE, help="Calibration of the span.")
@click.option(
    "--rule", type=click.Choice(["default", "strict", "declared"]), default="default", show_default=True
)
@json_option
def compare(
    claimed: Path,
    reference: Path,
    yardstick: Path,
    inputs: Path,
    profile_path: Path | None,
    rule: str,
    as_json: bool,
) -> None:
    """Judge CLAIMED, a kernel's output, as a validator would judge its receipts.

    All arrays are (positions, hidden): float32, float16, or bf16 as uint16 bit patterns. REFERENCE is a
    high-precision run, YARDSTICK the canonical bf16 run, INPUT what all started from. Without --profile
    the channel exponents come from REFERENCE. Exits 0 whatever the outcome."""
    from creditledger.activations.calibration import read_profile
    from creditledger.activations.distance import RULES, compare_tensors

    arrays = [_array(path) for path in (claimed, reference, yardstick, inputs)]
    profile = None if profile_path is None else read_profile(profile_path)
    exponents = _exponents(arrays[1]) if profile is None else profile.exponents
    resolution = None if profile is None else profile.resolution_median
    compared = compare_tensors(
        arrays[0],
        arrays[1],
        arrays[2],
        arrays[3],
        exponents,
        rule=RULES[rule],
        profile_resolution=resolution,
    )
    emit(_answer(compared, rule), as_json=as_json)


def _array(path: Path) -> "Rows":
    """The rows in a ``.npy`` file: mapped first, so that a header can promise no more than there is."""
    import numpy as np
    from numpy.lib.format import open_memmap

    try:
        if path.stat().st_size > ARRAY_BYTES_MAX:
            raise ActivationError(f"{path} is too long", expected=f"at most {ARRAY_BYTES_MAX} bytes")
        mapped = open_memmap(path, mode="r")
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror or error}") from error
    except (ValueError, TypeError, SyntaxError, OverflowError, EOFError) as error:
        raise ActivationError(f"{path} is not an array: {error}", expected="a .npy file") from None
    if mapped.ndim != 2 or mapped.dtype not in (np.float32, np.float16, np.uint16) or not mapped.size:
        raise ActivationError(
            f"{path} does not fit",
            expected="(positions, hidden) of float32, float16 or uint16",
            found=f"{mapped.dtype} {mapped.shape}"[:80],
        )
    rows: Rows = np.ascontiguousarray(mapped)
    return rows


def _exponents(reference: "Rows") -> "Exponents":
    from creditledger.activations.calibration import channel_exponents
    from creditledger.activations.sketch import real_rows

    return channel_exponents(real_rows(reference), least_positions=1)


def _answer(compared: "Comparison", rule: str) -> dict[str, Any]:
    worst = compared.worst
    return {
        "outcome": worst.outcome.name.lower(),
        "reason": worst.reason.name.lower(),
        "ratio": _finite(worst.statistics.ratio),
        "threshold": _finite(worst.threshold),
        "tail": _finite(worst.statistics.tail),
        "resolution": _finite(worst.statistics.resolution),
        "rule": rule,
        "positions": worst.statistics.positions,
        "unresolved": worst.statistics.unresolved,
        "windows": len(compared.windows),
    }


def _finite(value: float) -> float | None:
    """None for infinity: JSON has no word for it."""
    return value if math.isfinite(value) else None
