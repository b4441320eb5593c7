"""`creditledger serve` on one port, killed and started again, and what it takes of the machine."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cli_pools import environment

READY_SECONDS: Final = 60
SAMPLE_SECONDS: Final = 0.5


@dataclass(frozen=True, slots=True)
class Sample:
    """What a server took at one moment."""

    life: int
    second: float
    """Since this life was ready."""
    anonymous_kib: int
    """Memory of its own: mapped files are the page cache's."""
    resident_kib: int
    descriptors: int
    threads: int


class ServedProcess:
    """Starts, watches, kills. One thread samples /proc."""

    def __init__(self, directory: Path, port: int, errors: Path, *arguments: str, program: str = "") -> None:
        """``program``: Python to run before the command line is."""
        start = f"import sys\n{program}\nfrom creditledger.cli.main import main\nmain()"
        words = ["serve", str(directory), "--listen", f"127.0.0.1:{port}", "--interval", "1", "--json"]
        self._command = [sys.executable, "-c", start, *words, *arguments]
        self._errors = errors
        self._process: subprocess.Popen[bytes] | None = None
        self._ready_at = 0.0
        self._end = threading.Event()
        self._sampling = threading.Thread(target=self._sample, name="samples")
        self.lives = 0
        self.samples: list[Sample] = []
        self.ready_seconds: list[float] = []
        """How long each life took to answer."""
        self.ended_by_itself: list[int] = []
        """Exit codes of lives that nobody ended."""

    def __enter__(self) -> "ServedProcess":
        self.start()
        self._sampling.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._end.set()
        self._sampling.join()
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def start(self) -> None:
        """Begin a life; returns when it answers."""
        began = time.monotonic()
        read, write = os.pipe()
        with self._errors.open("ab") as errors, os.fdopen(read) as ready:
            process = subprocess.Popen(
                [*self._command, "--ready-fd", str(write)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                pass_fds=[write],
                env=environment(),
            )
            os.close(write)
            watchdog = threading.Timer(READY_SECONDS, process.kill)
            watchdog.start()
            is_ready = bool(ready.readline())
            watchdog.cancel()
        if not is_ready:
            process.kill()
            said = self._errors.read_text()[-2_000:]
            raise AssertionError(f"the server did not begin: exit {process.wait()}\n{said}")
        self.ready_seconds.append(time.monotonic() - began)
        self.lives += 1
        self._ready_at = time.monotonic()
        self._process = process

    def require_alive(self) -> None:
        """Note a server that ended by itself, and begin again."""
        if self._process is not None and self._process.poll() is not None:
            self.ended_by_itself.append(self._process.returncode)
            self.start()

    def kill(self) -> None:
        """As a power cut would."""
        self.end(signal.SIGKILL)

    def end(self, number: int = signal.SIGTERM) -> int:
        """Signal it and wait; its exit code."""
        assert self._process is not None
        process, self._process = self._process, None
        process.send_signal(number)
        return process.wait(timeout=60)

    def _sample(self) -> None:
        while not self._end.wait(SAMPLE_SECONDS):
            process = self._process
            if process is not None:
                with contextlib.suppress(OSError, KeyError):
                    self.samples.append(self._look(process.pid))

    def _look(self, pid: int) -> Sample:
        status = dict(
            line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":" in line
        )
        return Sample(
            life=self.lives,
            second=time.monotonic() - self._ready_at,
            anonymous_kib=int(status["RssAnon"].split()[0]),
            resident_kib=int(status["VmRSS"].split()[0]),
            descriptors=len(os.listdir(f"/proc/{pid}/fd")),
            threads=int(status["Threads"]),
        )


@dataclass(frozen=True, slots=True)
class Trend:
    """How one figure went through a stretch: the medians of its second and its last quarter."""

    early: float
    late: float
    most: float

    @property
    def growth(self) -> float:
        return self.late - self.early


NO_TREND: Final = Trend(0, 0, 0)


def trend(values: list[int]) -> Trend:
    """Of values at even times; the first quarter is for warming up."""
    quarter = len(values) // 4
    if quarter == 0:
        return NO_TREND
    early = sorted(values[quarter : 2 * quarter])[quarter // 2]
    late = sorted(values[-quarter:])[quarter // 2]
    return Trend(early, late, max(values))
