"""Kill -9 at any moment: what was acknowledged is there, and the ledger opens."""

import contextlib
import os
import random
import subprocess
import sys
import threading
import time
from pathlib import Path

from creditledger.ledger.audit import audit
from creditledger.ledger.fsck import fsck
from creditledger.ledger.ledger import Ledger
from creditledger.transparency.merkle import prove_inclusion, verify_inclusion
from ledger_pools import found, grant, registration

KILLS = int(os.environ.get("CREDITLEDGER_KILLS", "20"))
"""How often the writer is killed; the long tier sets more."""
GRANTS_PER_LIFE = 400
DRIVER = Path(__file__).with_name("append_driver.py")


def test_a_killed_writer_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    chance = random.Random(20)
    path = tmp_path / "pool"
    with found(path) as ledger:
        ledger_id = ledger.id
        ledger.append(registration(ledger_id, "alice"))
    acknowledged: dict[int, str] = {}
    for life in range(KILLS):
        frames = [_frame(ledger_id, number) for number in range(life * 100, life * 100 + GRANTS_PER_LIFE)]
        for line in _live_and_die(path, frames, chance):
            verb, index, leaf = line.split()
            assert verb == "ACK", line
            assert acknowledged.setdefault(int(index), leaf) == leaf
        _require_provable(path, acknowledged)
    assert len(acknowledged) > 20 * KILLS
    with Ledger.open(path) as ledger:
        ledger.publish()
    assert fsck(path).problem == ""
    assert audit(path, now_unix_ms=time.time_ns() // 1_000_000).problem == ""


def _frame(ledger_id: bytes, number: int) -> bytes:
    content = grant(ledger_id, "alice", 1, number).encode()
    return len(content).to_bytes(4, "big") + content


def _live_and_die(path: Path, frames: list[bytes], chance: random.Random) -> list[str]:
    """Run the driver, kill it some microseconds after one of its answers, and return all of them.

    Frames come in bursts of random size, so that commits of every size are hit."""
    lives = subprocess.Popen(
        [sys.executable, str(DRIVER), str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([os.getcwd(), *filter(None, sys.path)])},
    )
    assert lives.stdout is not None
    assert lives.stdout.readline() == b"READY\n"
    feeder = threading.Thread(target=_feed, args=(lives, frames, chance.randrange(2**32)))
    feeder.start()
    said = b"".join(lives.stdout.readline() for _ in range(chance.randrange(GRANTS_PER_LIFE // 2)))
    time.sleep(chance.choice((0, 0.001, 0.01)) * chance.random())
    lives.kill()
    said += lives.stdout.read()
    assert lives.wait() == -9, "the driver ended by itself: nothing was tried"
    feeder.join()
    lives.stdout.close()
    # A line is said once it is whole: a last one without its end may have been cut.
    return [line.decode() for line in said.split(b"\n")[:-1]]


def _feed(lives: "subprocess.Popen[bytes]", frames: list[bytes], seed: int) -> None:
    """Hand over ``frames`` and keep the pipe open until the driver is dead."""
    assert lives.stdin is not None
    chance, rest = random.Random(seed), list(frames)
    with contextlib.suppress(BrokenPipeError):
        while rest:
            burst = chance.randint(1, 40)
            lives.stdin.write(b"".join(rest[:burst]))
            lives.stdin.flush()
            del rest[:burst]
            time.sleep(0.001 * chance.randrange(3))
    lives.wait()
    with contextlib.suppress(BrokenPipeError):
        lives.stdin.close()


def _require_provable(path: Path, acknowledged: dict[int, str]) -> None:
    with Ledger.open(path) as ledger, ledger.snapshot() as snapshot:
        log = snapshot.log
        for index, leaf in acknowledged.items():
            log.entry_bytes(index)
            proof = prove_inclusion(log.node, index=index, size=log.size)
            verify_inclusion(leaf=bytes.fromhex(leaf), index=index, size=log.size, proof=proof, root=log.root)
