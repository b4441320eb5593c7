"""Every write, sync, rename and opening of one operation fails once, or is the last thing that happens."""

import os
import random
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from cli_pools import environment
from crash_pools import (
    Action,
    Ended,
    Say,
    acknowledge,
    acknowledged,
    calls,
    founded,
    opened,
    release_of_alice,
    strace_or_skip,
    traced,
)
from creditledger.errors import CreditLedgerError
from creditledger.ledger.fsck import check
from creditledger.ledger.ledger import Ledger
from creditledger.transparency.merkle import leaf_hash
from ledger_pools import grant

pytestmark = pytest.mark.strace

ALL_CALLS = (
    *("write", "pwrite64", "writev", "pwritev", "fdatasync", "fsync", "rename", "mkdir", "ftruncate"),
    *("openat", "read", "pread64", "newfstatat", "getdents64", "flock", "mmap"),
)
DURABLE = {"write", "pwrite64", "writev", "pwritev", "fdatasync", "fsync", "rename"}
FAULTS = ("error=EIO", "error=ENOSPC", "error=EINTR", "signal=SIGKILL")
KILLED = -9
DOCUMENTED = {0, 3, 4, 5}
"""Success, busy, integrity and storage (specs/errors.md §1); nothing here is refused or malformed."""
EACH = int(os.environ.get("CREDITLEDGER_FAULTS_EACH", "0"))
"""Of the longer operations every so many-th instance fails; 1, the long tier, leaves none out."""


def append(pool: Path, say: Say) -> None:
    with opened(pool) as ledger:
        _fail_stop(ledger, say, [grant(ledger.id, "alice", 1, 77)])


def release(pool: Path, say: Say) -> None:
    with opened(pool) as ledger:
        _fail_stop(ledger, say, [release_of_alice(ledger.id)])


def publish(pool: Path, say: Say) -> None:
    with opened(pool) as ledger:
        ledger.publish()
        say(f"published {ledger.size}")


def close_round(pool: Path, say: Say) -> None:
    with opened(pool) as ledger:
        standing = ledger.complete_round()
        say(f"certified {standing}")


def _fail_stop(ledger: Ledger, say: Say, submissions: Sequence[object]) -> None:
    """Append; if that fails, try another record: whatever took it lied."""
    try:
        acknowledge(ledger, say, submissions)  # type: ignore[arg-type]
    except CreditLedgerError:
        for number in (78, 79):
            try:
                ledger.append(grant(ledger.id, "alice", 1, number))
                say("accepted after a failure")
            except CreditLedgerError as error:
                say(f"stopped {type(error).__name__}")
        raise


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    strace_or_skip()
    return founded(tmp_path_factory.mktemp("faults") / "pool")


def counted(action: Action, pool: Path) -> Counter[str]:
    """How often the operation makes each call when nothing fails."""
    ended = traced(action, pool, "-e", f"trace={','.join(ALL_CALLS)}")
    assert ended.code == 0, ended
    return Counter(calls(ended.trace))


@pytest.mark.parametrize(
    ("action", "each"),
    [(append, 1), (release, 9), (publish, 9), (close_round, 41)],
    ids=("append", "release", "publish", "round"),
)
def test_every_call_of_an_operation_may_fail_or_be_the_last(
    pool: Path, memory_path: Path, action: Action, each: int
) -> None:
    warm = Path(shutil.copytree(pool, memory_path / "warm"))
    action(warm, lambda line: None)
    number_of = counted(action, Path(shutil.copytree(pool, memory_path / "counted")))
    writes = {"rename", "write"} if action is publish else {"fdatasync", "pwrite64"}
    assert {"fsync", "openat"} | writes <= set(number_of)
    cases = [
        (fault, call, number)
        for call in sorted(number_of)
        for number in range(1, number_of[call] + 1)
        for fault in FAULTS
    ]
    codes: Counter[int] = Counter()
    wrongs: list[str] = []
    for position, (fault, call, number) in enumerate(cases):
        if position // len(FAULTS) % (EACH or each):
            continue
        case = Path(shutil.copytree(pool, memory_path / f"case-{position}"))
        inject = f"inject={call}:{fault}:when={number}"
        ended = traced(action, case, "-e", f"trace={call}", "-e", inject)
        wrong = _wrong(case, action, ended)
        # Calls are numbered in each thread by itself: not every number is reached.
        is_reached = "(INJECTED)" in ended.trace
        if ended.code == 0 and is_reached and call in DURABLE and fault != "error=EINTR":
            wrong = "a failed write passed for a success"
        if wrong:
            wrongs.append(f"{inject}: {wrong}")
        codes[ended.code] += 1
        shutil.rmtree(case)
    assert not wrongs, "\n".join(wrongs)
    assert codes[KILLED] > 0
    assert codes[5] > 0
    print(f"{action.__name__}: {sum(codes.values())} faults, ended {dict(codes)}, 0 lost")


PAIRS = 60
"""How many pairs of faults are tried, unless all are asked for: then twenty times as many."""


def append_with_patience(pool: Path, say: Say) -> None:
    """Where appending fails, open the ledger anew and ask once more, as a client may."""
    try:
        append(pool, say)
    except CreditLedgerError:
        append(pool, say)


def test_a_second_fault_upon_the_first_loses_nothing(pool: Path, memory_path: Path) -> None:
    """Two failures in a row, or a disk that fails from some call on: a log died of the second, swallowed."""
    number_of = counted(append_with_patience, Path(shutil.copytree(pool, memory_path / "counted")))
    chance = random.Random(17)
    instances = [(call, number + 1) for call, count in number_of.items() for number in range(2 * count)]
    durable = [instance for instance in instances if instance[0] in DURABLE]
    codes: Counter[int] = Counter()
    wrongs: list[str] = []
    for _ in range(20 * PAIRS if EACH == 1 else PAIRS):
        (first, one), (second, other) = chance.choice(durable), chance.choice(instances)
        lasting = "+" if chance.random() < 0.3 else ""
        faults = [f"inject={first}:{chance.choice(FAULTS[:2])}:when={one}{lasting}"]
        if second != first:
            faults.append(f"inject={second}:{chance.choice(FAULTS)}:when={other}")
        case = Path(shutil.copytree(pool, memory_path / "case"))
        options = [option for fault in faults for option in ("-e", fault)]
        ended = traced(append_with_patience, case, "-e", f"trace={first},{second}", *options)
        if wrong := _wrong(case, append_with_patience, ended):
            wrongs.append(f"{faults}: {wrong}")
        codes[ended.code] += 1
        shutil.rmtree(case)
    print(f"pairs: {sum(codes.values())} tried, ended {dict(codes)}, 0 lost")
    assert not wrongs, "\n".join(wrongs)
    assert codes[5] > 0


def _wrong(case: Path, action: Action, ended: Ended) -> str:
    """What is not as promised after ``action`` ended so; empty if nothing."""
    if ended.code not in DOCUMENTED | {KILLED} or "accepted after a failure" in ended.said:
        return f"ended {ended.code}, said {ended.said}"
    try:
        size = check(case)
        kept = acknowledged(ended.said)
        with opened(case) as ledger, ledger.snapshot() as snapshot:
            found = {index: leaf_hash(snapshot.log.entry_bytes(index)).hex() for index in kept}
        again: list[str] = []
        action(case, again.append)
        grown = check(case)
    except CreditLedgerError as error:
        return f"ended {ended.code}, then {type(error).__name__}: {error} ({error.found})"
    if found != kept or not acknowledged(again).items() >= kept.items() or grown < size:
        return f"acknowledged {kept}, found {found}, repeated {again}"
    return ""


@pytest.mark.parametrize("name", ["head", "public/checkpoint", "witness"])
def test_a_disk_that_does_not_give_a_file_is_told_from_a_file_that_is_wrong(
    pool: Path, tmp_path: Path, name: str
) -> None:
    """The storage check ends with 5 where reading fails, and with 4 where what was read is not right."""
    case = Path(shutil.copytree(pool, tmp_path / "pool"))
    with opened(case) as ledger:
        ledger.publish()
    failing = ["strace", "-f", "-o", os.devnull, "-P", str(case / name)]
    failing += ["-e", "trace=read", "-e", "inject=read:error=EIO"]
    verb = [sys.executable, "-m", "creditledger", "fsck", str(case)]
    found = [
        subprocess.run(command, env=environment(), capture_output=True, check=False).returncode
        for command in ([*failing, *verb], verb)
    ]
    (case / name).write_bytes(b"something else\n")
    found.append(subprocess.run(verb, env=environment(), capture_output=True, check=False).returncode)
    assert found == [5, 0, 4]
