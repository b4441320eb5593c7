"""What checks measure of honest kernels and cheats on one span: one sample per window.

Source: specs/check.md §6."""

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from creditledger.activations.bf16 import Float32Array, round_bf16
from creditledger.activations.calibration import CalibrationProfile, CalibrationRun
from creditledger.activations.distance import CheckedWindow, SpotStatistics, spot_statistics
from creditledger.activations.runners.numpy_llama import NumpyLlama
from creditledger.activations.runners.span_kernels import Deliver, SpanKernel
from creditledger.activations.runners.weights import LoadedModel
from creditledger.activations.sketch import Exponents, sketch
from creditledger.errors import ActivationError, MalformedRecordError
from creditledger.records.receipt import WINDOW

SHORT_WINDOW: Final = 32
WINDOWS: Final = (SHORT_WINDOW, WINDOW)
SAMPLE_LINE_MAX: Final = 1_000
SAMPLES_MAX: Final = 1_000_000

Progress = Callable[[int, int], None]
"""Called with how much is done, and how much there is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What the check of one window of one kernel's output measured."""

    kernel: str
    is_honest: bool
    has_bf16_partials: bool
    sequence: int
    first_position: int
    statistics: SpotStatistics

    def to_line(self) -> str:
        """One line of JSON, without its end; null where infinite. Source: specs/cli.md §12."""
        stats = self.statistics
        answer = {
            "kernel": self.kernel,
            "honest": self.is_honest,
            "bf16_partials": self.has_bf16_partials,
            "sequence": self.sequence,
            "first_position": self.first_position,
            "positions": stats.positions,
            "unresolved": stats.unresolved,
            "ratio": _finite(stats.ratio),
            "tail": _finite(stats.tail),
            "tails_above": stats.tails_above,
            "resolution": _finite(stats.resolution),
        }
        return json.dumps(answer, separators=(",", ":"), allow_nan=False)

    @classmethod
    def from_line(cls, line: str) -> "Sample":
        """The inverse of `to_line`. Raises MalformedRecordError."""
        try:
            values = json.loads(line)
            return cls(
                kernel=_text(values["kernel"]),
                is_honest=bool(values["honest"]),
                has_bf16_partials=bool(values["bf16_partials"]),
                sequence=int(values["sequence"]),
                first_position=int(values["first_position"]),
                statistics=SpotStatistics(
                    ratio=_number(values["ratio"]),
                    tail=_number(values["tail"]),
                    tails_above=int(values["tails_above"]),
                    resolution=_number(values["resolution"]),
                    positions=int(values["positions"]),
                    unresolved=int(values["unresolved"]),
                    worst_position=0,
                ),
            )
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise MalformedRecordError("not a line of samples", found=ascii(line)[:80]) from error


def samples_header(profile: CalibrationProfile) -> str:
    """The first line of a samples file: which profile was measured along."""
    return json.dumps({"samples_of": profile.digest.hex()}, separators=(",", ":"))


def read_samples(lines: Iterable[str], *, profile: CalibrationProfile) -> Iterator[Sample]:
    """The samples that ``calibrate --samples`` wrote beside ``profile``. Raises MalformedRecordError."""
    for number, line in enumerate(lines):
        if number > SAMPLES_MAX or len(line) > SAMPLE_LINE_MAX:
            raise MalformedRecordError("too many samples", expected=f"at most {SAMPLES_MAX} short lines")
        if number:
            yield Sample.from_line(line)
        elif line.strip() != samples_header(profile):
            raise MalformedRecordError(
                "not samples of this profile", expected=samples_header(profile), found=ascii(line)[:100]
            )


def span_runs(
    model: LoadedModel,
    sequences: Iterable[Sequence[int]],
    *,
    layer_start: int,
    layer_stop: int,
    input_factor: float = 1.0,
) -> Iterator[CalibrationRun]:
    """Each token sequence through the span, as the check's reference and yardstick run it.

    Inputs are what honest nodes before the span deliver. ``input_factor`` scales them: a client's attempt
    to have bf16 swallow the span. Raises ActivationError for another span."""
    runner = NumpyLlama(model)
    for tokens in sequences:
        inputs = model.embedding(tokens)
        if layer_start:
            inputs = round_bf16(runner.reference(inputs, layer_start=0, layer_stop=layer_start))
        yield span_run(runner, _scaled(inputs, input_factor), layer_start=layer_start, layer_stop=layer_stop)


def span_run(
    runner: NumpyLlama, inputs: Float32Array, *, layer_start: int, layer_stop: int
) -> CalibrationRun:
    """One sequence's inputs, float32 of bf16 values, with the check's own two runs of them."""
    return CalibrationRun(
        inputs=inputs,
        reference=runner.reference(inputs, layer_start=layer_start, layer_stop=layer_stop),
        yardstick=runner.yardstick(inputs, layer_start=layer_start, layer_stop=layer_stop),
    )


def measure_samples(
    kernels: Sequence[SpanKernel],
    runs: Sequence[CalibrationRun],
    *,
    exponents: Exponents,
    seeds: int = 1,
    first_sequence: int = 0,
    progress: Progress | None = None,
) -> Iterator[Sample]:
    """Run every kernel on every sequence, and check windows of 32 and of 256 positions of what it delivers.

    ``runs``: two or more, each a multiple of 32 positions; ``seeds``: how many sketches are drawn of each
    output. The same arguments give the same samples. One kernel is prepared at a time: that bounds memory.
    Raises ActivationError."""
    if len(runs) < 2:
        raise ActivationError("one sequence cannot be replayed as another", expected="two or more runs")
    for number, kernel in enumerate(kernels):
        deliver = kernel.prepare()
        for index in range(len(runs)):
            claimed = _delivered(deliver, runs, index)
            for seed in range(seeds):
                yield from _samples(
                    kernel, claimed, runs[index], exponents, sequence=first_sequence + index, seed=seed
                )
            if progress is not None:
                progress(number * len(runs) + index + 1, len(kernels) * len(runs))


def _delivered(deliver: Deliver, runs: Sequence[CalibrationRun], index: int) -> Float32Array:
    return deliver(runs[index], runs[index - 1])


def _samples(
    kernel: SpanKernel,
    claimed: Float32Array,
    run: CalibrationRun,
    exponents: Exponents,
    *,
    sequence: int,
    seed: int,
) -> Iterator[Sample]:
    for positions in WINDOWS:
        for start in range(0, len(claimed) - positions + 1, positions):
            part = slice(start, start + positions)
            named = f"{kernel.name}/{sequence}/{positions}/{start}/{seed}"
            # Any seed that nobody chose will do: a receipt's is the hash of what was delivered.
            signs = hashlib.sha256(named.encode()).digest()
            window = CheckedWindow(
                claimed=sketch(claimed[part], seed=signs, exponents=exponents),
                seed=signs,
                reference=run.reference[part],
                yardstick=run.yardstick[part],
                inputs=run.inputs[part],
            )
            yield Sample(
                kernel=kernel.name,
                is_honest=kernel.is_honest,
                has_bf16_partials=kernel.has_bf16_partials,
                sequence=sequence,
                first_position=start,
                statistics=spot_statistics([window], exponents=exponents),
            )


def _scaled(inputs: Float32Array, factor: float) -> Float32Array:
    return inputs if factor == 1.0 else round_bf16(inputs * inputs.dtype.type(factor))


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _number(value: Any) -> float:
    number = math.inf if value is None else float(value)
    if not number >= 0:
        raise ValueError("not a statistic")
    return number


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.isprintable() or not 0 < len(value) <= 64:
        raise ValueError("not a kernel's name")
    return value
