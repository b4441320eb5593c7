"""What parties hand each other directly, as files: orders, vouchers, finished work."""

import os
from collections.abc import Iterator
from pathlib import Path


def hand_over(folder: Path, to: str, name: str, content: bytes) -> None:
    """Whole, or not at all."""
    box = folder / "handed" / to
    box.mkdir(parents=True, exist_ok=True)
    part = box / f".{name}"
    part.write_bytes(content)
    os.replace(part, box / name)


def handed(folder: Path, to: str, *, most: int = 16) -> Iterator[tuple[Path, bytes]]:
    """What waits for ``to``, oldest name first; whoever has done with it unlinks the path."""
    box = folder / "handed" / to
    if box.is_dir():
        names = sorted(name for name in os.listdir(box) if not name.startswith("."))
        for name in names[:most]:
            yield box / name, (box / name).read_bytes()
