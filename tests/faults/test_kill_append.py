"""Kill -9 on ``creditledger append --stdin --ack`` at any moment: every line it printed stays true."""

import contextlib
import os
import random
import resource
import subprocess
import sys
import threading
import time
from pathlib import Path

from cli_pools import ask, environment
from creditledger.ledger.ledger import Ledger
from creditledger.transparency.merkle import prove_inclusion, verify_inclusion
from ledger_pools import found, grant, registration

KILLS = int(os.environ.get("CREDITLEDGER_KILLS", "20"))
"""How often the verb is killed; the long tier sets 200."""
FRAMES = 300
OLD_ONES = 100
"""So many of those from before an earlier kill are looked at after each; all of them after the last."""


def test_what_append_acknowledged_survives_a_kill(tmp_path: Path) -> None:
    chance = random.Random(7)
    pool = tmp_path / "pool"
    with found(pool) as ledger:
        ledger_id = ledger.id
        ledger.append(registration(ledger_id, "alice"))
        ledger.complete_round()
    acknowledged: dict[int, str] = {}
    for life in range(KILLS):
        frames = [_frame(ledger_id, number) for number in range(life * 50, life * 50 + FRAMES)]
        checked = dict(chance.sample(sorted(acknowledged.items()), min(OLD_ONES, len(acknowledged))))
        for line in _said_before_the_kill(pool, frames, chance):
            word, index, leaf = line.split()
            assert word == "ACK", line
            assert acknowledged.setdefault(int(index), leaf) == leaf
            checked[int(index)] = leaf
        _require_provable(pool, checked)
    assert len(acknowledged) > 10 * KILLS
    _require_provable(pool, acknowledged)
    assert ask("fsck", pool)["ok"] is True
    ask("checkpoint", pool)
    assert ask("audit", pool)["ok"] is True


def _frame(ledger_id: bytes, number: int) -> bytes:
    content = grant(ledger_id, "alice", 1, number).encode()
    return len(content).to_bytes(4, "big") + content


def _said_before_the_kill(pool: Path, frames: list[bytes], chance: random.Random) -> list[str]:
    """Feed the verb in bursts, kill it some moments after one of its lines, or before the first."""
    verb = subprocess.Popen(
        [sys.executable, "-m", "creditledger", "append", str(pool), "--stdin", "--ack"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment(),
    )
    assert verb.stdout is not None
    feeder = threading.Thread(target=_feed, args=(verb, frames, chance.randrange(2**32)))
    feeder.start()
    if chance.random() < 0.1:
        time.sleep(chance.random())
        said = b""
    else:
        said = b"".join(verb.stdout.readline() for _ in range(chance.randrange(1, FRAMES // 2)))
        time.sleep(chance.choice((0, 0.001, 0.01)) * chance.random())
    verb.kill()
    said += verb.stdout.read()
    assert verb.wait() == -9, "append ended by itself: nothing was tried"
    feeder.join()
    verb.stdout.close()
    # A line is said once it is whole: a last one without its end may have been cut.
    return [line.decode() for line in said.split(b"\n")[:-1]]


def _feed(verb: "subprocess.Popen[bytes]", frames: list[bytes], seed: int) -> None:
    """Hand over ``frames`` and keep the pipe open until the verb is dead."""
    assert verb.stdin is not None
    chance, rest = random.Random(seed), list(frames)
    with contextlib.suppress(BrokenPipeError):
        while rest:
            burst = chance.randint(1, 40)
            verb.stdin.write(b"".join(rest[:burst]))
            verb.stdin.flush()
            del rest[:burst]
            time.sleep(0.001 * chance.randrange(3))
    verb.wait()
    with contextlib.suppress(BrokenPipeError):
        verb.stdin.close()


def _require_provable(pool: Path, acknowledged: dict[int, str]) -> None:
    with Ledger.open(pool) as ledger, ledger.snapshot() as snapshot:
        log = snapshot.log
        for index, leaf in acknowledged.items():
            log.entry_bytes(index)
            proof = prove_inclusion(log.node, index=index, size=log.size)
            verify_inclusion(leaf=bytes.fromhex(leaf), index=index, size=log.size, proof=proof, root=log.root)


def test_append_at_the_largest_file_ends_with_exit_code_5(tmp_path: Path) -> None:
    """S6: a limit on file sizes makes real short writes; what was acknowledged stays, the next goes on."""
    pool = tmp_path / "pool"
    with found(pool) as ledger:
        ledger_id = ledger.id
        ledger.append(registration(ledger_id, "alice"))
    frames = b"".join(_frame(ledger_id, number) for number in range(2_000))
    most = (pool / "store" / "data.mdb").stat().st_size + 100_001
    verb = [sys.executable, "-m", "creditledger", "append", str(pool), "--stdin", "--ack"]
    limited = subprocess.run(
        verb,
        input=frames,
        capture_output=True,
        env=environment(),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (most, most)),
        check=False,
    )
    assert limited.returncode == 5
    said = limited.stdout.decode().splitlines()
    _require_provable(pool, {int(line.split()[1]): line.split()[2] for line in said})
    after = subprocess.run(verb, input=frames, capture_output=True, env=environment(), check=True)
    assert after.stdout.decode().splitlines()[: len(said)] == said
    assert ask("fsck", pool)["ok"] is True
