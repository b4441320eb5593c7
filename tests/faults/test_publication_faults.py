"""A publication that fails once, or twice in a row, or is killed: the served log is whole at every moment."""

import errno
import os
import shutil
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest

from crash_pools import Say, calls, opened, strace_or_skip, traced
from creditledger.errors import CreditLedgerError, StorageError
from creditledger.ledger import directory
from creditledger.ledger.audit import audit
from creditledger.ledger.fsck import check
from creditledger.ledger.ledger import Ledger
from creditledger.transparency.checkpoint import parse_checkpoint_note
from creditledger.transparency.tile import tiles_for_size
from ledger_pools import START_MS, fill, found, grant

EACH = int(os.environ.get("CREDITLEDGER_FAULTS_EACH", "5"))
"""Of the calls that write and sync every so many-th fails; 1, the long tier, leaves none out."""
OLD, NEW = 200, 258
WRITES = ("write", "rename", "mkdir")
"""Calls without which no checkpoint can replace another."""
DELETIONS = ("unlink", "unlinkat", "rmdir")
KILLED = -9
ENDS = {0, 5, KILLED}


def publish(pool: Path, say: Say) -> None:
    with opened(pool) as ledger:
        ledger.publish()
        say("published")


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Published at 200 entries; publishing the rest fills a tile, whose partial ones go."""
    path = tmp_path_factory.mktemp("publication") / "pool"
    with found(path) as ledger:
        for size in (100, OLD):
            fill(ledger, size)
            ledger.publish()
        fill(ledger, NEW)
    return path


def served(pool: Path) -> int:
    """The size of the served checkpoint, after a replay of all that it speaks of."""
    report = audit(pool, now_unix_ms=START_MS)
    assert report.ok, report.problem
    assert check(pool) == NEW
    return report.checkpoint_size


@pytest.mark.strace
def test_every_call_of_a_publication_may_fail_or_be_the_last(pool: Path, tmp_path: Path) -> None:
    """L13: a full disk leaves the old checkpoint served, and a kill leaves the old or the new one."""
    strace_or_skip()
    counted = traced(publish, Path(shutil.copytree(pool, tmp_path / "counted")))
    assert counted.said == ("published",)
    number_of = Counter(calls(counted.trace))
    assert number_of["rmdir"] > 0
    ends: Counter[tuple[str, int]] = Counter()
    for call in (*WRITES, "fsync", *DELETIONS):
        for number in range(1, number_of[call] + 1, 1 if call in DELETIONS else EACH):
            for fault in ("error=ENOSPC", "signal=SIGKILL"):
                case = Path(shutil.copytree(pool, tmp_path / f"{call}-{number}-{fault[:5]}"))
                ended = traced(publish, case, "-e", f"inject={call}:{fault}:when={number}")
                size = served(case)
                where = f"{call} {number} {fault}: {ended.code} {ended.said} {size}"
                assert ended.code in ENDS, where
                assert (ended.code == 0) == (ended.said == ("published",)), where
                assert size in ((OLD,) if call in WRITES and ended.code == 5 else (OLD, NEW)), where
                assert size == NEW or ended.code != 0, where
                publish(case, lambda line: None)
                assert served(case) == NEW, where
                assert partials(case) == wanted(), where
                ends[call, ended.code] += 1
                shutil.rmtree(case)
    print(f"{sum(ends.values())} faults in a publication, ended {dict(ends)}")
    assert min(ends["write", 5], ends["fsync", KILLED], ends["rmdir", KILLED]) > 0


def partials(pool: Path) -> set[str]:
    """The partial files; a stopped writer's half-written ones may lie beside them."""
    public = pool / "public"
    found = (path for path in public.rglob("*.p/*") if not path.name.startswith(directory.BUILDING))
    return {path.relative_to(public).as_posix() for path in found}


def wanted() -> set[str]:
    return {tile.path for tile in tiles_for_size(NEW) if tile.width < 256}


class FailingOs:
    """The module `os` whose calls that write to a disk are counted, and of which one fails."""

    COUNTED = ("open", "fsync", "rename", "replace")

    def __init__(self, fails_at: int = -1) -> None:
        self._real: ModuleType = os
        self._fails_at = fails_at
        self.made = 0

    def __getattr__(self, name: str) -> object:
        real = getattr(self._real, name)
        if name not in self.COUNTED:
            return real

        def call(*arguments: object) -> object:
            self.made += 1
            if self.made - 1 == self._fails_at:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return real(*arguments)

        return call


def test_two_failures_in_a_row_are_no_worse_than_one(
    pool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log that was lost to two transient failures went on after the second: ours begins anew from the
    files each time, and its checkpoint never speaks of what is not there."""
    case = Path(shutil.copytree(pool, tmp_path / "pool"))
    failed = 0
    with opened(case) as ledger:
        ledger.publish()
        for first in range(_calls_of_a_publication(ledger, monkeypatch)):
            for second in (first, 0):
                _grow(ledger)
                before = ledger.checkpoint()
                for fails_at in (first, second):
                    with monkeypatch.context() as patch:
                        patch.setattr(directory, "os", FailingOs(fails_at))
                        failed += _fails(ledger)
                    _require_old_or_new(ledger, before)
                ledger.publish()
                assert parse_checkpoint_note(ledger.checkpoint()).size == ledger.size
        size = ledger.size
    assert failed > 60
    assert check(case) == size
    report = audit(case, now_unix_ms=START_MS)
    assert (report.ok, report.entries) == (True, size)


def _calls_of_a_publication(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> int:
    _grow(ledger)
    with monkeypatch.context() as patch:
        patch.setattr(directory, "os", counting := FailingOs())
        ledger.publish()
    return counting.made


def _grow(ledger: Ledger) -> None:
    ledger.append(grant(ledger.id, "filler", 1, 10_000 + ledger.size))


def _fails(ledger: Ledger) -> bool:
    try:
        ledger.publish()
    except StorageError:
        return True
    except CreditLedgerError as error:
        raise AssertionError(f"{type(error).__name__}: {error}") from error
    return False


def _require_old_or_new(ledger: Ledger, before: bytes) -> None:
    checkpoint = parse_checkpoint_note(ledger.checkpoint())
    assert ledger.checkpoint() == before or checkpoint.size == ledger.size
    held = ledger.directory.public
    assert all((held / tile.path).exists() for tile in tiles_for_size(checkpoint.size))
