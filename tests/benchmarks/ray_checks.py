"""What re-executing a span costs here, and on Ray with one worker and with two.

``python -m tests.benchmarks.ray_checks [--positions N] [--rounds N] [--json FILE]``: rows
``{what, workers, positions, layers, seconds_per_span}``, medians of rounds in turns. Each process uses one
thread for its products, so that a worker is a processor."""

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).parents[1]))

from creditledger.activations.bf16 import Float32Array
from creditledger.activations.runners.numpy_llama import NumpyLlama
from creditledger.activations.runners.weights import load_model
from creditledger.adapters.ray_reruns import RayReruns, ray_reruns
from creditledger.validation.reruns import Reruns, RerunsHere
from fakes.tiny_llama import inputs_of

ONE_THREAD: Final = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
LAYERS: Final = 10
"""Of a span: a third of SmolLM2-135M."""
SPANS: Final = 8
"""In a round: twice what two workers may have at once."""


def measure(positions: int, rounds: int) -> list[dict[str, Any]]:
    """Seconds a span, one at a time here, and as many as may be there."""
    runner = NumpyLlama(load_model(None))
    digest, shape = runner.model.digest, runner.model.shape
    inputs = [inputs_of(shape, positions, seed=number) for number in range(SPANS)]
    took: dict[int, list[float]] = {0: [], 1: [], 2: []}
    with ray_reruns("local", None, digest=digest, workers=2) as two:
        one = _first_of(two)
        places: dict[int, Reruns] = {0: RerunsHere({digest: runner}), 1: one, 2: two}
        for number in range(rounds + 1):
            for workers, reruns in places.items():
                seconds = _timed(lambda reruns=reruns: _run(reruns, digest, inputs))
                if number:  # the first loads the weights
                    took[workers].append(seconds / SPANS)
    return [
        {
            "what": f"on Ray, {workers} workers" if workers else "here",
            "workers": workers,
            "positions": positions,
            "layers": LAYERS,
            "seconds_per_span": statistics.median(seconds),
        }
        for workers, seconds in took.items()
    ]


def _first_of(reruns: RayReruns) -> RayReruns:
    """One of its workers alone."""
    return RayReruns(reruns._ray, [reruns._workers[0].actor], model=reruns._model)


def _run(reruns: Reruns, digest: bytes, inputs: list[Float32Array]) -> None:
    under_way: list[Callable[[], object]] = []
    for rows in inputs:
        if len(under_way) == reruns.at_once:
            under_way.pop(0)()
        under_way.append(reruns.begin(digest, rows, layer_start=0, layer_stop=LAYERS))
    for wait in under_way:
        wait()


def _timed(job: Callable[[], object]) -> float:
    began = time.perf_counter()
    job()
    return time.perf_counter() - began


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--positions", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    if not ONE_THREAD.items() <= os.environ.items():  # they are read when numpy is loaded
        again = [sys.executable, "-m", "tests.benchmarks.ray_checks", *sys.argv[1:]]
        os.execve(sys.executable, again, {**os.environ, **ONE_THREAD})
    rows = measure(chosen.positions, chosen.rounds)
    here = rows[0]["seconds_per_span"]
    for row in rows:
        seconds = row["seconds_per_span"]
        print(f"{row['what']:20} {seconds * 1e3:8.1f} ms a span   {here / seconds:5.2f} x as fast as here")
    if chosen.json:
        chosen.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
