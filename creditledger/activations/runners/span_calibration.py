"""Calibration of spans on a real text: the profiles that nodes sketch with and validators judge by.

Source: specs/check.md §6."""

from collections.abc import Callable, Iterator, Sequence
from typing import Final

import numpy as np

from creditledger.activations.bf16 import Float32Array, round_bf16
from creditledger.activations.calibration import (
    CalibrationProfile,
    CalibrationRun,
    channel_exponents,
    measure_profile,
)
from creditledger.activations.runners.numpy_llama import NumpyLlama
from creditledger.activations.runners.weights import LoadedModel
from creditledger.errors import ActivationError
from creditledger.records.receipt import BF16_NUMERICS

SEQUENCE_POSITIONS: Final = 256
SEQUENCES: Final = 8
"""8 sequences are the 2,048 positions that channel exponents need."""
YARDSTICK_SEQUENCES: Final = 2
"""Resolution and yardstick quantiles settle on fewer."""


def reference_text() -> str:
    """English prose that every CPython carries: the language reference that `help` shows."""
    from pydoc_data import topics

    pages: dict[str, str] = topics.topics
    return "\n".join(pages[name] for name in sorted(pages))


def calibrate_spans(
    model: LoadedModel,
    spans: Sequence[tuple[int, int]],
    *,
    sequences: int = SEQUENCES,
    progress: Callable[[int, int], None] | None = None,
) -> list[CalibrationProfile]:
    """One profile per span ``(layer_start, layer_stop)``, spans joining one another from layer 0 on.

    A span's inputs are what an honest node before it delivers. ``progress(done, all)`` is called after
    each sequence. Raises ActivationError for spans that do not join."""
    if [start for start, _ in spans] != [0, *(stop for _, stop in spans[:-1])]:
        raise ActivationError("spans do not join", expected="each from where the last one stops")
    runner = NumpyLlama(model)
    references: list[list[Float32Array]] = [[] for _ in spans]
    runs: list[list[CalibrationRun]] = [[] for _ in spans]
    for done, tokens in enumerate(text_sequences(model, sequences), start=1):
        hidden = model.embedding(tokens)
        for number, (start, stop) in enumerate(spans):
            reference = runner.reference(hidden, layer_start=start, layer_stop=stop)
            references[number].append(reference)
            if done <= YARDSTICK_SEQUENCES:
                yardstick = runner.yardstick(hidden, layer_start=start, layer_stop=stop)
                runs[number].append(CalibrationRun(inputs=hidden, reference=reference, yardstick=yardstick))
            hidden = round_bf16(reference)
        if progress is not None:
            progress(done, sequences)
    return [
        measure_profile(
            runs[number],
            model=model.description.digest,
            layer_start=start,
            layer_stop=stop,
            numerics=BF16_NUMERICS,
            exponents=channel_exponents(np.concatenate(references[number])),
        )
        for number, (start, stop) in enumerate(spans)
    ]


def text_sequences(model: LoadedModel, count: int) -> Iterator[list[int]]:
    """``count`` sequences of 256 tokens, spread over `reference_text`: no page's habits become the profile.

    Raises ActivationError where that gives too few tokens, StorageError for a model without tokenizer."""
    text = reference_text()
    stride = len(text) // count
    for number in range(count):
        tokens = model.encode(text[number * stride : number * stride + 8 * SEQUENCE_POSITIONS])
        if len(tokens) < SEQUENCE_POSITIONS:
            raise ActivationError("reference text gives too few tokens", found=str(len(tokens)))
        yield tokens[:SEQUENCE_POSITIONS]
