"""``python -m tests.benchmarks [--json FILE] [--only WORDS] [--quick]``.

Every job beside its limit or a peer, measured in turns in one run. Exit code 1 where a goal is missed."""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import pytest
from rich.console import Console
from rich.table import Table

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE.parents[1])]

from benchmarks.comparison import Row  # noqa: E402


def measured(only: str, *, quick: bool) -> Iterator[Row]:
    """Run what is asked for, each file in a process of its own: what one leaves in memory slows the next.

    Raises SystemExit where a benchmark fails."""
    chosen = [*(["-k", only] if only else []), *(["-m", "not slow"] if quick else [])]
    for file in sorted(HERE.glob("test_*.py")):
        with tempfile.TemporaryDirectory() as folder:
            results = Path(folder) / "results.json"
            asked = ["-q", "-p", "no:cacheprovider", f"--benchmark-json={results}", "--benchmark-quiet"]
            command = [sys.executable, "-m", "pytest", str(file), *asked, *chosen]
            code = subprocess.run(command, stdout=subprocess.DEVNULL, check=False).returncode
            if code == pytest.ExitCode.NO_TESTS_COLLECTED:
                continue
            if code != pytest.ExitCode.OK:
                raise SystemExit(f"{file.name} failed: run it with pytest")
            found = json.loads(results.read_text())["benchmarks"]
        yield from (row for each in found if (row := Row.read(each["extra_info"])) is not None)


def show(rows: Sequence[Row]) -> None:
    """One table."""
    table = Table("job", "ours", "limit or peer", "its time", "ratio", "goal", "")
    for row in rows:
        mark = "[green]met[/]" if row.met else "[red]missed[/]"
        mark = mark if row.goal else ""
        shown = _time if row.unit == "s" else _size
        theirs, ratio = (shown(row.reference), f"{row.ratio:.2f} x") if row.reference else ("", "")
        table.add_row(row.job, shown(row.ours), row.against, theirs, ratio, row.goal, mark)
    Console().print(table)


def _time(seconds: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1e6:.3g} us"


def _size(mebibytes: float) -> str:
    return f"{mebibytes:.0f} MiB"


def main() -> int:
    """Measure, print, and say whether all goals are met."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--only", default="", metavar="WORDS", help="as pytest's -k")
    parser.add_argument("--quick", action="store_true", help="leave out what takes more than seconds")
    chosen = parser.parse_args()
    rows = list(measured(chosen.only, quick=chosen.quick))
    show(rows)
    if chosen.json:
        chosen.json.write_text(json.dumps([asdict(row) for row in rows], indent=1))
    return 0 if all(row.met for row in rows) else 1


if __name__ == "__main__":
    raise SystemExit(main())
