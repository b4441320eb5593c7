"""The limits of a small board for one process: 512 MiB and half a core."""

import contextlib
import os
import resource
import secrets
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

MEMORY_BYTES = 512 * 1024 * 1024
SLICE_SECONDS = 0.02


@dataclass(frozen=True)
class Board:
    """How the limits are set here, and how a process comes under them."""

    how: str
    enter: Callable[[], None]
    """Called in the child before it begins."""
    keep: Callable[[int], contextlib.AbstractContextManager[None]]
    """Around the life of a process that has begun, by its id."""


@contextmanager
def small_board() -> Iterator[Board]:
    """A control group where this machine lets one be made; else what it may allocate, and a duty cycle."""
    group = _control_group()
    if group is None:
        how = "RLIMIT_DATA 512 MiB; stopped every other 20 ms"
        yield Board(how=how, enter=_limit_data, keep=_duty_cycle)
        return
    try:

        def enter() -> None:
            (group / "cgroup.procs").write_text(str(os.getpid()))

        yield Board(how="cgroup v2: memory.max 512 MiB, cpu.max 50 %", enter=enter, keep=_nothing_more)
    finally:
        group.rmdir()


def _control_group() -> Path | None:
    root = Path("/sys/fs/cgroup")
    group = root / f"creditledger-edge-{secrets.token_hex(4)}"
    try:
        if not {"cpu", "memory"} <= set((root / "cgroup.controllers").read_text().split()):
            return None
        group.mkdir()
    except OSError:
        return None
    try:
        (group / "memory.max").write_text(str(MEMORY_BYTES))
        (group / "cpu.max").write_text("50000 100000")
        with contextlib.suppress(OSError):
            (group / "memory.swap.max").write_text("0")
    except OSError:
        group.rmdir()
        return None
    return group


def _limit_data() -> None:
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))


@contextmanager
def _nothing_more(pid: int) -> Iterator[None]:
    yield


@contextmanager
def _duty_cycle(pid: int) -> Iterator[None]:
    """It runs half of the time."""
    ended = threading.Event()

    def turn() -> None:
        with contextlib.suppress(ProcessLookupError):
            while not ended.is_set():
                os.kill(pid, signal.SIGSTOP)
                time.sleep(SLICE_SECONDS)
                os.kill(pid, signal.SIGCONT)
                time.sleep(SLICE_SECONDS)

    thread = threading.Thread(target=turn, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
