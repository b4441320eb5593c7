"""Writers and readers in processes of their own, killed and stopped at random; a map growing under them."""

import os
import random
import signal
import time
from pathlib import Path

import pytest

from crash_pools import founded
from creditledger.errors import BusyError
from creditledger.ledger.fsck import check
from creditledger.ledger.ledger import Ledger
from creditledger.ledger.lmdb_store import LmdbStore
from ledger_pools import FixedClock
from parties import Party, party

SECONDS = float(os.environ.get("CREDITLEDGER_MANY_SECONDS", "8"))
"""How long processes are killed at random; the long tier sets 1,800."""
GROWN_MIB = int(os.environ.get("CREDITLEDGER_GROWN_MIB", "64"))
"""How large the map grows from 1 MiB; the long tier sets 1,024."""
KILL_EACH_SECONDS = 0.5


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[int(share * (len(values) - 1))]


def test_many_processes_killed_at_random_lose_nothing(tmp_path: Path) -> None:
    """S2, S8, S11: what each reader sees never shrinks, what each writer was told is there, nobody waits long
    for the lock, and the places of dead readers are used again."""
    pool = founded(tmp_path / "pool")
    chance, gone, number = random.Random(3), list[Party](), 0
    alive: list[Party] = []
    began = time.monotonic()
    while (passed := time.monotonic() - began) < SECONDS:
        for kind, most in (("write", 4), ("read", 4)):
            while sum(one.kind == kind for one in alive) < most:
                alive.append(party(kind, number, pool, tmp_path / f"told-{number}"))
                number += 1
        time.sleep(KILL_EACH_SECONDS if passed > 2 else 2)
        for one in alive:
            assert one.process.poll() is None, one.lines()[-1:]
        victim = alive.pop(chance.randrange(len(alive)))
        victim.process.kill()
        victim.process.wait()
        gone.append(victim)
    for one in alive:
        one.process.kill()
        one.process.wait()
    gone += alive
    told = {one.number: one.lines() for one in gone}
    waits = [float(str(line["waited"])) for lines in told.values() for line in lines if "waited" in line]
    acks = {
        int(str(line["index"])): line["leaf"] for lines in told.values() for line in lines if "index" in line
    }
    views = 0
    for lines in told.values():
        sizes = [int(str(line["size"])) for line in lines if "size" in line]
        assert sizes == sorted(sizes)
        views += len(sizes)
    require_kept(pool, acks)
    pages = (pool / "store" / "data.mdb").stat().st_size
    print(f"{len(gone)} processes, {len(gone) - 8} killed at work, {len(acks)} acknowledged, {views} views,")
    print(f"lock wait p99 {percentile(waits, 0.99):.3f} s, most {max(waits):.3f} s, store {pages} bytes")
    assert len(acks) > SECONDS
    assert percentile(waits, 0.99) < 1


def require_kept(pool: Path, acks: dict[int, object]) -> None:
    assert check(pool) > max(acks)
    with Ledger.open(pool, clock=FixedClock()) as ledger, ledger.snapshot() as snapshot:
        for index, leaf in acks.items():
            assert snapshot.log.node(0, index).hex() == leaf


@pytest.mark.parametrize("is_reopened", [True, False])
def test_dead_readers_do_not_make_the_store_grow(tmp_path: Path, is_reopened: bool) -> None:
    """S8: a reader killed within a snapshot keeps old pages from reuse until a writer clears its place, when
    it opens the store or after some commits. Another reader lives on, or LMDB would begin afresh."""
    path = founded(tmp_path / "pool") / "store"
    witness = party("read", 99, path.parent, tmp_path / "told")
    lives, turns, sizes, store = 8, 40, [], LmdbStore(path)
    while not witness.lines():
        time.sleep(0.005)
        assert witness.process.poll() is None
    # The one that lives on holds some pages back while it looks: so much is its doing alone.
    commit(store, lives * turns)
    calm = (path / "data.mdb").stat().st_size
    for life in range(lives):
        reader = party("stay", life, path.parent, tmp_path / f"told-{life}")
        while not reader.lines():
            time.sleep(0.005)
            assert reader.process.poll() is witness.process.poll() is None
        reader.process.kill()
        reader.process.wait()
        if is_reopened:
            store.close()
            store = LmdbStore(path)
        commit(store, turns)
        sizes.append((path / "data.mdb").stat().st_size)
    store.close()
    assert witness.process.poll() is None
    witness.process.kill()
    witness.process.wait()
    print(f"store beside a living reader: {calm}, after each dead one: {sizes}")
    assert sizes[-1] <= 2 * max(calm, sizes[0])


def commit(store: LmdbStore, times: int) -> None:
    """So many commits, each of pages anew."""
    for turn in range(times):
        with store.write() as view:
            view.put(b"test", bytes([turn % 256]) * 100_000)


def test_a_stopped_writer_keeps_others_out_but_not_waiting(tmp_path: Path) -> None:
    """S11: whoever comes is told at once that another has it; readers read on; it goes on when woken."""
    pool = founded(tmp_path / "pool")
    writer = party("keep", 0, pool, tmp_path / "told")
    while len(writer.lines()) < 3:
        time.sleep(0.01)
        assert writer.process.poll() is None
    writer.process.send_signal(signal.SIGSTOP)
    try:
        began = time.monotonic()
        with pytest.raises(BusyError):
            Ledger.open(pool, clock=FixedClock())
        with Ledger.open(pool, read_only=True) as ledger:
            seen = ledger.size
        assert time.monotonic() - began < 2
        before = len(writer.lines())
        writer.process.send_signal(signal.SIGCONT)
        while len(writer.lines()) <= before:
            time.sleep(0.01)
            assert writer.process.poll() is None
    finally:
        writer.process.kill()
        writer.process.wait()
    with Ledger.open(pool, clock=FixedClock()) as ledger:
        assert ledger.size >= seen
    assert check(pool) >= seen


def test_a_map_grows_under_three_writers_and_four_readers(tmp_path: Path) -> None:
    """S7: no append fails, no reader sees less than before or anything damaged."""
    path = tmp_path / "store"
    LmdbStore.create(path, map_size=1 << 20).close()
    total = GROWN_MIB << 20
    writers = [party("fill", number, path, tmp_path / f"fill-{number}", total) for number in range(3)]
    readers = [party("follow", number, path, tmp_path / f"follow-{number}", total) for number in range(4)]
    for one in (*writers, *readers):
        assert one.process.wait(timeout=600) == 0, one.lines()[-1:]
    counts = [int(str(line["wrote"])) for one in writers for line in one.lines()]
    views = sum(len(one.lines()) for one in readers)
    store = LmdbStore(path, map_size=1 << 20)
    with store.read() as view:
        rows = sum(1 for _ in view.scan(b""))
    print(f"{rows} rows by writers {counts}, {views} views, map {store.map_size} bytes")
    store.close()
    assert rows == sum(counts) + 1
    assert min(counts) > 0
    assert (path / "data.mdb").stat().st_size >= total
