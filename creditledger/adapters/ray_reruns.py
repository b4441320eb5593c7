"""Spans re-executed by the workers of a Ray cluster. Source: specs/validation.md §11.

Ray places, starts and restarts the workers. What is run twice because a worker was lost gives the same; what
no worker could run is told as such, and judged another time."""

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Final, TypeAlias
from weakref import WeakSet

from creditledger.activations.bf16 import Float32Array
from creditledger.adapters.span_worker import Answer, SpanWorker
from creditledger.errors import ActivationError, BusyError, StorageError, UnknownIdError
from creditledger.validation.reruns import PendingRerun, RerunOutputs

LOCAL: Final = "local"
"""Instead of an address: a cluster of this machine alone, for as long as this process lives."""
SPANS_A_WORKER: Final = 2
"""One that it runs, and the next."""
LOSSES_MAX: Final = 12
"""How often one span is begun anew because its worker was lost."""
LOST_WAIT_SECONDS: Final = 0.5
START_SECONDS: Final = 120
"""How long workers may take to start and to load what describes their model."""
SPAN_SECONDS: Final = 600
"""How long one span may take, or wait for a machine, before its worker is taken for lost."""
_PROBE_SECONDS: Final = 5

_Span: TypeAlias = tuple[int, int]


@dataclass(slots=True)
class _Worker:
    actor: Any
    spans: set[_Span] = field(default_factory=set)
    """What it was asked for: these weights it has."""
    under_way: "WeakSet[_Pending]" = field(default_factory=WeakSet)
    """What somebody still waits for: a judge that gives up a round lets go of what it had begun."""


class RayReruns:
    """A `Reruns` over the workers of one model. Made by `ray_reruns`; used from one thread."""

    def __init__(self, ray: Any, actors: list[Any], *, model: bytes) -> None:
        self._ray = ray
        self._model = model
        self._workers = [_Worker(actor) for actor in actors]
        self.at_once = SPANS_A_WORKER * len(actors)
        self.lost = 0
        """How often a worker was lost with a span under way."""

    def begin(self, model: bytes, inputs: Float32Array, *, layer_start: int, layer_stop: int) -> PendingRerun:
        """See `Reruns.begin`. Raises UnknownIdError for another model than the workers'."""
        if model != self._model:
            raise UnknownIdError(
                "the workers have another model", expected=model.hex(), found=self._model.hex()
            )
        pending = _Pending(self, inputs, (layer_start, layer_stop))
        pending.send()
        return pending.wait

    def _worker_for(self, span: _Span) -> _Worker:
        """One with room that has the weights; else the one that has least to do."""
        return min(
            self._workers,
            key=lambda worker: (
                len(worker.under_way) >= SPANS_A_WORKER,
                span not in worker.spans,
                len(worker.under_way),
                len(worker.spans),
            ),
        )


class _Pending:
    """One span that some worker was asked for."""

    def __init__(self, reruns: RayReruns, inputs: Float32Array, span: _Span) -> None:
        self._reruns = reruns
        self._inputs = inputs
        self._span = span

    def send(self) -> None:
        """Ask a worker."""
        self._worker = self._reruns._worker_for(self._span)
        self._worker.spans.add(self._span)
        self._worker.under_way.add(self)
        with _cluster_errors(self._reruns._ray):
            self._answer = self._worker.actor.rerun.remote(self._inputs, *self._span)

    def wait(self) -> RerunOutputs:
        """See `PendingRerun`. A lost worker's span is asked for again, so often."""
        for number in range(1, LOSSES_MAX + 1):
            try:
                return _outputs(self._got())
            except _LostWorkerError as lost:
                self._reruns.lost += 1
                reason = str(lost)
            if number < LOSSES_MAX:
                time.sleep(LOST_WAIT_SECONDS)
                self.send()
        raise BusyError(
            "workers are lost as fast as they are asked", expected=f"{LOSSES_MAX} tries", found=reason
        )

    def _got(self) -> Answer:
        ray, failures = self._reruns._ray, self._reruns._ray.exceptions
        try:
            with _cluster_errors(ray):
                return ray.get(self._answer, timeout=SPAN_SECONDS)  # type: ignore[no-any-return]
        except failures.GetTimeoutError:
            ray.kill(self._worker.actor, no_restart=False)
            raise _LostWorkerError(f"no answer in {SPAN_SECONDS} s") from None
        except (failures.RayActorError, failures.WorkerCrashedError, failures.ObjectLostError) as error:
            self._worker.spans.clear()
            raise _LostWorkerError(str(error).partition("\n")[0][:200]) from None
        except failures.RayTaskError as error:
            raise StorageError(
                "a worker could not run a span", found=str(error.cause or error)[-200:]
            ) from None
        finally:
            self._worker.under_way.discard(self)


class _LostWorkerError(Exception):
    """A worker ended, or was cut off, with a span under way."""


def _outputs(answer: Answer) -> RerunOutputs:
    if len(answer) == 3:
        message, expected, found = answer
        raise ActivationError(message, expected=expected, found=found)
    return answer


@contextmanager
def ray_reruns(
    address: str, model: Path | None, *, digest: bytes, workers: int | None = None
) -> Iterator[RayReruns]:
    """Workers on the cluster at ``address``: ``HOST:PORT``, ``auto`` for the one that this machine belongs
    to, or `LOCAL`. They end with the context.

    ``model``: where it lies on each of their machines; ``digest``: which it must be there. ``workers``: by
    default as many as the cluster has processors. Raises BusyError where the cluster is not there or starts
    no worker in time, UnknownIdError where one has another model, StorageError without Ray."""
    ray = _imported()
    with _connected(ray, address):
        count = workers or max(1, int(ray.cluster_resources().get("CPU", 1)))
        worker = ray.remote(num_cpus=1, max_restarts=-1, max_task_retries=0)(SpanWorker)
        actors = [worker.remote(model) for _ in range(count)]
        try:
            _require_model(ray, actors, digest)
            yield RayReruns(ray, actors, model=digest)
        finally:
            for actor in actors:
                ray.kill(actor)


def _imported() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        return import_module("ray")
    except ImportError as error:
        raise StorageError("Ray is not installed", expected="the extra `ray`") from error


@contextmanager
def _connected(ray: Any, address: str) -> Iterator[None]:
    _require_answer(address)
    where: dict[str, Any] = {"num_cpus": os.cpu_count()} if address == LOCAL else {}
    try:
        with _own_habits():
            ray.init(
                address=address, include_dashboard=False, log_to_driver=False, logging_level="ERROR", **where
            )
    except (ConnectionError, ray.exceptions.RaySystemError) as error:
        raise BusyError("no Ray cluster answers", expected=address[-100:], found=str(error)[:200]) from error
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def _own_habits() -> Iterator[None]:
    """Ray takes the process' SIGTERM, and tells its standard output of every worker that it loses."""
    is_main = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGTERM) if is_main else None
    try:
        yield
    finally:
        if is_main:
            signal.signal(signal.SIGTERM, before)
        # As its own debugger does.
        import_module("ray._private.worker").__dict__["_worker_logs_enabled"] = False


def _require_answer(address: str) -> None:
    """Ray itself tries for a minute, and then ends the process."""
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdigit():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_PROBE_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise BusyError("no Ray cluster answers", expected=address[-100:], found=str(error)[:100]) from error


def _require_model(ray: Any, actors: list[Any], digest: bytes) -> None:
    try:
        with _cluster_errors(ray):
            found = ray.get([actor.describe.remote() for actor in actors], timeout=START_SECONDS)
    except (ray.exceptions.GetTimeoutError, ray.exceptions.RayActorError) as error:
        raise BusyError(
            "the cluster started no worker",
            expected=f"{len(actors)} in {START_SECONDS} s",
            found=str(error).strip().rpartition("\n")[2][:200],
        ) from error
    for other, _ in found:
        if other != digest:
            raise UnknownIdError("a worker has another model", expected=digest.hex(), found=other.hex())


@contextmanager
def _cluster_errors(ray: Any) -> Iterator[None]:
    """What is connected to a cluster that went away stays so, until it is started anew."""
    try:
        yield
    except (ConnectionError, ray.exceptions.RaySystemError) as error:
        raise StorageError(
            "the Ray cluster went away", expected="a validator started anew", found=str(error)[:200]
        ) from error
