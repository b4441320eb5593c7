"""The processes of the story: none is left when it ends, and one that dies ends it.

Source: specs/cli.md §14."""

import contextlib
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any, Final

import creditledger
from creditledger import errors
from creditledger.errors import BusyError, CreditLedgerError, StorageError
from creditledger.redemption.queues.containment import adopt_orphans, die_with_parent, end_descendants

CUE_SECONDS: Final = 300.0
BUSY_AT_ONCE: Final = 2
"""Parties that compute at the same time: both validators."""
STOP_SECONDS: Final = 10.0
_LOOK_SECONDS: Final = 0.2
_LOG_BYTES: Final = 2_000


class Processes:
    """Started one after another; each writes what it has to say to a file of its own."""

    def __init__(self, logs: Path) -> None:
        """``logs``: a new folder. Raises StorageError."""
        adopt_orphans()
        logs.mkdir(parents=True)
        self._logs = logs
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(
        self,
        name: str,
        arguments: Sequence[str],
        *,
        is_cued: bool = False,
        passed: Sequence[int] = (),
        home: Path | None = None,
    ) -> "subprocess.Popen[bytes]":
        """Run ``python -m`` with ``arguments``. ``is_cued``: over its stdin and stdout. ``passed``:
        descriptors that it keeps. ``home``: where it works, and keeps what the command line keeps.

        In a session of its own it does not hear the terminal's Ctrl-C: the story ends it in order."""
        with (self._logs / f"{name}.log").open("wb") as log:
            pipe = subprocess.PIPE if is_cued else subprocess.DEVNULL
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", *arguments],
                stdin=pipe,
                stdout=pipe,
                stderr=log,
                env=_environment() | ({} if home is None else {"XDG_STATE_HOME": str(home)}),
                cwd=home,
                start_new_session=True,
                preexec_fn=die_with_parent,
                pass_fds=tuple(passed),
            )
        self._running[name] = process
        return process

    def require_alive(self) -> None:
        """Raises BusyError, naming the first that has ended and the last it said."""
        for name, process in self._running.items():
            if process.poll() is not None:
                raise BusyError(
                    f"{name} has ended: {self._last_words(name)}",
                    expected="every party at work",
                    found=f"exit code {process.returncode}, see {self._logs / name}.log",
                )

    def await_line(self, descriptor: int, *, seconds: float = CUE_SECONDS) -> None:
        """Return when there is something to read. Raises BusyError if any process ends first."""
        deadline = time.monotonic() + seconds
        while not select.select([descriptor], [], [], _LOOK_SECONDS)[0]:
            self.require_alive()
            if time.monotonic() > deadline:
                raise BusyError("a party does not answer", expected=f"within {seconds} s")

    def close(self) -> None:
        """End them all: first whoever takes cues, the server last; then whatever they left behind."""
        cued = [process for process in self._running.values() if process.stdin is not None]
        for process in cued:
            with contextlib.suppress(OSError):
                _pipe(process.stdin).close()
        _await_end(cued)
        others = [process for process in reversed(self._running.values()) if process.stdin is None]
        for process in others:
            process.terminate()
        _await_end(others)
        self._running.clear()
        end_descendants(pause=lambda: time.sleep(0.01))

    def _last_words(self, name: str) -> str:
        said = (self._logs / f"{name}.log").read_bytes()[-_LOG_BYTES:].decode(errors="replace")
        lines = [line for line in said.splitlines() if line.strip()]
        return lines[-1].strip()[:200] if lines else "it said nothing"


class CuedProcess:
    """A party that does what it is told over its pipes: see `part_process`."""

    def __init__(self, processes: Processes, name: str, call: str) -> None:
        """Start it, and return when it is ready to be `do`ne things with. Raises what it raised."""
        self._processes = processes
        self._process = processes.start(name, ["creditledger.cli.demonstration.part_process"], is_cued=True)
        self._exchange(call)

    def do(self, cue: str, *arguments: Any) -> Any:
        """Have it done; the answer. Raises what the party raised, BusyError if any party ends meanwhile."""
        return self._exchange(json.dumps({"do": cue, "with": arguments}))

    def _exchange(self, line: str) -> Any:
        stdin, stdout = _pipe(self._process.stdin), _pipe(self._process.stdout)
        with contextlib.suppress(BrokenPipeError):
            stdin.write(line.encode() + b"\n")
            stdin.flush()
        self._processes.await_line(stdout.fileno())
        answer = stdout.readline()
        if not answer:
            self._process.wait()
            self._processes.require_alive()
        told = json.loads(answer)
        if "error" not in told:
            return told["ok"]
        self._processes.require_alive()
        raise _raised(told)


def _await_end(processes: Sequence["subprocess.Popen[bytes]"]) -> None:
    """Whoever takes too long is killed."""
    deadline = time.monotonic() + STOP_SECONDS
    for process in processes:
        try:
            process.wait(timeout=max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    if pipe is None:
        raise AssertionError("a cued process has pipes")
    return pipe


def _raised(told: dict[str, str]) -> CreditLedgerError:
    kind: type[CreditLedgerError] = getattr(errors, told["error"], StorageError)
    return kind(told["message"], expected=told["expected"], found=told["found"])


def _environment() -> dict[str, str]:
    """This process's, with the package it runs importable, and the processors shared out."""
    package = str(Path(creditledger.__file__).parent.parent)
    given = os.environ.get("PYTHONPATH")
    path = os.pathsep.join([package, given] if given else [package])
    threads = str(max(1, (os.cpu_count() or 1) // BUSY_AT_ONCE))
    return {"OPENBLAS_NUM_THREADS": threads, **os.environ, "PYTHONPATH": path}
