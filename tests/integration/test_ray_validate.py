"""`validate --ray`: a coordinator's loop over workers elsewhere. Source: specs/cli.md §11."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cli_pools import cli, environment
from cli_workshop import Workshop, actions, make_workshop
from fakes.tiny_files import tiny_llama_files
from unit.activations.test_runner_model_files import tiny_tensors, write_safetensors_folder

pytest.importorskip("ray", reason="ray is not installed")
pytestmark = pytest.mark.ray


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama_files(tmp_path_factory.mktemp("files") / "tiny")


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    return make_workshop(tmp_path_factory.mktemp("workshop"))


def arguments(workshop: Workshop, weights: Path, *more: object) -> list[object]:
    pool = workshop.stage.pool
    key = pool / "keys" / "validator-0.key"
    return ["validate", pool, "--key", key, "--model", weights, "--json", *more]


def test_honest_work_is_upheld_and_made_up_work_refuted(workshop: Workshop, weights: Path) -> None:
    receipts = [*workshop.work("job"), *workshop.work("lie", honest=False)]
    said = cli(*arguments(workshop, weights, "--once", "--ray", "local", "--ray-workers", 2))
    judged = {one["receipt"]: one["outcome"] for done in actions(said) for one in done.get("judgements", [])}
    assert judged == dict(zip(receipts, ["upheld", "upheld", "upheld", "refuted"], strict=True))
    assert {done["action"] for done in actions(said)} == {"committed", "revealed"}
    # Nothing is due any more, here as there.
    assert actions(cli(*arguments(workshop, weights, "--once"))) == []


def test_a_cluster_that_is_not_there_is_tried_another_time(workshop: Workshop, weights: Path) -> None:
    said = cli(*arguments(workshop, weights, "--once", "--ray", "127.0.0.1:1"))
    assert (said.code, said.answer["error"]) == (3, "BusyError")
    assert said.answer["expected"] == "127.0.0.1:1"


def test_workers_with_another_model_are_refused(
    workshop: Workshop, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same path on another machine may hold something else."""
    from creditledger.adapters import ray_reruns

    other = write_safetensors_folder(tmp_path / "other", tiny_tensors())
    real = ray_reruns.ray_reruns
    monkeypatch.setattr(
        ray_reruns, "ray_reruns", lambda address, model, **known: real(address, other, **known)
    )
    said = cli(*arguments(workshop, weights, "--once", "--ray", "local", "--ray-workers", 1))
    assert (said.code, said.answer["error"]) == (6, "UnknownIdError")
    assert "a worker has another model" in said.answer["message"]


def test_workers_without_ray_are_a_usage_error(workshop: Workshop, weights: Path) -> None:
    said = cli(*arguments(workshop, weights, "--once", "--ray-workers", 2))
    assert said.code == 2
    assert said.answer["message"] == "--ray-workers is for --ray"


def test_it_ends_when_told_to_and_takes_its_workers_along(workshop: Workshop, weights: Path) -> None:
    """Its standard output has lines of JSON and nothing else, whatever Ray has to say."""
    workshop.work("more")
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "creditledger"),
            *map(str, arguments(workshop, weights, "--interval", 1, "--ray", "local", "--ray-workers", 1)),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    assert process.stdout is not None
    first = process.stdout.readline()
    assert '"committed"' in first
    time.sleep(0.5)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert all(line.startswith("{") for line in out.splitlines()), out
    assert err == ""
    deadline = time.monotonic() + 20
    while (left := workers_of(process.pid)) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert left == []


def workers_of(parent: int) -> list[str]:
    """The Ray processes of a coordinator: their command lines name it nowhere, their session does."""
    found = []
    for status in Path("/proc").glob("[0-9]*/environ"):
        try:
            told = status.read_bytes()
            command = (status.parent / "cmdline").read_bytes()
        except OSError:
            continue
        if b"RAY_" in told and f"_{parent}/".encode() in told + command:
            found.append(command.decode(errors="replace")[:80])
    return found
