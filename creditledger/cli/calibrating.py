"""`calibrate`: measure a span's honest kernels and write the profile it is judged by.

Source: specs/cli.md §12."""

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from creditledger.cli.options import OUTPUT_FILE, json_option, model_option, model_path
from creditledger.cli.output import emit, emit_rows
from creditledger.cli.output_file import output_file
from creditledger.cli.progress import bars

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from creditledger.activations.calibration import CalibrationProfile
    from creditledger.activations.runners.separation import KernelFigures
    from creditledger.activations.runners.span_samples import Sample
    from creditledger.activations.runners.weights import LoadedModel

    Show = Callable[[str, int, int], None]

CHEATS: Final = ("int8", "int8-g64", "fp8", "int4", "lora-1", "skip")
"""What a profile is tried against, from the finest; all of them are in `tests/benchmarks/detection.py`."""


@click.command()
@model_option
@click.option("--span", required=True, metavar="A:B", help="Layers, from 0, B exclusive.")
@click.option("-o", "--output", required=True, type=OUTPUT_FILE, metavar="PROFILE")
@click.option(
    "--sequences",
    type=click.IntRange(8, 64),
    default=16,
    show_default=True,
    help="How many of 256 tokens, from text that Python carries.",
)
@click.option(
    "--samples", type=OUTPUT_FILE, help="What was measured, a line per window, for `report checks`."
)
@json_option
def calibrate(
    model: str, span: str, output: Path, sequences: int, samples: Path | None, as_json: bool
) -> None:
    """Measure every honest kernel at hand on layers A to B, and write the profile that checks rely on.

    A span where checks could not tell honest kernels from int8 weights is refused: nothing is written."""
    from creditledger.activations.runners.separation import kernel_figures, require_separation
    from creditledger.activations.runners.weights import load_model

    start, stop = _span(span)
    with ExitStack() as places, bars(quiet=as_json) as show:
        write = places.enter_context(output_file(output))
        write_samples = None if samples is None else places.enter_context(output_file(samples))
        loaded = load_model(
            model_path(model), progress=lambda done, all_: show("convert the model", done, all_)
        )
        profile, measured = _measured(loaded, start, stop, sequences, show)
        figures = kernel_figures(measured, profile_resolution=profile.resolution_median)
        require_separation(figures)
        write(profile.encode())
        if write_samples is not None:
            write_samples(_sample_lines(profile, measured))
    _answer(profile, output, sequences, figures, as_json=as_json)


def _span(text: str) -> tuple[int, int]:
    start, colon, stop = text.partition(":")
    if not (colon and start.isdecimal() and stop.isdecimal() and len(text) <= 20):
        raise click.BadParameter(f"expected START:STOP, found {text[:40]!r}", param_hint="--span")
    return int(start), int(stop)


def _measured(
    model: "LoadedModel", start: int, stop: int, sequences: int, show: "Show"
) -> "tuple[CalibrationProfile, list[Sample]]":
    from creditledger.activations.calibration import measure_profile
    from creditledger.activations.runners.span_calibration import text_sequences
    from creditledger.activations.runners.span_kernels import degraded_kernels, honest_kernels
    from creditledger.activations.runners.span_samples import measure_samples, span_runs
    from creditledger.records.receipt import BF16_NUMERICS

    span: dict[str, Any] = {"layer_start": start, "layer_stop": stop}
    runs = []
    for run in span_runs(model, text_sequences(model, sequences), **span):
        runs.append(run)
        show("run the reference", len(runs), sequences)
    profile = measure_profile(runs, model=model.description.digest, numerics=BF16_NUMERICS, **span)
    kernels = [*honest_kernels(model, **span), *degraded_kernels(model, kinds=CHEATS, **span)]
    measured = measure_samples(
        kernels,
        runs,
        exponents=profile.exponents,
        progress=lambda done, all_: show("run honest kernels and cheats", done, all_),
    )
    return profile, list(measured)


def _sample_lines(profile: "CalibrationProfile", measured: "Sequence[Sample]") -> bytes:
    from creditledger.activations.runners.span_samples import samples_header

    lines = [samples_header(profile), *(sample.to_line() for sample in measured)]
    return "".join(f"{line}\n" for line in lines).encode()


def _answer(
    profile: "CalibrationProfile",
    output: Path,
    sequences: int,
    figures: "Sequence[KernelFigures]",
    *,
    as_json: bool,
) -> None:
    answer: dict[str, Any] = {
        "profile": profile.digest,
        "file": output,
        "model": profile.model,
        "layer_start": profile.layer_start,
        "layer_stop": profile.layer_stop,
        "sequences": sequences,
        "resolution": round(profile.resolution_median, 3),
    }
    rows = kernel_rows(figures)
    if as_json:
        emit(answer | {"kernels": rows}, as_json=True)
        return
    show_kernels(rows)
    emit(answer, as_json=False)


def show_kernels(rows: "Sequence[dict[str, Any]]") -> None:
    """The table for a person: of each kernel what decides."""
    shown = [
        {
            "kernel": row["kernel"],
            "honest": row["honest"],
            "32: median": round(row["ratio_median_32"], 2),
            "99.9 %": round(row["ratio_p999_32"], 2),
            "256: median": round(row["ratio_median_256"], 2),
            "tail": round(row["tail_max"], 1),
            "refuted": round(row["refuted_default_256"], 3),
            "strict": round(row["refuted_strict_256"], 3),
        }
        for row in rows
    ]
    emit_rows(shown, as_json=False, title="Ratios over 32 and 256 positions; share of the latter refuted")


def kernel_rows(figures: "Sequence[KernelFigures]") -> list[dict[str, Any]]:
    """One row per kernel: its ratios over short and whole windows, and what each bf16 rule makes of it."""
    rows: dict[str, dict[str, Any]] = {}
    for figure in figures:
        row = rows.setdefault(
            figure.kernel, {"kernel": figure.kernel, "honest": figure.is_honest, "tail_max": 0.0}
        )
        length = figure.positions
        row["tail_max"] = max(row["tail_max"], rounded(figure.tail_max))
        row[f"ratio_median_{length}"] = rounded(figure.ratio_median)
        row[f"ratio_p999_{length}"] = rounded(figure.ratio_p999)
        for rule in ("default", "strict"):
            row[f"refuted_{rule}_{length}"] = round(figure.refuted[rule], 4)
    return list(rows.values())


def rounded(value: float) -> float:
    """Three decimals; what is infinite is as far as JSON goes here."""
    return round(min(value, 1e9), 3)
