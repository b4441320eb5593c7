"""``python soak_party.py FOLDER NAME...``: parties of a soak, each in a process of its own."""

import os
import random
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NoReturn

from soak.asking import Asker
from soak.ordering_party import Client
from soak.queueing_party import Queue
from soak.reading_party import Follower, Reader
from soak.soak_scene import CLIENTS, NODES, QUEUE, VALIDATORS, Scene
from soak.told_file import ToldFile
from soak.validating_party import Member
from soak.working_party import Node

KINDS: Final[dict[str, Any]] = {
    "client": Client,
    "node": Node,
    "queue": Queue,
    "validator": Member,
    "follower": Follower,
    "reader": Reader,
}
WORKERS: Final = (*CLIENTS, *NODES, QUEUE, *(f"validator-{index}" for index in range(VALIDATORS)))
READERS: Final = ("follower-0", "reader-0", "reader-1")


def main(folder: Path, names: Sequence[str]) -> int:
    """All of them, forked from a process that has loaded everything once; how many failed."""
    children = [os.fork() or _end_as(name, folder) for name in names]
    return sum(os.waitpid(child, 0)[1] != 0 for child in children)


def _end_as(name: str, folder: Path) -> NoReturn:
    status = 1
    try:
        _live(name, folder)
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def _live(name: str, folder: Path) -> None:
    """Live as ``name`` until the campaign says stop."""
    scene = Scene.load(folder)
    told, chance = ToldFile(folder, name), random.Random(f"{scene.seed} {name}")
    ask = Asker(scene, told, chance=chance)
    try:
        KINDS[name.rsplit("-", 1)[0]](scene, name, ask, told, chance).live()
        ask.close()
    except BaseException as error:
        told.wrong("a party failed", error=f"{type(error).__name__}: {error}"[:500])
        raise
    told.note(ended=name)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
