"""A thousand jobs over a model that two processes share: one runs its half with torch, the other with NumPy.

``python -m tests.benchmarks.split_model [--jobs N] [--layers N] [--json FILE]``: client, operator and three
validators in this process, a node in each of two others, SmolLM2's real weights, real clocks. Every receipt
is drawn, run again by two of the three validators, settled and vested. Then every cheat that the check must
see works in one process beside the other's honest node until it is suspended. Exit code 1: a goal missed.

The default is eight layers. With ``--layers 30`` now and then a row of an honest node lies so far off in bf16
that its receipt is left open and unpaid: specs/check.md §5.2."""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from tests.benchmarks.split_model.report import goals, show

LIBRARIES: Final = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")


def run(asked: argparse.Namespace, *, tell: Callable[[str], None]) -> dict[str, Any]:
    """The whole campaign; what ``--json`` writes."""
    from creditledger.activations.runners.weights import load_model
    from tests.benchmarks.split_model.campaign import run_cheats, run_honest, suspended
    from tests.benchmarks.split_model.kernels import cheats_of
    from tests.benchmarks.split_model.pool import ENGINES, SplitPool

    half = asked.layers // 2
    known = {engine: cheats_of(engine) for engine in ENGINES}
    chosen = {
        engine: [name for name in names if asked.cheats is None or name in asked.cheats]
        for engine, names in known.items()
    }
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="split-model-") as folder:
        pool = SplitPool(
            folder=Path(folder),
            model=load_model(),
            spans=((0, half), (half, asked.layers)),
            cheats=chosen,
            seed=asked.seed,
            tell=tell,
        )
        with pool:
            tell("the pool is founded, both processes run")
            honest = run_honest(pool, asked.jobs, positions=asked.positions, group=asked.group, tell=tell)
            honest_seconds = time.monotonic() - began
            cheats = run_cheats(
                pool, positions=asked.cheat_positions, jobs=asked.cheat_jobs, group=asked.group, tell=tell
            )
            convicted = suspended(pool)
            entries, rounds = pool.size()
    return {
        "seed": asked.seed,
        "spans": [[0, half], [half, asked.layers]],
        "positions": asked.positions,
        "honest": asdict(honest) | {"seconds": round(honest_seconds, 1)},
        "honest_convicted": convicted,
        "cheats": [asdict(one) for one in cheats],
        "log": {"entries": entries, "certified_rounds": rounds},
        "checks": len(pool.judgements),
        "seconds": round(time.monotonic() - began, 1),
    }


def arguments(given: Sequence[str] | None) -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m tests.benchmarks.split_model")
    parser.add_argument("--jobs", type=int, default=1000, help="honest jobs")
    parser.add_argument(
        "--positions", type=int, nargs="+", default=[32, 48, 64], help="of a job: one of these"
    )
    parser.add_argument("--layers", type=int, default=8, help="how many of the model; each node has half")
    parser.add_argument("--group", type=int, default=20, help="jobs under one round")
    parser.add_argument("--cheats", nargs="*", help="only these; none without a name; default: all")
    parser.add_argument("--cheat-jobs", type=int, default=3, help="jobs in which a cheat must be convicted")
    parser.add_argument("--cheat-positions", type=int, default=256)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, metavar="FILE", help="where all figures go")
    asked = parser.parse_args(given)
    if asked.jobs < 1 or asked.layers < 2 or not all(32 <= n <= 256 for n in asked.positions):
        parser.error("at least one job, two layers, and 32 to 256 positions")
    return asked


def main(given: Sequence[str] | None = None) -> int:
    """Run, print, and say whether every goal is met."""
    asked = arguments(given)
    for library in LIBRARIES:
        os.environ[library] = "1"
    began = time.monotonic()

    def tell(text: str) -> None:
        print(f"{time.monotonic() - began:7.1f} s  {text}", file=sys.stderr, flush=True)

    told = run(asked, tell=tell)
    lines = goals(told)
    show(lines)
    if asked.json is not None:
        asked.json.write_text(json.dumps(told, indent=1, allow_nan=False) + "\n")
    return 0 if all(is_met for *_, is_met in lines) else 1


if __name__ == "__main__":
    sys.exit(main())
