"""Replay of a writer's system calls: whatever a power cut leaves of them, what was acknowledged is there."""

import os
import random
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import lmdb
import pytest

from crash_pools import (
    Action,
    Say,
    acknowledge,
    acknowledged,
    founded,
    in_memory,
    opened,
    release_of_alice,
    said_in_a_child,
    strace_or_skip,
    traced,
)
from creditledger.errors import CreditLedgerError
from creditledger.ledger.head import HeadFile
from creditledger.ledger.ledger import Ledger
from creditledger.ledger.writer import Acknowledgement
from creditledger.transparency.merkle import leaf_hash
from ledger_pools import grant
from power_cut import OPTIONS, Cut, Disk, whole_calls

pytestmark = pytest.mark.strace

STATES = int(os.environ.get("CREDITLEDGER_CRASH_STATES", "4000"))
"""How many contents of the disk are opened, torn at sectors and pages; the long tier sets 200,000."""
LENGTH = 2 + STATES // 14_000
"""How often the recorded writer does all it does: a longer trace has more states."""
FILES = ("store/data.mdb", "head")
KEPT, REFUSED, UNGUARDED, LOST, CRASHED = "kept", "refused", "unguarded", "lost", "crashed"


def write(pool: Path, say: Say) -> None:
    """Records one by one, groups, an end of a hold, and a publication."""
    with opened(pool) as ledger:
        for turn in range(LENGTH):
            first = 1_000 * (turn + 1)
            acknowledge(ledger, say, [grant(ledger.id, "alice", 1, first + number) for number in range(4)])
            group = [grant(ledger.id, "alice", 1, first + number) for number in range(100, 130)]
            for outcome in ledger.submit(group):
                assert isinstance(outcome, Acknowledgement)
                say(f"ack {outcome.index} {outcome.leaf_hash.hex()}")
            if turn == 0:
                acknowledge(ledger, say, [release_of_alice(ledger.id)])
            acknowledge(ledger, say, [grant(ledger.id, "alice", 1, first + 4)])
            ledger.publish()


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    strace_or_skip()
    folder = tmp_path_factory.mktemp("cuts")
    path = founded(folder / "pool")
    write(Path(shutil.copytree(path, folder / "warm")), lambda line: None)
    return path


def recorded(action: Action, pool: Path, folder: Path) -> list[Cut]:
    """The moments of ``action`` on a copy of ``pool``."""
    copy = Path(shutil.copytree(pool, folder / "recorded"))
    disk = Disk(copy, FILES)
    ended = traced(action, copy, *OPTIONS)
    assert ended.code == 0, ended.said
    cuts = list(disk.cuts(ended.trace))
    last = dict(cuts[-1].files)
    for name in FILES:
        image = last[name][-1]
        assert not image.pending or action is not write
        assert next(image.states(1 << 20, random.Random(0))) == (copy / name).read_bytes() or image.pending
    return cuts


def verdicts(cuts: list[Cut], pool: Path, folder: Path, *, unit: int, states: int) -> Counter[str]:
    """What opening says of ``states`` contents of the disk, spread over ``cuts``."""
    case = Path(shutil.copytree(pool, in_memory(folder) / f"case-{unit}"))
    found: Counter[str] = Counter()
    chance = random.Random(unit)
    weight = sum(cut.pending_bytes for cut in cuts) or 1
    for cut in cuts:
        rest = list(cut.states(unit, 3 + states * cut.pending_bytes // weight, chance))
        while rest:
            said = said_in_a_child(partial(_judge_all, case, rest, acknowledged(cut.said)))
            found.update(said)
            if len(said) < len(rest):
                found[CRASHED] += 1
            rest = rest[len(said) + 1 :]
    shutil.rmtree(case.parent if case.parent != folder else case)
    return found


def _judge_all(case: Path, states: list[dict[str, bytes]], promised: dict[int, str]) -> Iterator[str]:
    for state in states:
        for name, content in state.items():
            (case / name).write_bytes(content)
        yield _judge(case, promised)


def _judge(case: Path, promised: dict[int, str]) -> str:
    try:
        with Ledger.open(case, read_only=True) as ledger, ledger.snapshot() as snapshot:
            log = snapshot.log
            log.require_sound_edge()
            if max(promised, default=-1) >= log.size:
                return LOST
            if any(leaf_hash(log.entry_bytes(index)).hex() != leaf for index, leaf in promised.items()):
                return LOST
            head = HeadFile(case / "head", origin=ledger.origin, operator=ledger.genesis.operator).read()
            return KEPT if head.size > max(promised, default=-1) else UNGUARDED
    except CreditLedgerError:
        return REFUSED


def test_a_call_that_another_thread_interrupts_counts_where_it_ends() -> None:
    """Lost, it would be missing from every later state, and honest stores would seem torn."""
    trace = (
        '7 pwrite64(4, "\\x61", 1, 32 <unfinished ...>\n'
        '8 openat(AT_FDCWD, "\\x62", O_RDONLY) = 5\n'
        "8 fsync(5 <unfinished ...>\n"
        "7 <... pwrite64 resumed>)             = 1\n"
        "8 <... fsync resumed>)                = 0\n"
    )
    assert list(whole_calls(trace)) == [
        '8 openat(AT_FDCWD, "\\x62", O_RDONLY) = 5',
        '7 pwrite64(4, "\\x61", 1, 32)             = 1',
        "8 fsync(5)                = 0",
    ]


@pytest.mark.parametrize("unit", [512, 4_096])
def test_nothing_acknowledged_is_lost_in_a_power_cut(pool: Path, tmp_path: Path, unit: int) -> None:
    cuts = recorded(write, pool, tmp_path)
    found = verdicts(cuts, pool, tmp_path, unit=unit, states=STATES // 2)
    print(f"{unit}: {len(cuts)} cuts, {found.total()} states, {dict(found)}")
    assert set(found) == {KEPT}
    assert found.total() > STATES // 4


def test_a_torn_sector_is_refused_and_never_taken_for_the_truth(pool: Path, tmp_path: Path) -> None:
    """No disk should tear 16 bytes off a sector. If one does, the head file tells."""
    found = verdicts(recorded(write, pool, tmp_path), pool, tmp_path, unit=16, states=STATES // 6)
    print(f"16: {found.total()} states, {dict(found)}")
    assert set(found) <= {KEPT, REFUSED}
    assert found[REFUSED] > 0


def unsynced(patch: pytest.MonkeyPatch) -> None:
    real = lmdb.open
    patch.setattr(lmdb, "open", lambda path, **options: real(path, **{**options, "sync": False}))


def unsynced_meta_pages(patch: pytest.MonkeyPatch) -> None:
    real = lmdb.open
    patch.setattr(lmdb, "open", lambda path, **options: real(path, **{**options, "metasync": False}))


def no_head(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(HeadFile, "replace", lambda self, head, operator: None)


def unsynced_and_no_head(patch: pytest.MonkeyPatch) -> None:
    unsynced(patch)
    no_head(patch)


def early(promises: list[str]) -> Action:
    """A writer that says ``promises``, one for each record, before it commits the record."""

    def action(pool: Path, say: Say) -> None:
        with opened(pool) as ledger:
            for number, promise in enumerate(promises):
                say(promise)
                ledger.append(grant(ledger.id, "alice", 1, number + 1_000))

    return action


CONTROLS: dict[str, tuple[Callable[[pytest.MonkeyPatch], None], set[str], float]] = {
    "sync=False": (unsynced, {REFUSED, CRASHED}, 0.3),
    "metasync=False": (unsynced_meta_pages, {REFUSED}, 0.1),
    "skipped head file": (no_head, {UNGUARDED}, 0.3),
    "sync=False and skipped head file": (unsynced_and_no_head, {LOST, UNGUARDED}, 0.3),
}


@pytest.mark.parametrize("control", CONTROLS)
def test_the_harness_catches(
    pool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, control: str
) -> None:
    spoil, signs, share = CONTROLS[control]
    with monkeypatch.context() as patch:
        spoil(patch)
        cuts = recorded(lambda pool, say: write(pool, say), pool, tmp_path)
    found = verdicts(cuts, pool, tmp_path, unit=512, states=STATES // 40)
    print(f"{control}: {dict(found)}")
    assert sum(found[sign] for sign in signs) >= share * found.total()


def test_the_harness_catches_an_acknowledgement_before_the_commit(pool: Path, tmp_path: Path) -> None:
    promises: list[str] = []
    write(Path(shutil.copytree(pool, tmp_path / "honest")), promises.append)
    cuts = recorded(early(promises[:4]), pool, tmp_path)
    found = verdicts(cuts, pool, tmp_path, unit=512, states=STATES // 40)
    print(f"acknowledging before the commit: {dict(found)}")
    assert found[LOST] >= 0.3 * found.total()


def repeat(pool: Path, say: Say) -> None:
    with opened(pool) as ledger:
        acknowledge(ledger, say, [grant(ledger.id, "alice", 1, 1_000)])


def after_a_kill(pool: Path, folder: Path, call: str, number: int) -> list[Cut]:
    """The moments of repeating a record whose first writer was killed, in the page cache it left."""
    copy = Path(shutil.copytree(pool, folder / f"killed-{call}-{number}"))
    disk = Disk(copy, FILES)
    ended = traced(repeat, copy, *OPTIONS, "-e", f"inject={call}:signal=SIGKILL:when={number}")
    for _ in disk.cuts(ended.trace):
        pass
    if ended.code == 0:
        return []
    again = traced(repeat, copy, *OPTIONS)
    assert again.code == 0, again.said
    return list(disk.cuts(again.trace))


KILLS = [
    *(("pwrite64", number) for number in range(1, 7)),
    *((call, number) for call in ("fdatasync", "fsync") for number in (1, 2, 3)),
    *((call, 1) for call in ("write", "rename", "sendto")),
    # One of these is the first call after the store's commit.
    *(("openat", number) for number in range(9, 14)),
]
"""Which call the first writer never makes."""


def kills(pool: Path, folder: Path) -> list[Cut]:
    return [cut for call, number in KILLS for cut in after_a_kill(pool, folder, call, number)]


def test_what_a_killed_writer_left_is_durable_before_it_is_acknowledged(pool: Path, tmp_path: Path) -> None:
    """The first writer is killed, the second acknowledges the repeat, then the power fails."""
    cuts = kills(pool, tmp_path)
    found = verdicts(cuts, pool, tmp_path, unit=512, states=STATES // 40)
    print(f"power cut after a kill: {len(cuts)} cuts, {dict(found)}")
    assert set(found) == {KEPT}


def test_the_harness_catches_a_head_that_is_trusted_before_it_is_durable(
    pool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(HeadFile, "sync", lambda self: None)
        # The store's as it is opened and as it commits, then that of the head.
        cuts = after_a_kill(pool, tmp_path, "fdatasync", 3)
    found = verdicts(cuts, pool, tmp_path, unit=512, states=STATES // 40)
    print(f"head not synced when opened: {dict(found)}")
    assert found[UNGUARDED] > 0
