"""One flipped bit of the store or the head: it is found, or nothing that is read differs."""

import os
import random
import shutil
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from crash_pools import said_in_a_child
from creditledger.errors import CreditLedgerError, IntegrityError
from creditledger.ledger.fsck import check, fsck
from creditledger.ledger.ledger import Ledger
from creditledger.ledger.lmdb_store import LmdbStore
from ledger_pools import found, grant, registration

FLIPS = int(os.environ.get("CREDITLEDGER_FLIPS", "2000"))
"""How many bits are flipped, one at a time; the long tier sets 10,000."""
PATIENCE_SECONDS = 20
FOUND, HARMLESS, SERVED, ENDED = "found", "harmless", "served", "ended"
Rows = dict[bytes, bytes]


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some 120 entries and a certified round, in a tree of pages with branches, and a free list."""
    path = tmp_path_factory.mktemp("flips") / "pool"
    with found(path) as ledger:
        ledger.append(registration(ledger.id, "alice"))
        ledger.complete_round()
        ledger.submit([grant(ledger.id, "alice", 1, number) for number in range(100)])
        ledger.complete_round()
    return path


def rows_of(pool: Path) -> Rows:
    """All rows in their order; each as it is found by its key too."""
    store = LmdbStore(pool / "store", read_only=True)
    try:
        with store.read() as view:
            return {key: value for key, value in view.scan(b"") if view.get(key) == value}
    finally:
        store.close()


def flip(file: Path, bit: int) -> None:
    with file.open("r+b") as opened:
        opened.seek(bit // 8)
        byte = opened.read(1)[0]
        opened.seek(bit // 8)
        opened.write(bytes([byte ^ 1 << bit % 8]))


def verdict(pool: Path, rows: Rows, head: int) -> str:
    """``rows``: what the undamaged store holds. Harmless means that every row reads the same by both ways."""
    try:
        with Ledger.open(pool, read_only=True) as ledger:
            size = ledger.size
        if rows_of(pool) == rows and size == head:
            return HARMLESS
        check(pool)
    except CreditLedgerError:
        return FOUND
    return SERVED


def live_verdict(pool: Path, rows: Rows, head: int) -> str:
    """What a reader is given who checks nothing: all rows by their keys and in order, or an error."""
    try:
        store = LmdbStore(pool / "store", read_only=True)
        try:
            with store.read() as view:
                if (
                    all(view.get(key) == value for key, value in rows.items())
                    and dict(view.scan(b"")) == rows
                ):
                    return HARMLESS
                return SERVED
        finally:
            store.close()
    except IntegrityError:
        return FOUND


def verdicts(
    pool: Path, bits: list[tuple[Path, int]], judge: Callable[[Path, Rows, int], str] = verdict
) -> Iterator[tuple[str, Path, int]]:
    """What comes of each flip, one at a time, in children: LMDB may end whoever reads damaged pages."""
    with Ledger.open(pool, read_only=True) as ledger:
        size = ledger.size
    rows = rows_of(pool)
    while bits:
        said = said_in_a_child(partial(_judged, pool, rows, size, bits, judge))
        yield from ((word, *bit) for word, bit in zip(said, bits, strict=False))
        if len(said) < len(bits):
            file, bit = bits[len(said)]
            yield ENDED, file, bit
            flip(file, bit)
        bits = bits[len(said) + 1 :]


def _judged(
    pool: Path, rows: Rows, size: int, bits: list[tuple[Path, int]], judge: Callable[[Path, Rows, int], str]
) -> Iterator[str]:
    for file, bit in bits:
        signal.alarm(PATIENCE_SECONDS)
        flip(file, bit)
        word = judge(pool, rows, size)
        flip(file, bit)
        yield word


def test_a_flipped_bit_is_found_or_harmless(pool: Path, tmp_path: Path) -> None:
    chance = random.Random(11)
    copy = Path(shutil.copytree(pool, tmp_path / "pool"))
    files = [copy / "store" / "data.mdb"] * 9 + [copy / "head"]
    bits = []
    for _ in range(FLIPS):
        file = chance.choice(files)
        bits.append((file, chance.randrange(8 * file.stat().st_size)))
    counted: Counter[str] = Counter()
    ended: list[tuple[Path, int]] = []
    served: list[str] = []
    for word, file, bit in verdicts(copy, bits):
        counted[word] += 1
        if word == ENDED:
            ended.append((file, bit))
        elif word == SERVED:
            served.append(f"{file.name} bit {bit}")
    print(f"{FLIPS} flips: {dict(counted)}")
    assert not served
    assert counted.total() == FLIPS
    assert counted[FOUND] > FLIPS // 10
    assert check(copy) > 0, "a flip was not undone"
    for file, bit in ended[:10]:
        # Damage that ends the process is a fault found: the check reads in one of its own.
        flip(file, bit)
        assert not fsck(copy).ok, (file.name, bit)
        flip(file, bit)


def test_a_damaged_branch_of_the_tree_is_found(pool: Path, tmp_path: Path) -> None:
    """A row that the order of keys gives, and its own key does not, would be taken for absent."""
    copy = Path(shutil.copytree(pool, tmp_path / "pool"))
    data = copy / "store" / "data.mdb"
    branches = branch_pages(data)
    assert branches
    bits = [(data, (page * 4096 + byte) * 8) for page in branches for byte in range(0, 4096, 3)]
    bits = random.Random(5).sample(bits, min(len(bits), FLIPS // 5))
    counted = Counter(word for word, _, _ in verdicts(copy, bits))
    print(f"branch pages {branches}: {dict(counted)}")
    assert counted[SERVED] == 0
    assert counted[FOUND] > 0


def branch_pages(data: Path) -> list[int]:
    content = data.read_bytes()
    return [page for page in range(2, len(content) // 4096) if content[page * 4096 + 10] == 1]


def test_a_reader_of_a_damaged_branch_gets_the_truth_or_an_integrity_error(
    pool: Path, tmp_path: Path
) -> None:
    """S12: not what is at another place, nor that a row is absent. Only where a page's number is flipped into
    that of another sound page, nothing short of the storage check can tell, and that does."""
    copy = Path(shutil.copytree(pool, tmp_path / "pool"))
    data = copy / "store" / "data.mdb"
    bits = [(data, page * 4096 * 8 + bit) for page in branch_pages(data) for bit in range(4096 * 8)]
    bits = random.Random(6).sample(bits, min(len(bits), FLIPS // 2))
    found = list(verdicts(copy, bits, live_verdict))
    counted = Counter(word for word, _, _ in found)
    print(f"read live: {dict(counted)}")
    assert counted[FOUND] > 10 * (counted[SERVED] + counted[ENDED])
    for word, file, bit in found:
        if word in (SERVED, ENDED):
            flip(file, bit)
            assert not fsck(copy).ok, bit
            flip(file, bit)
