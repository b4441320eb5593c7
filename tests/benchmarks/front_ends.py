"""How front ends of one database add up: ``python -m tests.benchmarks.front_ends [--served]``.

Each front end is a process on a processor of its own that decodes, checks and stages signed transfers, as
`serve` does with what it is sent; nobody integrates meanwhile. With ``--served``: 1, 2 and 3 servers over
HTTP, to the acknowledgement, clients and database on the same machine."""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.sample_holds import HoldsAndCaptures
from benchmarks.sample_payments import Payments
from cli_pools import environment
from creditledger.ledger.clock import system_clock
from creditledger.ledger.staging import Staging, StagingKey
from creditledger.ledger.standby import StandbyLedger
from creditledger.records.entry import Submission
from creditledger.service.pool.staged_commit import staged_row
from ledger_pools import Work, found
from pool_processes import RunningPool, serving
from postgres_server import new_schema, running_server

GOAL: Final = 1.7
AT_ONCE: Final = 64
"""In a request to a server."""
STAGED: Final = 256
"""In a row that is staged: as many as a sequencer takes at once."""
FRONT_ENDS: Final = (1, 2, 3)
CLIENTS: Final = 4
"""Of each server."""
GROUPS: Final = 48
"""Requests to all servers together."""
BATCHES: Final = 4
"""In a request."""
BATCH: Final = 64
HOUR_MS: Final = 3_600_000


def work(directory: Path, core: int, file: Path) -> None:
    """One front end: say ready, wait for a line, stage all of ``file``, say how long it took."""
    os.sched_setaffinity(0, {core})
    groups = [bytes.fromhex(line) for line in file.read_text().split()]
    with StandbyLedger.open(directory) as ledger:
        staging, key = Staging(ledger.database.url), StagingKey(ledger.operator_signer(), ledger.id)
        print("ready", flush=True)
        sys.stdin.readline()
        began = time.perf_counter()
        for at in range(0, len(groups), STAGED):
            submissions = [Submission.decode(one) for one in groups[at : at + STAGED]]
            staging.stage([key.seal(staged_row(ledger, submissions, None))])
        print(time.perf_counter() - began, flush=True)
        staging.close()


def staged_a_second(place: Path, files: Sequence[Path], count: int) -> float:
    """What the front ends stage together in a second."""
    words = [sys.executable, "-m", "tests.benchmarks.front_ends", "--work"]
    workers = [
        subprocess.Popen(
            [*words, str(place / str(number)), str(number % (os.cpu_count() or 1)), str(file)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment(),
            text=True,
        )
        for number, file in enumerate(files)
    ]
    for worker in workers:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
    began = time.perf_counter()
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("go\n")
        worker.stdin.flush()
    for worker in workers:
        worker.communicate()
    return len(files) * count / (time.perf_counter() - began)


def served_a_second(place: Path, front_ends: int, groups: Sequence[Sequence[bytes]]) -> float:
    """The records that are acknowledged in a second, by so many servers. Each has four clients that send it
    their groups one after another, so that what must come in order does."""
    with ExitStack() as stack:
        pools: list[RunningPool] = [
            stack.enter_context(serving(place / str(number))) for number in range(front_ends)
        ]

        def send(number: int) -> int:
            refused = 0
            for group in groups[number :: CLIENTS * front_ends]:
                refused += sum("index" not in each for each in pools[number % front_ends].outcomes(group))
            return refused

        with ThreadPoolExecutor(CLIENTS * front_ends) as threads:
            began = time.perf_counter()
            refused = sum(threads.map(send, range(CLIENTS * front_ends)))
            seconds = time.perf_counter() - began
        for pool in pools:
            pool.end()
    if refused:
        raise ValueError(f"{refused} records were refused")
    return sum(map(len, groups)) / seconds


def served_rows(place: Path, url: str) -> list[dict[str, Any]]:
    """What 1, 2 and 3 servers of one database acknowledge in a second: holds, receipts in batches of 64."""
    with found(
        place / "0", clock=system_clock, store=new_schema(url), hardware=(HoldsAndCaptures.hardware,)
    ) as ledger:
        work = HoldsAndCaptures(ledger, groups=0, expires_unix_ms=system_clock() + HOUR_MS)
        holds = [
            [[work.hold(at).encode() for at in range(AT_ONCE)] for _ in range(GROUPS)] for _ in FRONT_ENDS
        ]
        batches = [[[] for _ in range(GROUPS)] for _ in FRONT_ENDS]
        for jobs in (CLIENTS * number for number in FRONT_ENDS):
            for job in range(jobs):
                nodes = Work(
                    ledger,
                    positions=256 * GROUPS * BATCHES * BATCH,
                    expires_unix_ms=system_clock() + HOUR_MS,
                    number=100 * jobs + job,
                )
                nodes.begin()
                for group in range(job, GROUPS, jobs):
                    made = [nodes.batch(BATCH).encode() for _ in range(BATCHES)]
                    batches[jobs // CLIENTS - 1][group] = made
    for number in (1, 2):
        shutil.copytree(place / "0", place / str(number))
    rows = []
    for number in FRONT_ENDS:
        for what, groups, things in (("holds", holds, 1), (f"receipts, {BATCH} a batch", batches, BATCH)):
            a_second = things * served_a_second(place, number, groups[number - 1])
            rows.append({"what": what, "front_ends": number, "a_second": round(a_second)})
    return rows


def compare(place: Path, url: str, *, count: int, rounds: int) -> bool:
    """Print the figures; whether the goal is met."""
    with found(place / "0", clock=system_clock, store=new_schema(url)) as ledger:
        payments = Payments(ledger)
        files = [place / f"work-{number}" for number in range(2)]
        for file in files:
            file.write_text("\n".join(payments.next().encode().hex() for _ in range(count)))
    shutil.copytree(place / "0", place / "1")
    ratios = []
    for _ in range(rounds):
        one, both = staged_a_second(place, files[:1], count), staged_a_second(place, files, count)
        ratios.append(both / one)
        found_here = {"one": round(one), "two": round(both), "ratio": round(both / one, 2)}
        print(json.dumps(found_here | {"goal": GOAL, "met": both / one >= GOAL}))
    return sorted(ratios)[len(ratios) // 2] >= GOAL


def main() -> None:
    """Run; exit code 1 where the goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=6_400)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--served", action="store_true")
    parser.add_argument("--work", nargs=3, metavar=("DIR", "CORE", "FILE"), help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.work:
        work(Path(chosen.work[0]), int(chosen.work[1]), Path(chosen.work[2]))
        return
    with running_server() as url, tempfile.TemporaryDirectory() as place:
        if chosen.served:
            for row in served_rows(Path(place), url):
                print(json.dumps(row))
            return
        met = compare(Path(place), url, count=chosen.count, rounds=chosen.rounds)
    raise SystemExit(0 if met else 1)


if __name__ == "__main__":
    main()
