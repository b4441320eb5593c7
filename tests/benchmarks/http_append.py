"""Appending over HTTP beside appending in the same process: ``python -m tests.benchmarks.http_append``.

Both take the same encoded records in groups of the same size, and decode, verify, fold and flush them; over
HTTP they go through `POST /v1/records` of a server process, a few requests at a time."""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.sample_payments import Payments
from creditledger.ledger.clock import system_clock
from creditledger.ledger.ledger import Acknowledgement, Ledger
from creditledger.records.entry import Submission
from ledger_pools import Work, found
from pool_processes import serving

GOAL: Final = 0.5
HOUR_MS: Final = 3_600_000
Groups = Sequence[Sequence[bytes]]
Making = Callable[..., "Case"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What is appended, and how many of the things that count are in it."""

    name: str
    groups: Groups
    things: int


def transfers(ledger: Ledger, *, groups: int, size: int) -> Case:
    """Groups of records, each with a signature of its own, by accounts that keep within their shares."""
    payments = Payments(ledger)
    made = [payments.next().encode() for _ in range(groups * size)]
    return Case(name="records", groups=_cut(made, size), things=len(made))


def receipts(ledger: Ledger, *, groups: int, size: int, receipts: int) -> Case:
    """Groups of batches of receipts, of one job: a batch is one record with its receipts beside it."""
    count = groups * size * receipts
    work = Work(ledger, positions=256 * count, expires_unix_ms=system_clock() + HOUR_MS)
    work.begin()
    made = [work.batch(receipts).encode() for _ in range(groups * size)]
    return Case(name=f"receipts, {receipts} a batch", groups=_cut(made, size), things=count)


def local_seconds(path: Path, groups: Groups) -> float:
    """Decode and submit, as `append --stdin` does."""
    with Ledger.open(path) as ledger:
        began = time.perf_counter()
        for group in groups:
            outcomes = ledger.submit([Submission.decode(one) for one in group])
            refused = [one for one in outcomes if not isinstance(one, Acknowledgement)]
            if refused:
                raise refused[0]
        return time.perf_counter() - began


def http_seconds(path: Path, groups: Groups, *, clients: int) -> float:
    """The same through a server process."""
    with serving(path) as pool, ThreadPoolExecutor(clients) as threads:
        began = time.perf_counter()
        outcomes = [one for answer in threads.map(pool.outcomes, groups) for one in answer]
        seconds = time.perf_counter() - began
        pool.end()
    refused = [one for one in outcomes if "index" not in one]
    if refused:
        raise ValueError(refused[0])
    return seconds


def compare(place: Path, *, groups: int, size: int, batch: int) -> bool:
    """Print a line per case; whether the goal is met in each."""
    met = True
    for made, clients in ((transfers, 2), (_receipts_of(batch), 1)):
        paths = [place / f"{made.__name__}-{side}" for side in ("local", "http")]
        cases = []
        for path in paths:
            with found(path, clock=system_clock) as ledger:
                cases.append(made(ledger, groups=groups, size=size))
        case = cases[0]
        local = case.things / local_seconds(paths[0], case.groups)
        remote = case.things / http_seconds(paths[1], cases[1].groups, clients=clients)
        ratio = remote / local
        met &= ratio >= GOAL
        print(
            f"{case.name}: {remote:,.0f} a second over HTTP, {local:,.0f} in the process: "
            f"{ratio:.2f} x (goal {GOAL} x), {len(case.groups[0])} records a request"
        )
    return met


def _receipts_of(batch: int) -> Making:
    def made(ledger: Ledger, *, groups: int, size: int) -> Case:
        few = max(1, size // 16)
        return receipts(ledger, groups=groups, size=few, receipts=batch)

    return made


def _cut(made: Sequence[bytes], size: int) -> Groups:
    return [made[at : at + size] for at in range(0, len(made), size)]


def main() -> None:
    """Run once; exit code 1 where the goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--groups", type=int, default=16)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--batch", type=int, default=64)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        met = compare(Path(place), groups=chosen.groups, size=chosen.size, batch=chosen.batch)
    raise SystemExit(0 if met else 1)


if __name__ == "__main__":
    main()
