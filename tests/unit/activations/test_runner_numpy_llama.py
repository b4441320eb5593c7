"""The numpy kernels against an independent float64 model in plain loops, and against each other."""

import math
from collections.abc import Callable
from dataclasses import MISSING, fields, replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from creditledger.activations.bf16 import Float32Array, is_bf16_exact, round_bf16
from creditledger.activations.runners.degraded import (
    DEGRADED_KINDS,
    adapted,
    degrade_model,
    pruned,
    quantised_fp8,
)
from creditledger.activations.runners.generation import KeyValueCache, generate
from creditledger.activations.runners.layer_runner import LayerRunner
from creditledger.activations.runners.numerics import (
    FLASH,
    FP16_ACTIVATIONS,
    FP32_ACTIVATIONS,
    FUSED,
    FUSED_RESIDUAL32,
    HONEST_KERNELS,
    REFERENCE,
    SPLIT_K4,
    SPLIT_K4_BF16,
    YARDSTICK,
    Numerics,
)
from creditledger.activations.runners.numpy_llama import NumpyLlama
from creditledger.activations.runners.weights import LoadedModel, load_model
from creditledger.errors import ActivationError
from unit.activations.test_runner_model_files import (
    EPSILON,
    SHAPE,
    THETA,
    Tensors,
    tiny_tensors,
    write_safetensors_folder,
)

TOKENS = 24
MOSTLY_EQUAL = 0.02
Float64Array = NDArray[np.float64]
Rows = list[Float64Array]


@pytest.fixture(scope="module")
def tensors() -> Tensors:
    return tiny_tensors()


@pytest.fixture(scope="module")
def model(tensors: Tensors, tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    folder: Path = tmp_path_factory.mktemp("models")
    return load_model(write_safetensors_folder(folder / "tiny", tensors), cache_dir=folder / "c")


@pytest.fixture(scope="module")
def inputs() -> Float32Array:
    random = np.random.default_rng(5)
    return round_bf16(random.standard_normal((TOKENS, SHAPE.hidden), dtype=np.float32))


def _run(model: LoadedModel, inputs: Float32Array, numerics: Numerics) -> Float32Array:
    return NumpyLlama(model).run(inputs, layer_start=0, layer_stop=2, numerics=numerics)


def _distance(left: Float32Array, right: Float32Array) -> float:
    return float(np.linalg.norm(left - right) / np.linalg.norm(right))


def _exactly(values: Float64Array) -> Float64Array:
    return values


def _to_bf16(values: Float64Array) -> Float64Array:
    return round_bf16(np.asarray(values, dtype=np.float32)).astype(np.float64)


class Naive:
    """The architecture in float64 loops; ``keep`` is applied wherever the yardstick rounds."""

    def __init__(self, tensors: Tensors, keep: Callable[[Float64Array], Float64Array]) -> None:
        self._weights = {name: values.astype(np.float64) for name, values in tensors.items()}
        self._keep = keep

    def layer(self, rows: Rows, index: int) -> Rows:
        keep, prefix = self._keep, f"model.layers.{index}"
        normed = [self._norm(row, f"{prefix}.input_layernorm") for row in rows]
        added = self._attention(normed, f"{prefix}.self_attn")
        rows = [keep(row + add) for row, add in zip(rows, added, strict=True)]
        normed = [self._norm(row, f"{prefix}.post_attention_layernorm") for row in rows]
        added = [self._feed_forward(row, f"{prefix}.mlp") for row in normed]
        return [keep(row + add) for row, add in zip(rows, added, strict=True)]

    def _linear(self, name: str, row: Float64Array) -> Float64Array:
        return self._keep(self._weights[f"{name}.weight"] @ row)

    def _norm(self, row: Float64Array, name: str) -> Float64Array:
        mean = sum(float(value) ** 2 for value in row) / len(row)
        return self._keep(self._keep(row / math.sqrt(mean + EPSILON)) * self._weights[f"{name}.weight"])

    def _turn(self, head: Float64Array, position: int) -> Float64Array:
        """Channels i and i + half are a point in the plane, turned by position * frequency i."""
        keep, half, turned = self._keep, len(head) // 2, np.zeros(len(head))
        for i in range(half):
            angle = position * THETA ** (-2 * i / len(head))
            cosine, sine = keep(np.cos(angle)), keep(np.sin(angle))
            x, y = head[i], head[i + half]
            turned[i] = keep(keep(x * cosine) - keep(y * sine))
            turned[i + half] = keep(keep(y * cosine) + keep(x * sine))
        return turned

    def _attention(self, normed: Rows, name: str) -> Rows:
        """Query head h reads key-value head h // group, positions up to its own."""
        size, group = SHAPE.head_dim, SHAPE.heads // SHAPE.kv_heads
        q, k, v = ([self._linear(f"{name}.{part}_proj", row) for row in normed] for part in "qkv")
        out = []
        for t in range(len(normed)):
            context = np.zeros(SHAPE.heads * size)
            for head in range(SHAPE.heads):
                own = slice(head * size, (head + 1) * size)
                shared = slice(head // group * size, (head // group + 1) * size)
                keys = [self._turn(k[s][shared], s) for s in range(t + 1)]
                values = [v[s][shared] for s in range(t + 1)]
                context[own] = self._attend(self._turn(q[t][own], t), keys, values)
            out.append(self._linear(f"{name}.o_proj", context))
        return out

    def _attend(self, query: Float64Array, keys: Rows, values: Rows) -> Float64Array:
        keep = self._keep
        scores = [keep(keep(query @ key) / math.sqrt(SHAPE.head_dim)) for key in keys]
        powers = [math.exp(score) for score in scores]
        shares = [keep(np.asarray(power / sum(powers))) for power in powers]
        return keep(np.sum([p * value for p, value in zip(shares, values, strict=True)], axis=0))

    def _feed_forward(self, normed: Float64Array, name: str) -> Float64Array:
        gate = self._linear(f"{name}.gate_proj", normed)
        active = self._keep(np.array([g / (1 + math.exp(-g)) for g in gate]))
        product = self._keep(active * self._linear(f"{name}.up_proj", normed))
        return self._linear(f"{name}.down_proj", product)


def _naive(
    tensors: Tensors, inputs: Float32Array, keep: Callable[[Float64Array], Float64Array]
) -> Float64Array:
    rows, naive = [row.astype(np.float64) for row in inputs], Naive(tensors, keep)
    for index in range(SHAPE.layers):
        rows = naive.layer(rows, index)
    return np.array(rows)


def test_reference_is_the_architecture_written_out(
    model: LoadedModel, tensors: Tensors, inputs: Float32Array
) -> None:
    runner: LayerRunner = NumpyLlama(model)
    ours = runner.reference(inputs, layer_start=0, layer_stop=2)
    np.testing.assert_allclose(ours, _naive(tensors, inputs, _exactly), rtol=0, atol=2e-5)


def test_yardstick_rounds_after_every_operation(
    model: LoadedModel, tensors: Tensors, inputs: Float32Array
) -> None:
    """Bit for bit the written-out kernel, but for a few sums that fall just beside a tie."""
    ours = NumpyLlama(model).yardstick(inputs, layer_start=0, layer_stop=2)
    assert np.mean(ours != _naive(tensors, inputs, _to_bf16)) < MOSTLY_EQUAL


ROUNDINGS = [field.name for field in fields(Numerics) if field.type is bool and field.default is MISSING]
ROUNDINGS.remove("output")


@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_every_rounding_of_the_yardstick_shows(
    model: LoadedModel, inputs: Float32Array, rounding: str
) -> None:
    """Leaving out any one of them changes more than the order of summation does."""
    without = replace(YARDSTICK, **{rounding: False})  # type: ignore[arg-type]
    changed = np.mean(_run(model, inputs, without) != _run(model, inputs, YARDSTICK))
    assert changed > 2 * MOSTLY_EQUAL


def test_a_wrong_rotation_would_be_seen(model: LoadedModel, tensors: Tensors, inputs: Float32Array) -> None:
    """The comparison above has the power to tell: swapped halves are far away."""
    layer = model.layer(0)
    swapped = layer.query.reshape(SHAPE.heads, 2, -1, SHAPE.hidden)[:, ::-1].reshape(-1, 64)
    other = model.replacing_layers({0: replace(layer, query=np.ascontiguousarray(swapped))})
    assert _distance(_run(other, inputs, REFERENCE), _run(model, inputs, REFERENCE)) > 0.05


def test_partial_sums_in_bf16_are_farther_away(model: LoadedModel, inputs: Float32Array) -> None:
    exact = _run(model, inputs, REFERENCE)
    fine, coarse = (_distance(_run(model, inputs, kernel), exact) for kernel in (SPLIT_K4, SPLIT_K4_BF16))
    assert 1.02 * fine < coarse < 2 * fine


def test_blocks_of_keys_attend_to_what_all_at_once_do(model: LoadedModel, inputs: Float32Array) -> None:
    """Over 24 positions in blocks of 5: another order, the same attention."""
    exact = _run(model, inputs, REFERENCE)
    blocks, whole = _run(model, inputs, replace(FLASH, key_block=5)), _run(model, inputs, FUSED)
    assert not np.array_equal(blocks, whole)
    assert _distance(blocks, exact) == pytest.approx(_distance(whole, exact), rel=0.2)


def test_fp16_activations_are_fp16_and_nearer(model: LoadedModel, inputs: Float32Array) -> None:
    inside = _run(model, inputs, replace(FP16_ACTIVATIONS, output=False))
    np.testing.assert_array_equal(inside, inside.astype(np.float16))
    assert not is_bf16_exact(inside)
    exact = _run(model, inputs, REFERENCE)
    assert _distance(inside, exact) < 0.3 * _distance(_run(model, inputs, FUSED), exact)


@pytest.mark.parametrize("numerics", [REFERENCE, *HONEST_KERNELS], ids=lambda n: n.name)
def test_no_position_sees_a_later_one(model: LoadedModel, inputs: Float32Array, numerics: Numerics) -> None:
    changed = inputs.copy()
    changed[10:] += 1
    before, after = _run(model, inputs, numerics), _run(model, changed, numerics)
    np.testing.assert_allclose(after[:10], before[:10], atol=1e-4)
    assert not np.allclose(after[10:], before[10:], atol=1e-1)


@pytest.mark.parametrize("numerics", HONEST_KERNELS, ids=lambda n: n.name)
def test_what_is_delivered_is_bf16(model: LoadedModel, inputs: Float32Array, numerics: Numerics) -> None:
    assert is_bf16_exact(_run(model, inputs, numerics))
    assert not is_bf16_exact(_run(model, inputs, REFERENCE))


def test_a_kernel_that_rounds_less_is_nearer_to_the_reference(
    model: LoadedModel, inputs: Float32Array
) -> None:
    exact = _run(model, inputs, REFERENCE)
    order = (FP32_ACTIVATIONS, FUSED_RESIDUAL32, FUSED, YARDSTICK)
    distances = [_distance(_run(model, inputs, numerics), exact) for numerics in order]
    assert distances == sorted(distances)
    assert 0.001 < distances[0] < distances[-1] < 0.03


def test_order_of_summation_alone_changes_little(model: LoadedModel, inputs: Float32Array) -> None:
    """Split sums round at the same points as the yardstick: hardly an element differs."""
    yardstick, split = _run(model, inputs, YARDSTICK), _run(model, inputs, SPLIT_K4)
    fused = _run(model, inputs, FUSED)
    assert np.mean(split != yardstick) < 0.1 * np.mean(fused != yardstick)
    pieces = replace(REFERENCE, partial_sums=4)
    assert 0 < _distance(_run(model, inputs, pieces), _run(model, inputs, REFERENCE)) < 1e-5


def test_a_span_equals_its_layers_one_after_the_other(model: LoadedModel, inputs: Float32Array) -> None:
    runner = NumpyLlama(model)
    middle = runner.yardstick(inputs, layer_start=0, layer_stop=1)
    stepwise = runner.yardstick(middle, layer_start=1, layer_stop=2)
    np.testing.assert_array_equal(stepwise, runner.yardstick(inputs, layer_start=0, layer_stop=2))


def test_inputs_stay_as_they_were(model: LoadedModel, inputs: Float32Array) -> None:
    before = inputs.copy()
    _run(model, inputs, YARDSTICK)
    np.testing.assert_array_equal(inputs, before)


def test_blocks_of_queries_do_not_show(
    model: LoadedModel, inputs: Float32Array, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A prefix longer than one block of queries gives what it gives in one block."""
    whole = _run(model, inputs, REFERENCE)
    monkeypatch.setattr("creditledger.activations.runners.numpy_llama._QUERY_ROWS", 7)
    np.testing.assert_allclose(_run(model, inputs, REFERENCE), whole, atol=1e-5)


def test_extreme_gates_overflow_nothing(model: LoadedModel, inputs: Float32Array) -> None:
    layer = model.layer(0)
    other = model.replacing_layers({0: replace(layer, gate=layer.gate * np.float32(1e3))})
    with np.errstate(all="raise", under="ignore"):
        assert np.isfinite(_run(other, inputs, YARDSTICK)).all()


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda x: x.astype(np.float64), "wrong type"),
        (lambda x: x.tolist(), "wrong type"),
        (lambda x: x[:, :63], "wrong shape"),
        (lambda x: x[None], "wrong shape"),
        (lambda x: x[:0], "wrong shape"),
        (lambda x: np.where(x == x[3, 4], np.float32("nan"), x), "not finite"),
        (lambda x: np.where(x == x[3, 4], np.float32("inf"), x), "not finite"),
    ],
)
def test_unfit_inputs_are_refused(
    model: LoadedModel, inputs: Float32Array, change: object, match: str
) -> None:
    assert callable(change)
    with pytest.raises(ActivationError, match=match):
        NumpyLlama(model).yardstick(change(inputs), layer_start=0, layer_stop=2)


@pytest.mark.parametrize("span", [(0, 0), (1, 0), (-1, 1), (0, 3), (2, 3)])
def test_a_span_outside_the_model_is_refused(
    model: LoadedModel, inputs: Float32Array, span: tuple[int, int]
) -> None:
    with pytest.raises(ActivationError, match="no such span"):
        NumpyLlama(model).reference(inputs, layer_start=span[0], layer_stop=span[1])


def test_generation_with_a_cache_repeats_the_whole_prefix(model: LoadedModel) -> None:
    """Token by token with cached keys and values gives what re-running everything gives."""
    tokens = [3, 14, 15, 92, 65]
    expected = list(tokens)
    for _ in range(8):
        hidden = _run(model, model.embedding(expected), REFERENCE)
        expected.append(int(np.argmax(model.logits(hidden[-1:]))))
    made = generate(model, tokens, count=8, numerics=REFERENCE)
    assert made == expected[len(tokens) :]
    assert generate(model, tokens, count=8, stop_tokens=frozenset(made[2:3])) == made[:3]
    assert generate(model, tokens, count=0) == []


def test_generation_refuses_nothing_to_go_on(model: LoadedModel) -> None:
    with pytest.raises(ActivationError, match="tokens"):
        generate(model, [], count=3)
    with pytest.raises(ActivationError, match="negative"):
        generate(model, [1], count=-1)


def test_a_full_key_value_cache_refuses_more() -> None:
    rows = np.zeros((SHAPE.kv_heads, 3, SHAPE.head_dim), dtype=np.float32)
    cache = KeyValueCache(SHAPE, 5)
    assert cache.extend(0, rows, rows)[0].shape == rows.shape
    with pytest.raises(ActivationError, match="full"):
        cache.extend(0, rows, rows)


@pytest.mark.parametrize("kind", DEGRADED_KINDS)
def test_a_degraded_model_says_it_is_the_declared_one(
    model: LoadedModel, inputs: Float32Array, kind: str
) -> None:
    """Same digest, other numbers, and only inside its span; an adapter of 0.1 % hardly any."""
    cheat = degrade_model(model, kind, layer_start=1, layer_stop=2)
    assert cheat.description == model.description
    assert cheat.layer(0) is model.layer(0)
    own = _distance(_run(model, inputs, YARDSTICK), _run(model, inputs, REFERENCE))
    least = own / 10 if kind == "lora-0.1" else own / 3
    assert _distance(_run(cheat, inputs, REFERENCE), _run(model, inputs, REFERENCE)) > least
    assert model.layer(1) is not cheat.layer(1)


def test_coarser_weights_are_farther_away(model: LoadedModel, inputs: Float32Array) -> None:
    exact = _run(model, inputs, REFERENCE)
    int8, int4 = (
        _distance(_run(degrade_model(model, kind, layer_start=0, layer_stop=2), inputs, REFERENCE), exact)
        for kind in ("int8", "int4")
    )
    assert 0 < 5 * int8 < int4


def test_quantised_weights_have_as_many_levels_as_their_kind(model: LoadedModel) -> None:
    for kind, levels, columns in (("int8", 255, 96), ("int4", 15, 64)):
        cheat = degrade_model(model, kind, layer_start=0, layer_stop=1)
        for row, original in zip(cheat.layer(0).down, model.layer(0).down, strict=True):
            part, source = row[:columns], original[:columns]
            step = np.abs(source).max() / (levels // 2)
            np.testing.assert_allclose(part / step, np.rint(part / step), atol=1e-3)
            assert np.abs(part - source).max() <= step * 0.501


def test_fp8_weights_have_four_significant_bits() -> None:
    """Nearest values of e4m3 with the row's largest at 448; below 2^-6 the spacing stays 2^-9."""
    chance = np.random.default_rng(3)
    weight = (chance.standard_normal((4, 500)) * 448 / 5).astype(np.float32)
    weight[:, 0], weight[:, 1:9] = 448, 2.0**-6 * np.arange(8) / 8.3
    found, (mantissas, exponents) = quantised_fp8(weight), np.frexp(quantised_fp8(weight))
    normal = exponents > -6
    np.testing.assert_array_equal(mantissas[normal] * 16, np.rint(mantissas[normal] * 16))
    np.testing.assert_array_equal(found[~normal] * 512, np.rint(found[~normal] * 512))
    assert (np.abs(found - weight) <= np.maximum(np.abs(weight) / 15, 2.0**-10)).all()
    assert np.abs(found - weight).max() > 8


@pytest.mark.parametrize("share", [0.1, 0.3])
def test_pruning_drops_the_smallest(share: float) -> None:
    weight = np.random.default_rng(3).standard_normal((50, 60), dtype=np.float32)
    found = pruned(weight, share=share)
    dropped = found == 0
    assert dropped.mean() == pytest.approx(share, abs=0.001)
    assert np.abs(weight[dropped]).max() < np.abs(weight[~dropped]).min()
    np.testing.assert_array_equal(found[~dropped], weight[~dropped])


def test_an_adapter_has_its_share_of_the_norm_and_its_rank() -> None:
    weight = np.random.default_rng(3).standard_normal((50, 60), dtype=np.float32)
    change = adapted(weight, share=0.01) - weight
    assert np.linalg.norm(change) == pytest.approx(0.01 * np.linalg.norm(weight), rel=1e-3)
    sizes = np.linalg.svd(change, compute_uv=False)
    assert sizes[16] < 1e-3 * sizes[15]


def test_skipping_leaves_out_the_middle_layer(model: LoadedModel, inputs: Float32Array) -> None:
    cheat = NumpyLlama(degrade_model(model, "skip", layer_start=0, layer_stop=2))
    first = NumpyLlama(model).reference(inputs, layer_start=0, layer_stop=1)
    np.testing.assert_array_equal(cheat.reference(inputs, layer_start=0, layer_stop=2), first)


@pytest.mark.parametrize("span", [("fp3", 0, 1), ("int8", 1, 1), ("int8", 0, 3)])
def test_an_unknown_kind_or_span_is_refused(model: LoadedModel, span: tuple[str, int, int]) -> None:
    kind, start, stop = span
    with pytest.raises(ActivationError, match="cannot degrade"):
        degrade_model(model, kind, layer_start=start, layer_stop=stop)
