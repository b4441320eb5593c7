"""What every party of the story is told before it begins. Source: specs/cli.md §14."""

import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

NODES: Final = 3
CHEAT: Final = 1
"""The node in the middle is the one that cheats."""
PROMPT_POSITIONS: Final = (256, 300)
"""One job of a whole window, one with a short last window."""

Progress = Callable[[str, int, int], None]
"""``progress(what, done, all)``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """Where the pool's files lie, and what makes this run different from another."""

    folder: Path
    seed: int | None
    cheat: str | None
    model_path: Path | None

    def key_file(self, name: str) -> Path:
        """Where the key of an account lies."""
        return self.folder / "keys" / f"{name}.key"

    def cheat_of(self, number: int) -> str | None:
        """How node ``number`` cheats; None for an honest one."""
        return self.cheat if number == CHEAT else None

    def encode(self) -> str:
        """One line, for a party in another process."""
        return json.dumps(
            {
                "folder": str(self.folder),
                "seed": self.seed,
                "cheat": self.cheat,
                "model_path": None if self.model_path is None else str(self.model_path),
            }
        )

    @classmethod
    def decode(cls, line: str) -> "Scene":
        """The inverse of `encode`."""
        told = json.loads(line)
        model_path = told["model_path"]
        return cls(
            folder=Path(told["folder"]),
            seed=told["seed"],
            cheat=told["cheat"],
            model_path=None if model_path is None else Path(model_path),
        )


def spans_of(layers: int) -> tuple[tuple[int, int], ...]:
    """Layers ``(start, stop)`` of each node: the model's, shared out evenly."""
    edges = [layers * number // NODES for number in range(NODES + 1)]
    return tuple(itertools.pairwise(edges))


def node_name(number: int) -> str:
    """What node ``number``, from 0, is registered as."""
    return f"node-{number + 1}"
