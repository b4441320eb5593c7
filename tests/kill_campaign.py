"""A process that forks writers and lets `kill_shim.c` end each at one of its calls; then looks what is left.

Started by `faults/test_kill_boundaries.py` with the shim preloaded; prints one JSON object."""

import ctypes
import json
import os
import random
import shutil
import signal
import socket
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from crash_pools import OUR_BUG, acknowledge, acknowledged, founded, hold_of_alice, received
from creditledger.credits import reading
from creditledger.errors import CreditLedgerError, StorageError
from creditledger.ledger import head as head_module
from creditledger.ledger import store_place
from creditledger.ledger.fsck import check
from creditledger.ledger.ledger import Ledger
from creditledger.ledger.lmdb_store import LmdbStore
from creditledger.ledger.stored_log import StoredLog
from creditledger.records.entry import Submission
from creditledger.records.transfer import Capture, Expire, Hold, Release
from creditledger.transparency.merkle import leaf_hash
from ledger_pools import (
    START_MS,
    FixedClock,
    Work,
    found,
    grant,
    registration,
    signed,
    signer,
    validator_seat,
)

CHAIN = 6
"""Kills that one pool survives in a row, each on what the one before left."""
TIMES = ("before", "halfway", "after", "by a short")
SHORT = 3
WRITES = ("write", "writev", "pwrite", "pwritev")
GRACE_MS = 300_000
FAR_MS = START_MS + 10**10


@dataclass(slots=True)
class Life:
    """One pool through a chain of kills, and what was promised of it."""

    pool: Path
    now: int = START_MS
    promised: dict[int, str] = field(default_factory=dict)
    published: int = 0
    turn: int = 0
    batches: int = 0

    def open(self) -> Ledger:
        return Ledger.open(self.pool, clock=FixedClock(self.now))


@dataclass(frozen=True, slots=True)
class Killed:
    """How a writer ended: by which call of which number, and what it had said."""

    by: str
    said: tuple[str, ...]
    code: int


Say = Callable[[str], None]
Operation = Callable[[Life, Callable[[], None], Say], None]
"""Prepares, calls its second argument, from where on it may be killed, and works."""


def due(turn: int) -> int:
    """When one more of the short holds has expired, and its grace is over."""
    return START_MS + 1_000 * (turn + 1) + GRACE_MS


def voucher_hold(number: int, *, expires: int) -> Hold:
    return hold_of_alice().replace(id=(1_000 + number).to_bytes(16, "big"), expires_unix_ms=expires)


def submitting(make: Callable[[Ledger, Life], list[Submission]]) -> Operation:
    """An operation that opens the ledger, and then logs what ``make`` gives, one group."""

    def operation(life: Life, begin: Callable[[], None], say: Say) -> None:
        with life.open() as ledger:
            submissions = make(ledger, life)
            begin()
            for outcome in ledger.submit(submissions):
                if isinstance(outcome, CreditLedgerError):
                    raise outcome
                say(f"ack {outcome.index} {outcome.leaf_hash.hex()}")

    return operation


def grants(count: int) -> Callable[[Ledger, Life], list[Submission]]:
    def make(ledger: Ledger, life: Life) -> list[Submission]:
        return [grant(ledger.id, "alice", 1, 10_000 * (life.turn + 1) + number) for number in range(count)]

    return make


def a_hold(ledger: Ledger, life: Life) -> list[Submission]:
    return [signed(ledger.id, voucher_hold(500 + life.turn, expires=FAR_MS), signer("alice"))]


def a_capture(ledger: Ledger, life: Life) -> list[Submission]:
    hold = voucher_hold(life.turn, expires=FAR_MS).digest(ledger.id)
    tag = (2_000 + life.turn).to_bytes(16, "big")
    queue = signer("queue")
    record = Capture(id=tag, hold=hold, queue=queue.public_key, gpu_ms=3_000, amount_micro=3_000)
    return [signed(ledger.id, record, queue)]


def a_release(ledger: Ledger, life: Life) -> list[Submission]:
    hold = voucher_hold(life.turn, expires=FAR_MS).digest(ledger.id)
    tag = (3_000 + life.turn).to_bytes(16, "big")
    record = Release(id=tag, hold=hold, queue=signer("queue").public_key, reason="finished")
    return [signed(ledger.id, record, signer("queue"))]


def a_batch(ledger: Ledger, life: Life) -> list[Submission]:
    """Two receipts after those of the batches before, and their sealed sketches."""
    with ledger.read() as state:
        (job,) = reading.unsettled_jobs(state)
    work = Work(ledger, job=job)
    batches = [work.batch(sealed=b"sketches %d" % number) for number in range(life.batches + 1)]
    return batches[-1:]


def expire(life: Life, begin: Callable[[], None], say: Say) -> None:
    with life.open() as ledger:
        begin()
        for acknowledgement in ledger.expire_due():
            say(f"ack {acknowledgement.index} {acknowledgement.leaf_hash.hex()}")


def close_round(life: Life, begin: Callable[[], None], say: Say) -> None:
    with life.open() as ledger:
        acknowledge(ledger, say, a_hold(ledger, life))
        begin()
        ledger.complete_round()
        say(f"published {ledger.size}")


def publish(life: Life, begin: Callable[[], None], say: Say) -> None:
    with life.open() as ledger:
        acknowledge(ledger, say, grants(1)(ledger, life))
        begin()
        ledger.publish()
        say(f"published {ledger.size}")


def reopen(life: Life, begin: Callable[[], None], say: Say) -> None:
    begin()
    life.open().close()


def grow(life: Life, begin: Callable[[], None], say: Say) -> None:
    """The map is as large as what is in it: the group needs a larger one."""
    store_place.LmdbStore = partial(LmdbStore, map_size=4_096)  # type: ignore[misc,assignment]
    with life.open() as ledger:
        before = ledger._store.map_size
        begin()
        submissions = grants(60)(ledger, life)
        for outcome in ledger.submit(submissions):
            say(f"ack {outcome.index} {outcome.leaf_hash.hex()}")  # type: ignore[union-attr]
        if ledger._store.map_size > before:
            say("grown")


def initialise(life: Life, begin: Callable[[], None], say: Say) -> None:
    begin()
    found(life.pool.parent / "new").close()
    say("founded")


OPERATIONS: dict[str, Operation] = {
    "append": submitting(grants(1)),
    "group": submitting(grants(8)),
    "batch": submitting(a_batch),
    "hold": submitting(a_hold),
    "capture": submitting(a_capture),
    "release": submitting(a_release),
    "expire": expire,
    "publish": publish,
    "round": close_round,
    "open": reopen,
    "grow": grow,
    "init": initialise,
}


def acknowledge_before_the_commit(say: Say) -> None:
    real = StoredLog.append

    def append(log: StoredLog, entry: bytes) -> bytes:
        leaf = real(log, entry)
        say(f"ack {log.size - 1} {leaf.hex()}")
        return leaf

    StoredLog.append = append  # type: ignore[method-assign]


def overwrite_the_head_in_place(say: Say) -> None:
    # The whole file, in two steps, as whoever forgets that a write may be cut short does.
    def write_over(path: Path, content: bytes, *, offset: int) -> None:
        path.write_bytes(b"")
        path.write_bytes(content)

    head_module.write_over = write_over


SPOILS: dict[str, Callable[[Say], None]] = {
    "nothing": lambda say: None,
    "early": acknowledge_before_the_commit,
    "in place": overwrite_the_head_in_place,
}
"""What is wrong with the writers: the harness must see it."""


class Campaign:
    """Kills, one after another."""

    def __init__(self, folder: Path, shim: ctypes.CDLL, *, seed: int, spoil: str) -> None:
        self.spoil = SPOILS[spoil]
        self.folder = folder
        self.shim = shim
        self.chance = random.Random(seed)
        self.template = prepared(folder / "template")
        self.hits: dict[str, Counter[int]] = {name: Counter() for name in OPERATIONS}
        self.calls: dict[str, Counter[str]] = {name: Counter() for name in OPERATIONS}
        self.shorts: Counter[int] = Counter()
        self.kills = self.survived = 0
        self.wrongs: list[str] = []

    def run(self, kills: int) -> None:
        """Kill ``kills`` times: every operation at every boundary, as often as comes out."""
        cases = self.cases()
        rest: list[tuple[str, int, int]] = []
        while self.kills < kills and not self.wrongs:
            life = self.born()
            for turn in range(CHAIN):
                if not rest:
                    rest = self.chance.sample(cases, len(cases))
                case = rest.pop()
                if not self.kill_and_look(life, turn, *case):
                    # It made fewer calls than on a fresh pool: once more, later.
                    rest.insert(0, case)
            shutil.rmtree(life.pool.parent)

    def cases(self) -> list[tuple[str, int, int]]:
        """Operation, number of the call, and when within it; each is counted on a pool of its own."""
        cases = []
        for name in OPERATIONS:
            life = self.born()
            life.now = due(0) if name == "expire" else life.now
            ended = self.ended(life, name, 0, 0)
            if ended.code or ("grown" in ended.said) is not (name == "grow"):
                raise AssertionError(f"{name} fails by itself: {ended.code} {ended.said}")
            calls = self.shim.kill_calls()
            self.hits[name] = Counter(dict.fromkeys(range(calls), 0))
            cases += [(name, at + 1, how) for at in range(calls) for how in range(SHORT)]
            cases += [(name, at + 1, SHORT) for at in range(calls) if self.call(at) in WRITES]
            shutil.rmtree(life.pool.parent)
        return cases

    def call(self, at: int) -> str:
        return str(self.shim.kill_name(at).decode())

    def born(self) -> Life:
        folder = self.folder / "life"
        return Life(Path(shutil.copytree(self.template, folder / "pool")))

    def kill_and_look(self, life: Life, turn: int, name: str, number: int, how: int) -> bool:
        """Whether it was killed before it had ended by itself."""
        life.turn = turn
        if name == "expire":
            life.now = max(life.now, due(turn))
        ended = self.ended(life, name, number, how)
        what = f"{name} killed {TIMES[how]} call {number} ({ended.by or 'none'})"
        allowed = (0, StorageError.exit_code) if how == SHORT else (0, -signal.SIGKILL)
        if ended.code not in allowed:
            self.wrongs.append(f"{what}: ended {ended.code}, said {ended.said}")
        elif how == SHORT:
            self.shorts[ended.code] += 1
        elif ended.code == 0:
            self.survived += 1
        else:
            self.kills += 1
            self.hits[name][number - 1] += 1
            self.calls[name][ended.by] += 1
        try:
            self.look(life, name, ended)
        except (CreditLedgerError, AssertionError) as error:
            found = getattr(error, "found", "")
            self.wrongs.append(f"{what}: {type(error).__name__} {error} {found}; said {ended.said}")
        return how == SHORT or bool(ended.code)

    def ended(self, life: Life, name: str, number: int, how: int) -> Killed:
        here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        child = os.fork()
        if child == 0:
            os._exit(self.work(life, name, number, how, there))
        there.close()
        with here:
            said = tuple(received(here))
        _, status = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(status)
        return Killed(self.call(number - 1) if number and code else "", said, code)

    def work(self, life: Life, name: str, number: int, how: int, there: socket.socket) -> int:
        def say(line: str) -> None:
            there.send(line.encode())

        try:
            self.spoil(say)
            OPERATIONS[name](life, lambda: self.shim.kill_arm(number, how), say)
        except CreditLedgerError as error:
            say(f"error {type(error).__name__}: {error}")
            return error.exit_code
        except BaseException as error:
            say(f"{type(error).__name__}: {error}")
            return OUR_BUG
        return 0

    def look(self, life: Life, name: str, ended: Killed) -> None:
        """All that was promised is there, and whoever asks again is served."""
        if name == "init":
            return self.look_at_the_new(life.pool.parent / "new", ended)
        for index, leaf in acknowledged(ended.said).items():
            require(life.promised.setdefault(index, leaf) == leaf, f"entry {index} was promised twice")
        for line in ended.said:
            if line.startswith("published"):
                life.published = max(life.published, int(line.split()[1]))
        check(life.pool)
        with life.open() as ledger:
            require_promised(ledger, life)
        again: list[str] = []
        # The client asks again, as after any failure: what it gets is what it got.
        OPERATIONS[name](life, lambda: None, again.append)
        store_place.LmdbStore = LmdbStore  # type: ignore[misc]
        life.batches += name == "batch"
        for index, leaf in acknowledged(again).items():
            require(life.promised.setdefault(index, leaf) == leaf, f"entry {index} is another when repeated")
        # What has expired is not due again; every other repeat answers with the first place.
        is_repeated = acknowledged(ended.said).items() <= acknowledged(again).items()
        require(is_repeated or name == "expire", "a repeat got another place")
        with life.open() as ledger:
            acknowledge(ledger, again.append, [grant(ledger.id, "alice", 1, 90_000 + life.turn)])
            life.promised |= acknowledged(again)
            require_promised(ledger, life)
            require_single_ends(ledger)
        return None

    def look_at_the_new(self, path: Path, ended: Killed) -> None:
        """A whole ledger or none: then founding it again succeeds."""
        is_whole = (path / "store").exists()
        require(is_whole or "founded" not in ended.said, "what was founded is gone")
        if not is_whole:
            found(path).close()
        check(path)
        with Ledger.open(path, clock=FixedClock()) as ledger:
            ledger.append(registration(ledger.id, "alice"))
        for leftover in path.parent.iterdir():
            if leftover.name != "pool":
                shutil.rmtree(leftover)


def require(is_so: bool, wrong: str) -> None:
    if not is_so:
        raise AssertionError(wrong)


def require_promised(ledger: Ledger, life: Life) -> None:
    with ledger.snapshot() as snapshot:
        require(snapshot.log.size >= life.published, "less is there than was published")
        for index, leaf in life.promised.items():
            require(index < snapshot.log.size, f"entry {index} was acknowledged and is lost")
            require(leaf_hash(snapshot.log.entry_bytes(index)).hex() == leaf, f"entry {index} is another")


def require_single_ends(ledger: Ledger) -> None:
    """No hold is captured twice, and none ends twice."""
    captured: Counter[bytes] = Counter()
    ended: Counter[bytes] = Counter()
    for index in range(ledger.size):
        record = ledger.entry(index).record
        if isinstance(record, Capture):
            captured[record.hold] += 1
        elif isinstance(record, Release | Expire):
            ended[record.hold] += 1
    require(max(captured.values(), default=0) <= 1, "a hold is captured twice")
    require(max(ended.values(), default=0) <= 1, "a hold has ended twice")


def prepared(path: Path) -> Path:
    """A pool with a job under a hold, vouchers to capture and release, and some that soon expire."""
    founded(path)
    with Ledger.open(path, clock=FixedClock()) as ledger:
        Work(ledger).begin()
        holds = [voucher_hold(number, expires=FAR_MS) for number in range(CHAIN)]
        holds += [
            voucher_hold(100 + number, expires=START_MS + 1_000 * (number + 1)) for number in range(CHAIN)
        ]
        ledger.submit([signed(ledger.id, hold, signer("alice")) for hold in holds])
        ledger.complete_round()
        require_open(ledger, holds)
    return path


def require_open(ledger: Ledger, holds: list[Hold]) -> None:
    with ledger.read() as state:
        for hold in holds:
            require(reading.hold_state(state, hold.digest(ledger.id)) is not None, "a hold was refused")


def main(shim_path: str, folder: str, kills: str, seed: str, spoil: str) -> None:
    shim = ctypes.CDLL(shim_path)
    shim.kill_name.restype = ctypes.c_char_p
    shim.kill_calls.restype = ctypes.c_long
    shim.kill_arm.argtypes = (ctypes.c_long, ctypes.c_int)
    validator_seat()
    campaign = Campaign(Path(folder), shim, seed=int(seed), spoil=spoil)
    campaign.run(int(kills))
    table = {
        name: {
            "boundaries": len(hits),
            "kills": sum(hits.values()),
            "least": min(hits.values()),
            "by": dict(campaign.calls[name]),
        }
        for name, hits in campaign.hits.items()
    }
    found = {
        "kills": campaign.kills,
        "survived": campaign.survived,
        "shorts": campaign.shorts,
        "wrongs": campaign.wrongs,
        "table": table,
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
