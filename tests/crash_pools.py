"""Children that work on a ledger under strace, which records, fails or kills at their system calls."""

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from creditledger.errors import CreditLedgerError
from creditledger.ledger.ledger import Ledger
from creditledger.quantities import ZERO_DIGEST
from creditledger.records.parameters import HardwarePrice
from creditledger.records.registration import Role
from creditledger.records.transfer import Hold, Release
from ledger_pools import START_MS, FixedClock, Submission, found, grant, registration, signed, signer

OUR_BUG = 70
"""The exit code of a child that ended by anything but a typed error."""
SAID_MAX = 1 << 16

Say = Callable[[str], None]
"""Tells the parent a line that must hold for ever from now on; a `sendto`, which no fault here touches."""
Action = Callable[[Path, Say], None]


@dataclass(frozen=True, slots=True)
class Ended:
    """How a child ended, what it had said by then, and what strace saw."""

    code: int
    said: tuple[str, ...]
    trace: str


def strace_or_skip() -> None:
    """Skip where strace is not there or may not attach."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    if subprocess.run(["strace", "-o", os.devnull, "true"], capture_output=True, check=False).returncode:
        pytest.skip("strace may not attach here")


def said_in_a_child(work: Callable[[], Iterator[str]]) -> list[str]:
    """The words that ``work`` gave before its process ended, however it did."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            for word in work():
                os.write(write, word.encode() + b"\n")
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read) as lines:
        said = lines.read().split()
    os.waitpid(child, 0)
    return said


def traced(action: Action, pool: Path, *options: str) -> Ended:
    """Run ``action`` on ``pool`` in a forked child under strace with ``options``.

    Only what the action does is traced, not the start of an interpreter: everything is imported."""
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    child = os.fork()
    if child == 0:
        os._exit(_act(action, pool, there))
    there.close()
    with here, tempfile.TemporaryDirectory() as folder:
        seen = Path(folder) / "trace"
        watcher = subprocess.Popen(
            ["strace", "-f", "-o", str(seen), "-p", str(child), *options],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert watcher.stderr is not None
        line = watcher.stderr.readline()
        if "attached" not in line:
            os.kill(child, signal.SIGKILL)
        with contextlib.suppress(BrokenPipeError):
            here.send(b"go")
        # All it says, until it has ended: a child with much to say would wait for room for ever.
        said = tuple(received(here))
        _, status = os.waitpid(child, 0)
        rest = watcher.stderr.read()
        watcher.wait(timeout=60)
        watcher.stderr.close()
        if "attached" not in line:
            raise AssertionError(f"strace did not attach: {line}{rest}")
        return Ended(os.waitstatus_to_exitcode(status), said, seen.read_text())


def _act(action: Action, pool: Path, there: socket.socket) -> int:
    def say(line: str) -> None:
        there.send(line.encode())

    try:
        there.recv(2)
        action(pool, say)
    except CreditLedgerError as error:
        say(f"error {type(error).__name__}: {error}")
        return error.exit_code
    except BaseException:
        say("bug " + traceback.format_exc()[-2_000:])
        return OUR_BUG
    return 0


def received(here: socket.socket) -> list[str]:
    """What comes until the other side is closed."""
    lines: list[str] = []
    with contextlib.suppress(ConnectionResetError):
        while line := here.recv(SAID_MAX):
            lines.append(line.decode())
    return lines


def calls(trace: str) -> list[str]:
    """The names of the system calls in a trace, in order."""
    return re.findall(r"^\d+ +(\w+)\(", trace, flags=re.MULTILINE)


def founded(path: Path) -> Path:
    """A closed ledger with a client, a queue, a hold in effect, and news that is not published."""
    hardware = HardwarePrice(name="gpu", micro_per_gpu_second=1_000)
    with found(path, hardware=(hardware,)) as ledger:
        ledger.append(registration(ledger.id, "alice"))
        ledger.append(registration(ledger.id, "queue", Role.QUEUE))
        ledger.append(grant(ledger.id, "alice", 10**9, number=2_000_000))
        ledger.complete_round()
        ledger.append(signed(ledger.id, hold_of_alice(), signer("alice")))
        ledger.complete_round()
        ledger.submit([grant(ledger.id, "alice", 1, number) for number in range(5)])
    return path


def hold_of_alice() -> Hold:
    """Ten seconds on one GPU."""
    return Hold(
        id=b"\1" * 16,
        holder=signer("alice").public_key,
        amount_micro=10_000,
        job=ZERO_DIGEST,
        queue=signer("queue").public_key,
        hardware="gpu",
        gpus=1,
        duration_ms=10_000,
        micro_per_gpu_second=1_000,
        expires_unix_ms=START_MS + 10**9,
    )


def release_of_alice(ledger_id: bytes) -> Submission:
    """The queue gives all of the hold back."""
    hold = hold_of_alice().digest(ledger_id)
    record = Release(id=bytes(16), hold=hold, queue=signer("queue").public_key, reason="finished")
    return signed(ledger_id, record, signer("queue"))


def in_memory(folder: Path) -> Path:
    """Where rewriting a file waits for no disk, if there is such a place."""
    memory = Path("/dev/shm")
    return Path(tempfile.mkdtemp(prefix="faults-", dir=memory)) if os.access(memory, os.W_OK) else folder


def opened(pool: Path) -> Ledger:
    """The ledger, for writing, at the time it was founded."""
    return Ledger.open(pool, clock=FixedClock())


def acknowledge(ledger: Ledger, say: Say, submissions: Sequence[Submission]) -> None:
    """Append ``submissions`` one by one; say of each, once it is acknowledged, where it is."""
    for submission in submissions:
        acknowledgement = ledger.append(submission)
        say(f"ack {acknowledgement.index} {acknowledgement.leaf_hash.hex()}")


def acknowledged(said: Sequence[str]) -> dict[int, str]:
    """Index and leaf hash of all that was acknowledged."""
    return {
        int(index): leaf
        for word, index, leaf in (line.split() for line in said if line.startswith("ack "))
        if word == "ack"
    }
