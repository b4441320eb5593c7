"""Processes of `ledger_party`, and what they tell."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from cli_pools import environment

TESTS = Path(__file__).parent


@dataclass(slots=True)
class Party:
    """A process of `ledger_party`, with the file it tells its lines to."""

    kind: str
    number: int
    process: "subprocess.Popen[bytes]"
    told: Path

    def lines(self) -> list[dict[str, object]]:
        """What it told; a last line that was cut by a kill is none."""
        content = self.told.read_bytes()
        return [json.loads(line) for line in content[: content.rfind(b"\n") + 1].splitlines()]


def party(kind: str, number: int, pool: Path, told: Path, *more: object) -> Party:
    search = os.pathsep.join([environment()["PYTHONPATH"], str(TESTS)])
    with told.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, TESTS / "ledger_party.py", kind, str(number), pool, *map(str, more)],
            env={**environment(), "PYTHONPATH": search},
            stdin=subprocess.DEVNULL,
            stdout=out,
        )
    return Party(kind, number, process, told)
