"""Keeping hold of a job: all its processes can be found and ended, also those that ran away.

Linux only. Source: specs/redemption.md §6."""

import contextlib
import ctypes
import os
import signal
from collections.abc import Callable
from typing import Final

from creditledger.errors import StorageError
from creditledger.redemption.process_identity import descendants, processes_marked

_SET_PARENT_DEATH_SIGNAL: Final = 1
_SET_CHILD_SUBREAPER: Final = 36
HOLD_VARIABLE: Final = "CREDITLEDGER_HOLD"
"""In a job's environment: the digest of the hold it runs under, in hex."""
_libc: Final = ctypes.CDLL(None, use_errno=True)


def adopt_orphans() -> None:
    """From now on, orphaned descendants become children of the calling process instead of init's.

    So a process that left its session still stands below the supervisor. Raises StorageError."""
    _prctl(_SET_CHILD_SUBREAPER, 1)


def die_with_parent() -> None:
    """Run in a child before it becomes the job: SIGKILL it when its supervisor's thread ends."""
    _prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)


def signal_group(leader: int, number: signal.Signals) -> None:
    """Send a signal to the whole process group; to nobody if it is gone."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, number)


def end_descendants(*, pause: Callable[[], None], rounds: int = 200) -> bool:
    """SIGKILL and reap everything below the calling process; whether all of it is gone.

    Children appear while parents end, so it looks again, ``rounds`` times at most, with ``pause``
    in between."""
    for _ in range(rounds):
        _reap()
        remaining = descendants(os.getpid())
        if not remaining:
            return True
        for pid in remaining:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        pause()
    return False


def end_marked(hold: bytes, *, pause: Callable[[], None], rounds: int = 200) -> bool:
    """SIGKILL every process whose environment names this hold; whether all of them are gone.

    For a job whose supervisor was killed: its processes have no parent left to be found by."""
    mark = f"{HOLD_VARIABLE}={hold.hex()}".encode()
    for _ in range(rounds):
        remaining = processes_marked(mark)
        if not remaining:
            return True
        for pid in remaining:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        pause()
    return False


def _reap() -> None:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _prctl(option: int, value: int) -> None:
    if _libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0) != 0:
        raise StorageError("the kernel refused a process setting", found=os.strerror(ctypes.get_errno()))
