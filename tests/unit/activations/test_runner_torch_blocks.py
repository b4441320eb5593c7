"""The torch modules compute what the numpy kernels do, and their hooks see every layer."""

import builtins
import importlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from creditledger.activations.bf16 import Float32Array, is_bf16_exact, round_bf16
from creditledger.activations.runners.numpy_llama import NumpyLlama
from creditledger.activations.runners.weights import LoadedModel, load_model
from creditledger.errors import ActivationError, StorageError
from unit.activations.test_runner_model_files import SHAPE, tiny_tensors, write_safetensors_folder

MODULE = "creditledger.activations.runners.torch_blocks"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    folder: Path = tmp_path_factory.mktemp("models")
    path = write_safetensors_folder(folder / "tiny", tiny_tensors())
    return load_model(path, cache_dir=folder / "c")


@pytest.fixture(scope="module")
def inputs() -> Float32Array:
    random = np.random.default_rng(5)
    return round_bf16(random.standard_normal((24, SHAPE.hidden), dtype=np.float32))


def _devices() -> tuple[str, ...]:
    pytest.importorskip("torch", reason="torch is not installed")
    from creditledger.activations.runners.torch_blocks import devices

    return devices()


def _blocks(model: LoadedModel, **kind: Any) -> Any:
    pytest.importorskip("torch", reason="torch is not installed")
    from creditledger.activations.runners.torch_blocks import TorchBlocks

    return TorchBlocks(model, layer_start=0, layer_stop=2, **kind)


@pytest.mark.torch
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_float32_modules_equal_the_reference(
    model: LoadedModel, inputs: Float32Array, attention: str
) -> None:
    ours = NumpyLlama(model).reference(inputs, layer_start=0, layer_stop=2)
    theirs = _blocks(model, dtype="float32", attention=attention).run(inputs)
    np.testing.assert_allclose(theirs, ours, atol=2e-5)


@pytest.mark.torch
def test_eager_bf16_rounds_where_the_yardstick_rounds(model: LoadedModel, inputs: Float32Array) -> None:
    """All but the order of summation is equal, so few elements differ; with sdpa many do."""
    ours = NumpyLlama(model).yardstick(inputs, layer_start=0, layer_stop=2)
    eager, sdpa = (_blocks(model, attention=kind).run(inputs) for kind in ("eager", "sdpa"))
    assert is_bf16_exact(eager)
    assert np.mean(eager != ours) < 0.5 * np.mean(sdpa != ours)


@pytest.mark.torch
def test_hooks_see_the_output_of_every_layer(model: LoadedModel, inputs: Float32Array) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    blocks, seen = _blocks(model), []
    for layer in blocks.layers:
        layer.register_forward_hook(lambda module, args, output: seen.append(output))
    batch = torch.from_numpy(np.stack([inputs, inputs[::-1]])).bfloat16()
    out = blocks(batch)
    assert len(seen) == 2
    assert torch.equal(seen[-1], out)
    np.testing.assert_array_equal(seen[-1][0].float().numpy(), blocks.run(inputs))


@pytest.mark.torch
def test_an_unknown_kernel_or_span_is_refused(model: LoadedModel, inputs: Float32Array) -> None:
    for kind in ({"dtype": "int8"}, {"attention": "flash"}):
        with pytest.raises(ActivationError, match="no such torch kernel"):
            _blocks(model, **kind)
    with pytest.raises(ActivationError, match="no such device here"):
        _blocks(model, device="abacus")
    with pytest.raises(ActivationError, match="wrong shape"):
        _blocks(model).run(inputs[:, :10])


@pytest.mark.torch
def test_the_processor_is_always_a_device(model: LoadedModel, inputs: Float32Array) -> None:
    assert "cpu" in _devices()
    np.testing.assert_array_equal(_blocks(model, device="cpu").run(inputs), _blocks(model).run(inputs))


@pytest.mark.cuda
@pytest.mark.torch
def test_a_gpu_gives_nearly_what_the_processor_gives(model: LoadedModel, inputs: Float32Array) -> None:
    if "cuda" not in _devices():
        pytest.skip("no CUDA device")
    ours = _blocks(model, dtype="float32").run(inputs)
    np.testing.assert_allclose(_blocks(model, dtype="float32", device="cuda").run(inputs), ours, atol=2e-3)


def test_without_torch_the_import_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    real_import = builtins.__import__

    def without_torch(name: str, *rest: Any, **more: Any) -> Any:
        if name.split(".")[0] == "torch":
            raise ImportError(name)
        return real_import(name, *rest, **more)

    monkeypatch.delitem(sys.modules, MODULE, raising=False)
    monkeypatch.setattr(builtins, "__import__", without_torch)
    with pytest.raises(StorageError, match=r"pip install 'creditledger\[torch\]'"):
        importlib.import_module(MODULE)
