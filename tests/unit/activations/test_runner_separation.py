"""What checks measure of honest kernels and cheats on a span, and which spans they could not judge."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from creditledger.activations.bf16 import round_bf16
from creditledger.activations.calibration import CalibrationProfile, CalibrationRun
from creditledger.activations.distance import STRICT_RULE, threshold
from creditledger.activations.runners.numpy_llama import NumpyLlama
from creditledger.activations.runners.separation import KernelFigures, kernel_figures, require_separation
from creditledger.activations.runners.span_kernels import (
    counterfeit_kernels,
    degraded_kernels,
    honest_kernels,
)
from creditledger.activations.runners.span_samples import (
    Sample,
    measure_samples,
    read_samples,
    samples_header,
    span_run,
    span_runs,
)
from creditledger.activations.runners.weights import LoadedModel
from creditledger.errors import ActivationError, MalformedRecordError, RefusedError
from fakes.tiny_llama import SHAPE, inputs_of, profile_of, tiny_llama

SPAN = {"layer_start": 0, "layer_stop": 2}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return tiny_llama(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="module")
def profile(model: LoadedModel) -> CalibrationProfile:
    return profile_of(model, **SPAN)


def runs_of(model: LoadedModel) -> list[CalibrationRun]:
    runner = NumpyLlama(model)
    return [span_run(runner, inputs_of(SHAPE, 256, seed=seed), **SPAN) for seed in range(3)]


@pytest.fixture(scope="module")
def measured(model: LoadedModel, profile: CalibrationProfile) -> list[KernelFigures]:
    kernels = [*honest_kernels(model, **SPAN), *degraded_kernels(model, kinds=["int8"], **SPAN)]
    samples = measure_samples(kernels, runs_of(model), exponents=profile.exponents, seeds=3)
    return kernel_figures(samples, profile_resolution=profile.resolution_median)


@pytest.fixture(scope="module")
def figures(measured: list[KernelFigures]) -> list[KernelFigures]:
    """As measured, but int8 weights show as they do in wider models: test_cli_calibrate.py has a real one."""
    return changed(measured, "int8", 256, ratio_median=2.0)


def test_honest_kernels_are_never_refuted(measured: list[KernelFigures]) -> None:
    honest = [figure for figure in measured if figure.is_honest]
    assert {figure.kernel for figure in honest} >= {"yardstick", "flash", "fp16-activations", "split-k4-bf16"}
    for figure in honest:
        assert figure.windows == (72 if figure.positions == 32 else 9)
        assert figure.refuted["default"] == 0
        assert figure.inconclusive == 0
        assert 0 < figure.ratio_median <= figure.ratio_p999


def test_a_span_that_hides_int8_weights_is_refused(
    measured: list[KernelFigures], figures: list[KernelFigures]
) -> None:
    """Rows of 128 channels round away what int8 costs; the same figures with 2.0 there are accepted."""
    require_separation(figures)
    with pytest.raises(RefusedError, match="would not catch int8"):
        require_separation(measured)


def test_every_cheat_of_the_catalogue_is_caught_but_the_documented_ones(
    model: LoadedModel, profile: CalibrationProfile
) -> None:
    """Adapters below 1 % of the norm and an int8 cache hide in the tolerance: specs/check.md §6."""
    kernels = [*degraded_kernels(model, **SPAN), *counterfeit_kernels(seed=1)]
    measured = list(measure_samples(kernels, runs_of(model), exponents=profile.exponents))
    found = {f.kernel: f.refuted["strict"] for f in kernel_figures(measured) if f.positions == 256}
    hidden = {"lora-0.1", "lora-0.3", "kv-int8"}
    assert {kernel for kernel, share in found.items() if share < 1} <= hidden
    assert len(found) == 22
    assert found["lora-0.1"] == 0


def changed(
    figures: list[KernelFigures], kernel: str, positions: int, **values: float
) -> list[KernelFigures]:
    def change(figure: KernelFigures) -> KernelFigures:
        return (
            replace(figure, **values) if (figure.kernel, figure.positions) == (kernel, positions) else figure
        )  # type: ignore[arg-type]

    return [change(figure) for figure in figures]


STRICT_MOST = threshold(32, ratio_floor=STRICT_RULE.ratio_floor) / 1.1
STRICT_LEAST = 1.3 * threshold(256, ratio_floor=1.15)


@pytest.mark.parametrize(
    ("kernel", "positions", "name", "good", "bad", "message"),
    [
        ("flash", 32, "ratio_p999", STRICT_MOST - 1e-6, STRICT_MOST, "would refute the honest kernel flash"),
        ("split-k4-bf16", 32, "ratio_p999", STRICT_MOST + 0.1, 1.6, "the default rule would refute"),
        ("fused", 256, "tail_max", 5.99, 6.0, "too far off"),
        ("fused", 32, "inconclusive", 0.0, 0.01, "would decide nothing"),
        ("int8", 256, "ratio_median", STRICT_LEAST + 1e-6, STRICT_LEAST, "would not catch int8"),
    ],
)
def test_each_requirement_decides(
    figures: list[KernelFigures],
    kernel: str,
    positions: int,
    name: str,
    good: float,
    bad: float,
    message: str,
) -> None:
    """Kernels with bf16 partial sums are held to the default rule alone."""
    require_separation(changed(figures, kernel, positions, **{name: good}))
    with pytest.raises(RefusedError, match=message):
        require_separation(changed(figures, kernel, positions, **{name: bad}))


@pytest.mark.parametrize("missing", ["honest", "int8"])
def test_without_either_side_nothing_is_shown(figures: list[KernelFigures], missing: str) -> None:
    rest = [figure for figure in figures if figure.is_honest != (missing == "honest")]
    with pytest.raises(ActivationError, match="nothing to tell apart"):
        require_separation(rest)


def test_the_same_arguments_give_the_same_samples(model: LoadedModel, profile: CalibrationProfile) -> None:
    """And another seed other ones: a sketch is a draw."""

    def lines(seed: int) -> list[str]:
        kernels = [*honest_kernels(model, **SPAN)[:1], *counterfeit_kernels(seed=seed)[1:2]]
        measured = measure_samples(kernels, runs_of(model)[:2], exponents=profile.exponents)
        return [sample.to_line() for sample in measured]

    assert lines(4) == lines(4)
    assert lines(4)[:18] == lines(5)[:18]
    assert lines(4)[18:] != lines(5)[18:]


def test_progress_counts_every_run(model: LoadedModel, profile: CalibrationProfile) -> None:
    told: list[tuple[int, int]] = []
    kernels = honest_kernels(model, **SPAN)[:2]
    list(
        measure_samples(
            kernels,
            runs_of(model),
            exponents=profile.exponents,
            progress=lambda done, of: told.append((done, of)),
        )
    )
    assert told == [(done, 6) for done in range(1, 7)]


def test_a_later_span_gets_what_the_layers_before_deliver(model: LoadedModel) -> None:
    tokens = list(range(60))
    (run,) = span_runs(model, [tokens], layer_start=2, layer_stop=3)
    before = NumpyLlama(model).reference(model.embedding(tokens), layer_start=0, layer_stop=2)
    np.testing.assert_array_equal(run.inputs, round_bf16(before))
    (first,) = span_runs(model, [tokens], layer_start=0, layer_stop=1, input_factor=4.0)
    np.testing.assert_array_equal(first.inputs, 4 * model.embedding(tokens))


def test_samples_survive_their_file(model: LoadedModel, profile: CalibrationProfile) -> None:
    measured = list(
        measure_samples(honest_kernels(model, **SPAN)[:1], runs_of(model), exponents=profile.exponents)
    )
    lines = [samples_header(profile), *(sample.to_line() for sample in measured)]
    read = list(read_samples(lines, profile=profile))
    assert [sample.to_line() for sample in read] == lines[1:]
    with pytest.raises(MalformedRecordError, match="not samples of this profile"):
        list(read_samples(lines, profile=profile.replace(layer_stop=3)))


LINE = (
    '{"kernel":"fused","honest":true,"bf16_partials":false,"sequence":0,"first_position":0,"positions":32,'
    '"unresolved":0,"ratio":0.9,"tail":2.5,"tails_above":0,"resolution":90.0}'
)


def test_a_line_of_samples_is_read() -> None:
    assert Sample.from_line(LINE).statistics.tail == 2.5
    assert Sample.from_line(LINE.replace("90.0", "null")).statistics.resolution == float("inf")


@pytest.mark.parametrize(
    "spoil",
    [
        lambda line: line[:-1],
        lambda line: line.replace('"tail":2.5,', ""),
        lambda line: line.replace("0.9", "-0.9"),
        lambda line: line.replace("0.9", "NaN"),
        lambda line: line.replace("fused", "fu\\u001b[2Jsed"),
        lambda line: line.replace('"fused"', "7"),
        lambda line: "[" * 5000,
        lambda line: "[1]",
    ],
)
def test_other_lines_are_refused(spoil: Callable[[str], str]) -> None:
    with pytest.raises(MalformedRecordError, match="not a line of samples"):
        Sample.from_line(spoil(LINE))
