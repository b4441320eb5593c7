"""Which process is meant, also after its number was given to another. Source: specs/redemption.md §6."""

import contextlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from creditledger.errors import MalformedRecordError

_PROC: Final = Path("/proc")
_ENDED: Final = ("Z", "X", "x")
_NUMBER: Final = "0|[1-9][0-9]{0,19}"
_TEXT: Final = re.compile(rf"(?P<boot>[^:\n]{{1,64}}):(?P<pid>{_NUMBER}):(?P<ticks>{_NUMBER})", re.ASCII)


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """A process of this machine since its last boot: no other ever has the same three values."""

    boot: str
    """The kernel's random id of this boot."""
    pid: int
    start_ticks: int
    """Field 22 of /proc/<pid>/stat: clock ticks from boot to the process's start."""

    def __str__(self) -> str:
        return f"{self.boot}:{self.pid}:{self.start_ticks}"

    @classmethod
    def parse(cls, text: str) -> "ProcessIdentity":
        """The exact inverse of `str`. Raises MalformedRecordError."""
        found = _TEXT.fullmatch(text)
        if found is None:
            raise MalformedRecordError("not a process identity", expected="boot:pid:ticks", found=text[:80])
        return cls(found["boot"], int(found["pid"]), int(found["ticks"]))

    @classmethod
    def of(cls, pid: int) -> "ProcessIdentity | None":
        """The process that has this number now, unless it has ended."""
        stat = _read_stat(pid)
        return None if stat is None or stat[0] in _ENDED else cls(_boot(), pid, int(stat[19]))

    @classmethod
    def own(cls) -> "ProcessIdentity":
        """The calling process."""
        identity = cls.of(os.getpid())
        if identity is None:
            raise AssertionError("/proc does not show the calling process")
        return identity

    def is_alive(self) -> bool:
        """Whether that very process still runs; one that only waits to be reaped does not."""
        return ProcessIdentity.of(self.pid) == self


def descendants(pid: int) -> list[int]:
    """The numbers of all processes below ``pid``, ended ones too, parents before children."""
    children: dict[int, list[int]] = {}
    for entry in _PROC.iterdir():
        if entry.name.isdecimal() and (stat := _read_stat(int(entry.name))) is not None:
            children.setdefault(int(stat[1]), []).append(int(entry.name))
    found = list(children.get(pid, ()))
    for number in found:
        found.extend(children.get(number, ()))
    return found


def processes_marked(mark: bytes) -> list[int]:
    """The numbers of all running processes that were started with ``mark`` (``NAME=value``) set."""
    found = []
    for entry in _PROC.iterdir():
        if entry.name.isdecimal() and int(entry.name) != os.getpid():
            # Ended processes show no environment; other users' must not be read.
            with contextlib.suppress(OSError):
                if mark in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
    return found


def _read_stat(pid: int) -> list[str] | None:
    # Fields from the third on: the second is the program's name, which may hold spaces and brackets.
    try:
        content = (_PROC / str(pid) / "stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return content[content.rindex(b")") + 2 :].decode("ascii", "replace").split()


def _boot() -> str:
    return (_PROC / "sys/kernel/random/boot_id").read_text("ascii").strip()
