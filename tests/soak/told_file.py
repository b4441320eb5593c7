"""What a party was told, in its own file, line by line, before it goes on."""

import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any


class ToldFile:
    """Appends JSON lines, each in one write."""

    def __init__(self, folder: Path, name: str) -> None:
        self.path = folder / "told" / name
        self.path.parent.mkdir(exist_ok=True)
        self._descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def note(self, **line: object) -> None:
        os.write(self._descriptor, json.dumps(line).encode() + b"\n")

    def wrong(self, what: str, **more: object) -> None:
        """Something that must never happen."""
        self.note(wrong=what, **more)


def told_lines(folder: Path) -> Iterator[dict[str, Any]]:
    """What all parties were told; a last line that was cut off is none."""
    for path in sorted((folder / "told").iterdir()):
        content = path.read_bytes()
        for line in content[: content.rfind(b"\n") + 1].splitlines():
            yield {"party": path.name} | json.loads(line)


def counted(lines: list[dict[str, Any]], name: str) -> Counter[str]:
    """All parties' counts called ``name``, added up."""
    found: Counter[str] = Counter()
    for line in lines:
        found.update(line.get(name, {}))
    return found
