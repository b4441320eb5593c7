"""What receipts, checks and holds cost, and what 10^5 nodes need: ``python -m tests.benchmarks.scaling``.

Measures batches, rounds and holds on LMDB and PostgreSQL, 1 to 3 front ends, and re-execution here and on Ray
with 1 and 2 workers; fits `scaling_model` to some points and says how well it foretells the others; then says
what a large pool needs. specs/scaling.md has the figures and what they mean."""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).parents[1]))

from rich.console import Console
from rich.table import Table

from benchmarks.sample_holds import HoldsAndCaptures
from benchmarks.scaling_model import RECIPIENTS, Costs, Line, Load, Need, median, need
from creditledger.ledger.ledger import Acknowledgement, Ledger
from creditledger.minting.sealed_evidence import seal_sketches
from creditledger.records.entry import Submission
from creditledger.records.receipt import WINDOW
from creditledger.transparency.keys import verify_ed25519
from ledger_pools import Work, found
from postgres_server import asking, new_schema, running_server

BATCHES: Final = (1, 16, 256, 1_024)
HELD_BACK_BATCH: Final = 64
ROUNDS: Final = (256, 4_096)
HELD_BACK_ROUND: Final = 1_024
POSITIONS: Final = (128, 512)
HELD_BACK_POSITIONS: Final = 256
HOLD_GROUPS: Final = (16, 256)
LOADS: Final = {
    "10^3 nodes, 10^7 receipts a day": (10**3, 10**7),
    "10^4 nodes, 10^8 receipts a day": (10**4, 10**8),
    "10^5 nodes, 10^9 receipts a day": (10**5, 10**9),
}
Row = dict[str, Any]


def submit(ledger: Ledger, group: Sequence[Submission]) -> float:
    """Seconds that a group took. Raises the first refusal."""
    began = time.perf_counter()
    outcomes = ledger.submit(group)
    seconds = time.perf_counter() - began
    for outcome in outcomes:
        if not isinstance(outcome, Acknowledgement):
            raise outcome
    return seconds


@contextmanager
def worked(path: Path, store: str | None, receipts: int) -> Iterator[Work]:
    """A ledger with a job for so many receipts."""
    with found(path, store=store) as ledger:
        work = Work(ledger, positions=WINDOW * receipts)
        work.begin()
        yield work


def batch_seconds(path: Path, store: str | None, *, times: int) -> dict[int, float]:
    """Seconds of a batch by its receipts, signature, bodies and flushes included."""
    sizes = (*BATCHES, HELD_BACK_BATCH)
    with worked(path, store, receipts=(times + 1) * sum(sizes)) as work:
        took: dict[int, list[float]] = {size: [] for size in sizes}
        for number in range(times + 1):
            for size in sizes:
                seconds = submit(work.ledger, [work.batch(size)])
                if number:
                    took[size].append(seconds)
    return {size: median(seconds) for size, seconds in took.items()}


def round_seconds(path: Path, store: str | None, *, times: int) -> dict[int, float]:
    """Seconds of a round, closed, attested and certified, by the receipts that it covers."""
    sizes = (*ROUNDS, HELD_BACK_ROUND)
    with worked(path, store, receipts=times * sum(sizes)) as work:
        took: dict[int, list[float]] = {size: [] for size in sizes}
        for _ in range(times):
            for size in sizes:
                for _ in range(size // 256):
                    submit(work.ledger, [work.batch(256)])
                work.ledger.publish()
                began = time.perf_counter()
                work.ledger.complete_round()
                took[size].append(time.perf_counter() - began)
    return {size: median(seconds) for size, seconds in took.items()}


def hold_seconds(path: Path, store: str | None, *, times: int) -> dict[int, float]:
    """Seconds of a hold or a capture, by how many are logged together; signatures were checked before."""
    with found(path, store=store, hardware=(HoldsAndCaptures.hardware,)) as ledger:
        groups = HoldsAndCaptures(ledger, groups=2 * times).groups
        took: dict[int, list[float]] = {size: [] for size in HOLD_GROUPS}
        for _ in range(times):
            for size in HOLD_GROUPS:
                group = next(groups)
                parts = [group[at : at + size] for at in range(0, len(group), size)]
                took[size].append(sum(submit(ledger, part) for part in parts) / len(group))
    return {size: median(seconds) for size, seconds in took.items()}


def signature_seconds() -> float:
    """Seconds of one raw verification."""
    from ledger_pools import signer

    key, message = signer("node"), bytes(200)
    signature, took = key.sign(message), []
    for _ in range(200):
        began = time.perf_counter()
        verify_ed25519(public_key=key.public_key, message=message, signature=signature)
        took.append(time.perf_counter() - began)
    return median(took)


def receipt_bytes(path: Path, url: str | None) -> dict[str, float]:
    """What a receipt takes in published bodies, and in the store, from two logs that differ by 12,288."""
    few, many, measured = 4_096, 16_384, []
    path.mkdir()
    for count in (few, many):
        store = None if url is None else new_schema(url)
        place = path / str(count)
        with worked(place, store, receipts=count) as work:
            for _ in range(count // 256):
                submit(work.ledger, [work.batch(256)])
            work.ledger.complete_round()
        bodies = sum(
            file.stat().st_size for file in (place / "public" / "batch").rglob("*") if file.is_file()
        )
        measured.append((bodies, _store_size(place, store)))
    (bodies, rows), (more_bodies, more_rows) = measured
    return {"body": (more_bodies - bodies) / (many - few), "store": (more_rows - rows) / (many - few)}


def _store_size(place: Path, store: str | None) -> int:
    if store is None:
        return (place / "store" / "data.mdb").stat().st_blocks * 512
    with asking(store) as session:
        schema = store.rpartition("schema=")[2]
        row = session.execute("SELECT pg_total_relation_size(%s::regclass)", [f"{schema}.row"]).fetchone()
    assert row is not None
    return int(row[0])


def sealed_bytes() -> dict[str, float]:
    """Of a receipt's sketch in a sealed batch of 256, and of one recipient's slot."""
    from creditledger.activations.sealing import AuditKey

    opening = (bytes(32), bytes(4 * WINDOW))
    keys = [AuditKey(number.to_bytes(32, "big")).public_key for number in range(1, RECIPIENTS + 1)]

    def size(receipts: int, recipients: int) -> int:
        return len(
            seal_sketches(
                [opening] * receipts,
                keys[:recipients],
                ledger_id=bytes(32),
                batch_root=bytes(32),
                random_bytes=os.urandom,
            )
        )

    slot = (size(256, RECIPIENTS) - size(256, 1)) / (RECIPIENTS - 1)
    return {"sealed": (size(512, 1) - size(256, 1)) / 256, "slot": slot}


def span_rows(*, rounds: int) -> list[Row]:
    """Rows of `ray_checks`, by positions and workers, in a process whose products use one thread."""
    rows: list[Row] = []
    for positions in (*POSITIONS, HELD_BACK_POSITIONS):
        with tempfile.TemporaryDirectory() as folder:
            told = Path(folder) / "rows"
            words = ["--positions", str(positions), "--rounds", str(rounds), "--json", str(told)]
            subprocess.run([sys.executable, "-m", "tests.benchmarks.ray_checks", *words], check=True)
            rows += json.loads(told.read_text())
    return rows


def front_end_rows(url: str, place: Path) -> list[Row]:
    """What 1 to 3 front ends of one database acknowledge, on this one machine."""
    from benchmarks.front_ends import served_rows

    return served_rows(place, url)


def measured(place: Path, url: str, *, times: int) -> dict[str, Any]:
    """Everything that is measured, in turns where it is compared."""
    stores: Mapping[str, Callable[[], str | None]] = {
        "LMDB": lambda: None,
        "PostgreSQL": lambda: new_schema(url),
    }
    found: dict[str, Any] = {"signature_seconds": signature_seconds(), "bytes": sealed_bytes(), "stores": {}}
    for name, store in stores.items():
        found["stores"][name] = {
            "batch_seconds": batch_seconds(place / f"batches-{name}", store(), times=times),
            "round_seconds": round_seconds(place / f"rounds-{name}", store(), times=max(2, times // 4)),
            "hold_seconds": hold_seconds(place / f"holds-{name}", store(), times=max(2, times // 4)),
            "bytes": receipt_bytes(place / f"bytes-{name}", None if name == "LMDB" else url),
        }
    return found


def fitted(store: Mapping[str, Any], found: Mapping[str, Any]) -> Costs:
    """The model, fitted to all points but those held back."""
    return Costs(
        batch=Line.through({size: store["batch_seconds"][size] for size in BATCHES}),
        round=Line.through({size: store["round_seconds"][size] for size in ROUNDS}),
        hold=store["hold_seconds"][HOLD_GROUPS[-1]],
        batch_signature=found["signature_seconds"],
        span=span_line(found),
        body_bytes=store["bytes"]["body"],
        sealed_bytes=found["bytes"]["sealed"],
        slot_bytes=round(found["bytes"]["slot"]),
        store_bytes=store["bytes"]["store"],
    )


def span_line(found: Mapping[str, Any], workers: int = 0) -> Line:
    """Seconds of one layer over so many positions."""
    points = {
        row["positions"]: row["seconds_per_span"] / row["layers"]
        for row in found["spans"]
        if row["workers"] == workers and row["positions"] in POSITIONS
    }
    return Line.through(points)


def held_back(found: Mapping[str, Any]) -> list[tuple[str, float, float, float]]:
    """What the model says of points that it was not fitted to: (what, measured, foretold, miss)."""
    told = []
    for name, store in found["stores"].items():
        costs = fitted(store, found)
        for what, line, points, count in (
            (f"batch of {HELD_BACK_BATCH}, {name}", costs.batch, store["batch_seconds"], HELD_BACK_BATCH),
            (f"round of {HELD_BACK_ROUND:,}, {name}", costs.round, store["round_seconds"], HELD_BACK_ROUND),
        ):
            told.append((what, points[count], line.at(count), line.miss(count, points[count])))
    for row in found["spans"]:
        if row["positions"] == HELD_BACK_POSITIONS:
            line, seconds = span_line(found, row["workers"]), row["seconds_per_span"] / row["layers"]
            miss = line.miss(HELD_BACK_POSITIONS, seconds)
            told.append((f"layer, {row['what']}", seconds, line.at(HELD_BACK_POSITIONS), miss))
    return told


def needs(found: Mapping[str, Any], *, store: str) -> dict[str, tuple[Load, Need]]:
    """What each of `LOADS` needs."""
    costs = fitted(found["stores"][store], found)
    told = {}
    for name, (nodes, receipts) in LOADS.items():
        load = Load(
            nodes=nodes,
            receipts=receipts,
            holds=receipts // 100,
            batch_receipts=256,
            check_share=0.01,
            layers=10,
            positions=512,
            days_kept=30,
        )
        told[name] = (load, need(load, costs))
    return told


def show(found: Mapping[str, Any]) -> None:
    """Three tables: costs, points held back, needs."""
    console = Console(width=110)
    costs = Table("", *found["stores"], title="What it costs")
    for size in (*BATCHES, HELD_BACK_BATCH):
        seconds = [store["batch_seconds"][size] / size for store in found["stores"].values()]
        costs.add_row(f"receipt, {size:,} in a batch", *(f"{each * 1e6:,.1f} us" for each in seconds))
    for size in (*ROUNDS, HELD_BACK_ROUND):
        seconds = [store["round_seconds"][size] / size for store in found["stores"].values()]
        costs.add_row(
            f"receipt's part of a round of {size:,}", *(f"{each * 1e6:,.1f} us" for each in seconds)
        )
    for size in HOLD_GROUPS:
        seconds = [store["hold_seconds"][size] for store in found["stores"].values()]
        costs.add_row(f"hold or capture, {size} at a time", *(f"{each * 1e6:,.1f} us" for each in seconds))
    for what in ("body", "store"):
        sizes = [store["bytes"][what] for store in found["stores"].values()]
        costs.add_row(f"receipt, {what}", *(f"{each:,.0f} bytes" for each in sizes))
    console.print(costs)
    elsewhere = Table("", "a second", title="What it carries on this machine")
    for row in found["front_ends"]:
        elsewhere.add_row(f"{row['front_ends']} front ends, {row['what']}", f"{row['a_second']:,}")
    for row in found["spans"]:
        rate = row["layers"] * row["positions"] / row["seconds_per_span"]
        elsewhere.add_row(f"positions x layers, {row['what']}, {row['positions']}", f"{rate:,.0f}")
    console.print(elsewhere)
    back = Table("held back", "measured", "foretold", "off by", title="What the model was not fitted to")
    for what, seconds, foretold, miss in held_back(found):
        back.add_row(what, f"{seconds * 1e3:,.2f} ms", f"{foretold * 1e3:,.2f} ms", f"{miss:+.0%}")
    console.print(back)
    told = needs(found, store="PostgreSQL")
    table = Table("", *told, title="What a pool needs")
    for field in asdict(next(iter(told.values()))[1]):
        table.add_row(field, *(f"{getattr(each, field):,.3g}" for _, each in told.values()))
    table.add_row("logs", *(str(each.logs) for _, each in told.values()))
    console.print(table)


def main() -> None:
    """Measure, fit, say."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=9)
    parser.add_argument("--json", type=Path)
    parser.add_argument(
        "--again", type=Path, metavar="FILE", help="Show what --json wrote, and measure nothing."
    )
    chosen = parser.parse_args()
    if chosen.again:
        show(_with_numbers(json.loads(chosen.again.read_text())))
        return
    if find_spec("ray") is None:
        parser.error("Ray is not installed: extra `ray`")
    with running_server() as url, tempfile.TemporaryDirectory() as folder:
        found = measured(Path(folder), url, times=chosen.times)
        (Path(folder) / "front-ends").mkdir()
        found["front_ends"] = front_end_rows(url, Path(folder) / "front-ends")
    found["spans"] = span_rows(rounds=max(3, chosen.times // 2))
    if chosen.json:
        chosen.json.write_text(json.dumps(found, indent=1))
    show(found)


def _with_numbers(found: dict[str, Any]) -> dict[str, Any]:
    """JSON has text for keys."""
    for store in found["stores"].values():
        for name, points in store.items():
            if name.endswith("_seconds"):
                store[name] = {int(count): seconds for count, seconds in points.items()}
    return found


if __name__ == "__main__":
    main()
