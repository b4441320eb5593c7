"""Spans re-executed on Ray: the same verdicts as here, whichever workers are lost. specs/validation.md §11.

``CREDITLEDGER_RAY_CHECKS=500 CREDITLEDGER_RAY_KILL_MS=5000 pytest -m ray -n 0 -s`` is the long tier."""

import gc
import os
import random
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from creditledger.activations.runners.weights import load_model
from creditledger.adapters import ray_reruns as edge
from creditledger.adapters.ray_reruns import RayReruns, ray_reruns
from creditledger.errors import ActivationError, BusyError, UnknownIdError
from creditledger.ledger.writer import Acknowledgement
from creditledger.records.verdict import Outcome
from creditledger.validation.judgement import Judgement
from creditledger.validation.validator import Committed
from fakes.tiny_files import tiny_llama_files
from fakes.tiny_llama import SHAPE, inputs_of
from fakes.working_pool import CountedBytes, WorkingModel, WorkingPool

ray = pytest.importorskip("ray", reason="ray is not installed")
pytestmark = pytest.mark.ray
CHECKS = int(os.environ.get("CREDITLEDGER_RAY_CHECKS", "64"))
KILL_MS = int(os.environ.get("CREDITLEDGER_RAY_KILL_MS", "1500"))
WINDOWS = 4
"""Of each span: a job of two spans is twice as many checks."""
WORKERS = 2
Judgements = Mapping[bytes, Judgement]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama_files(tmp_path_factory.mktemp("files") / "tiny")


@pytest.fixture(scope="module")
def digest(weights: Path) -> bytes:
    return load_model(weights).description.digest


@pytest.fixture(scope="module")
def cluster(weights: Path, digest: bytes) -> Iterator[RayReruns]:
    with ray_reruns("local", weights, digest=digest, workers=WORKERS) as reruns:
        yield reruns


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkingPool]:
    """A certified round of `CHECKS` receipts, honest ones and others, that validator 0 has to check."""
    model = WorkingModel(tmp_path_factory.mktemp("model") / "weights")
    pool = WorkingPool(tmp_path_factory.mktemp("pool"), model, validators=1)
    jobs = -(-CHECKS // (2 * WINDOWS))
    pool.ledger.append(pool.papers.grant(pool.client.public_key, jobs * 10**8))
    pool.certify()
    kernels = [model.honest, model.degraded("int8"), model.degraded("skip"), model.noise, model.replayed]
    for number in range(jobs):
        job = pool.order(tag=number, positions=256 * WINDOWS)
        rows = inputs_of(SHAPE, 256 * WINDOWS, seed=number)
        if number % 7 == 6:
            rows[300] *= 32  # longer than any embedding: from there on, spans from layer 0 are blind
        pool.run(job, inputs=rows, kernels={1: kernels[number % len(kernels)]})
    pool.certify()
    yield pool
    pool.close()


@pytest.fixture(scope="module")
def here(pool: WorkingPool) -> Judgements:
    return judged(pool, "here")


def judged(pool: WorkingPool, name: str, **changes: Any) -> Judgements:
    """What validator 0 would commit to, with a journal of its own. It is told that that was logged."""
    validator = pool.validator(
        0,
        journal=pool.folder / f"journal of {name}",
        submit=lambda submission: Acknowledgement(index=0, leaf_hash=bytes(32), repeated=False),
        random_bytes=CountedBytes("the same"),
        **changes,
    )
    try:
        committed = [action for action in validator.step() if isinstance(action, Committed)]
    finally:
        validator.close()
    return {receipt: one for action in committed for receipt, one in action.judgements.items()}


def test_ray_and_local_verdicts_agree(pool: WorkingPool, here: Judgements, cluster: RayReruns) -> None:
    """To the last bit of their statistics."""
    assert len(here) >= CHECKS
    assert {one.outcome for one in here.values()} == {Outcome.UPHELD, Outcome.REFUTED, Outcome.INCONCLUSIVE}
    began = time.monotonic()
    assert judged(pool, "ray", reruns=cluster) == here
    print(f"{len(here)} checks on {WORKERS} workers: {time.monotonic() - began:.1f} s")


def test_killing_workers_costs_time_not_verdicts(
    pool: WorkingPool, here: Judgements, cluster: RayReruns
) -> None:
    began, lost_before, rounds = time.monotonic(), cluster.lost, 0
    with killing(cluster) as killed:
        while len(killed) < 3 or time.monotonic() - began < 4 * KILL_MS / 1_000:
            assert judged(pool, f"killed {rounds}", reruns=cluster) == here
            rounds += 1
    assert cluster.lost > lost_before
    print(
        f"{rounds} times {len(here)} checks: {time.monotonic() - began:.1f} s, {len(killed)} workers killed, "
        f"{cluster.lost - lost_before} spans run again, 0 verdicts others"
    )


def pids(cluster: RayReruns) -> list[int]:
    """Of the workers that are up."""
    found = []
    for worker in cluster._workers:
        with suppress(ray.exceptions.RayError):  # it is just starting
            found.append(ray.get(worker.actor.describe.remote(), timeout=5)[1])
    return found


@contextmanager
def killing(cluster: RayReruns) -> Iterator[list[int]]:
    """SIGKILLs one worker every `KILL_MS`; the list of those that it killed."""
    killed: list[int] = []
    stop, chance = threading.Event(), random.Random(1)

    def kill() -> None:
        while not stop.wait(KILL_MS / 1_000):
            up = pids(cluster)
            if up:
                victim = chance.choice(up)
                with suppress(ProcessLookupError):
                    os.kill(victim, signal.SIGKILL)
                    killed.append(victim)

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        yield killed
    finally:
        stop.set()
        thread.join()


def test_inputs_that_no_model_takes_are_told_as_here(cluster: RayReruns, digest: bytes) -> None:
    rows = inputs_of(SHAPE, 32, seed=1)
    reference, yardstick = cluster.begin(digest, rows, layer_start=0, layer_stop=2)()
    assert reference.shape == yardstick.shape == rows.shape
    rows[3, 3] = np.inf
    with pytest.raises(ActivationError, match="not finite"):
        cluster.begin(digest, rows, layer_start=0, layer_stop=2)()
    with pytest.raises(UnknownIdError, match="another model"):
        cluster.begin(bytes(32), rows, layer_start=0, layer_stop=2)


def test_a_span_whose_workers_always_go_is_left_for_later(
    cluster: RayReruns, digest: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = inputs_of(SHAPE, 2_048, seed=2)
    while len(up := pids(cluster)) < WORKERS:
        time.sleep(0.1)
    monkeypatch.setattr(edge, "LOSSES_MAX", 1)
    pending = [cluster.begin(digest, long, layer_start=0, layer_stop=4) for _ in range(WORKERS)]
    for pid in up:
        os.kill(pid, signal.SIGKILL)
    for wait in pending:
        with pytest.raises(BusyError, match="workers are lost"):
            wait()
    monkeypatch.undo()
    cluster.begin(digest, long, layer_start=0, layer_stop=4)()


def test_room_is_given_back(cluster: RayReruns, digest: bytes) -> None:
    """After losses and refusals no worker is thought to have anything to do."""
    rows = inputs_of(SHAPE, 32, seed=1)
    assert cluster.at_once == 2 * WORKERS
    pending = [cluster.begin(digest, rows, layer_start=0, layer_stop=2) for _ in range(cluster.at_once)]
    assert [len(worker.under_way) for worker in cluster._workers] == [2] * WORKERS
    for wait in pending:
        wait()
    assert [len(worker.under_way) for worker in cluster._workers] == [0] * WORKERS


def test_what_nobody_waits_for_takes_no_room(cluster: RayReruns, digest: bytes) -> None:
    """A judge that cannot have one span gives up the round, and with it all others that it had begun."""
    rows = inputs_of(SHAPE, 32, seed=1)
    begun = [cluster.begin(digest, rows, layer_start=0, layer_stop=2) for _ in range(cluster.at_once)]
    begun[0]()
    begun.clear()
    gc.collect()
    assert [len(worker.under_way) for worker in cluster._workers] == [0] * WORKERS


def test_a_cluster_that_is_not_there_is_said_at_once(weights: Path, digest: bytes) -> None:
    began = time.monotonic()
    with (
        pytest.raises(BusyError, match="no Ray cluster answers"),
        ray_reruns("127.0.0.1:1", weights, digest=digest),
    ):
        pass
    assert time.monotonic() - began < 10
