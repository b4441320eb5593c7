"""The store on disk: growth, damage, forks, and what it refuses."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import lmdb
import pytest

from creditledger.errors import BusyError, IntegrityError, StorageError
from creditledger.ledger import lmdb_store
from creditledger.ledger.lmdb_store import LmdbStore

MIB = 1024 * 1024


def test_a_full_map_grows_and_nothing_is_lost(tmp_path: Path) -> None:
    store = LmdbStore.create(tmp_path / "store", map_size=MIB)
    for number in range(8):
        with store.write() as view:
            view.put(bytes([number + 1]), bytes([number]) * (MIB // 2))
    with store.read() as view:
        assert [value[0] for _, value in view.scan(b"")] == list(range(8))
    assert store.map_size >= 4 * MIB
    store.close()


def test_one_transaction_larger_than_the_map_is_committed_whole(tmp_path: Path) -> None:
    store = LmdbStore.create(tmp_path / "store", map_size=MIB)
    with store.write() as view:
        for number in range(1, 33):
            view.put(bytes([number]), bytes(MIB // 4))
    store.close()
    again = LmdbStore(tmp_path / "store")
    with again.read() as view:
        assert len(list(view.scan(b""))) == 32
    again.close()


def test_growing_waits_for_readers_and_gives_up_with_the_old_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lmdb_store, "GROW_WAIT_SECONDS", 0.05)
    store = LmdbStore.create(tmp_path / "store", map_size=MIB)
    with store.write() as view:
        view.put(b"a", b"1")
    with store.read(), pytest.raises(BusyError), store.write() as view:
        view.put(b"b", bytes(2 * MIB))
    with store.read() as view:
        assert list(view.scan(b"")) == [(b"a", b"1")]
    with store.write() as view:
        view.put(b"b", bytes(2 * MIB))
    with store.read() as view:
        assert len(view.get(b"b") or b"") == 2 * MIB
    store.close()


def test_growing_waits_for_a_reader_that_ends(tmp_path: Path) -> None:
    store = LmdbStore.create(tmp_path / "store", map_size=MIB)
    reading, release = threading.Event(), threading.Event()

    def read() -> None:
        with store.read() as view:
            reading.set()
            release.wait(5)
            assert view.get(b"b") is None

    reader = threading.Thread(target=read)
    reader.start()
    reading.wait(5)
    threading.Timer(0.1, release.set).start()
    with store.write() as view:
        view.put(b"b", bytes(2 * MIB))
    reader.join()
    with store.read() as view:
        assert view.get(b"b") is not None
    store.close()


def test_writers_of_one_process_take_turns_over_growth(tmp_path: Path) -> None:
    store = LmdbStore.create(tmp_path / "store", map_size=MIB)

    def write(part: int) -> None:
        for number in range(8):
            with store.write() as view:
                view.put(bytes([part, number]), bytes(MIB // 8))

    threads = [threading.Thread(target=write, args=(part,)) for part in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with store.read() as view:
        assert len(list(view.scan(b""))) == 32
    store.close()


def test_a_flipped_byte_is_not_handed_out(tmp_path: Path) -> None:
    """LMDB has no checksums of its own."""
    value = b"the one value that was written" * 10
    store = LmdbStore.create(tmp_path / "store")
    with store.write() as view:
        view.put(b"key", value)
        view.put(b"other", b"whole")
    store.close()
    data = (tmp_path / "store" / "data.mdb").read_bytes()
    at = data.index(value)
    (tmp_path / "store" / "data.mdb").write_bytes(data[:at] + b"T" + data[at + 1 :])
    damaged = LmdbStore(tmp_path / "store")
    with damaged.read() as view:
        assert view.get(b"other") == b"whole"
        with pytest.raises(IntegrityError) as caught:
            view.get(b"key")
        assert b"key".hex() in caught.value.found
        with pytest.raises(IntegrityError):
            list(view.scan(b""))
    damaged.close()


def test_a_value_moved_to_another_key_is_not_handed_out(tmp_path: Path) -> None:
    store = LmdbStore.create(tmp_path / "store")
    with store.write() as view:
        view.put(b"a", b"1")
    store.close()
    with lmdb.open(str(tmp_path / "store")) as environment, environment.begin(write=True) as transaction:
        transaction.put(b"b", transaction.get(b"a"))
    moved = LmdbStore(tmp_path / "store")
    with moved.read() as view, pytest.raises(IntegrityError):
        view.get(b"b")
    moved.close()


def test_a_failed_commit_poisons_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody knows which state the disk has: no write and no read until it is opened anew."""
    store = LmdbStore.create(tmp_path / "store")
    with store.write() as view:
        view.put(b"a", b"1")

    def fail(transaction: object, changes: object) -> bool:
        transaction.abort()  # type: ignore[attr-defined]
        raise store._poison("input/output error")

    monkeypatch.setattr(store, "_is_committed", fail)
    with pytest.raises(StorageError), store.write() as view:
        view.put(b"a", b"2")
    monkeypatch.undo()
    with pytest.raises(StorageError, match="failed before"), store.read():
        pass
    with pytest.raises(StorageError, match="failed before"), store.write():
        pass
    store.close()
    again = LmdbStore(tmp_path / "store")
    with again.read() as view:
        assert view.get(b"a") == b"1"
    again.close()


DISK_FULL = """
import resource, signal, sys
from pathlib import Path
from creditledger.errors import StorageError
from creditledger.ledger.lmdb_store import LmdbStore
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
store = LmdbStore(Path(sys.argv[1]))
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
try:
    with store.write() as view:
        for number in range(1, 65):
            view.put(bytes([number]), bytes(1 << 16))
except StorageError:
    print("refused")
try:
    with store.write() as view:
        view.put(b"b", b"1")
except StorageError:
    print("poisoned")
"""


def test_a_full_disk_leaves_the_old_state(tmp_path: Path) -> None:
    store = LmdbStore.create(tmp_path / "store")
    with store.write() as view:
        view.put(b"a", b"1")
    store.close()
    found = subprocess.run(
        [sys.executable, "-c", DISK_FULL, str(tmp_path / "store")], capture_output=True, text=True, check=True
    )
    assert found.stdout.split() == ["refused", "poisoned"]
    again = LmdbStore(tmp_path / "store")
    with again.read() as view:
        assert list(view.scan(b"")) == [(b"a", b"1")]
    again.close()


def test_a_forked_child_is_refused(tmp_path: Path) -> None:
    """S10."""
    store = LmdbStore.create(tmp_path / "store")
    child = os.fork()
    if child == 0:
        code = 1
        try:
            with store.read():
                pass
        except StorageError:
            code = 42
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 42
    with store.write() as view:
        view.put(b"a", b"1")
    store.close()


def test_a_second_opening_in_one_process_is_refused(tmp_path: Path) -> None:
    store = LmdbStore.create(tmp_path / "store")
    with pytest.raises(BusyError):
        LmdbStore(tmp_path / "store")
    store.close()
    LmdbStore(tmp_path / "store").close()


def test_a_reader_in_another_process_follows_growth(tmp_path: Path) -> None:
    store = LmdbStore.create(tmp_path / "store", map_size=MIB)
    script = (
        "import sys; from pathlib import Path; from creditledger.ledger.lmdb_store import LmdbStore\n"
        "store = LmdbStore(Path(sys.argv[1]), read_only=True, map_size=1 << 20)\n"
        "for line in sys.stdin:\n"
        "    with store.read() as view: print(sum(1 for _ in view.scan(b'')), flush=True)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "store")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as reader:
        assert reader.stdin is not None
        assert reader.stdout is not None
        for expected in (0, 16):
            if expected:
                with store.write() as view:
                    for number in range(expected):
                        view.put(bytes([number]), bytes(MIB // 4))
            reader.stdin.write("\n")
            reader.stdin.flush()
            assert reader.stdout.readline().strip() == str(expected)
        reader.stdin.close()
    store.close()


def test_a_store_for_reading_takes_no_writes(tmp_path: Path) -> None:
    LmdbStore.create(tmp_path / "store").close()
    store = LmdbStore(tmp_path / "store", read_only=True)
    with pytest.raises(StorageError), store.write():
        pass
    store.close()


def test_a_missing_store_is_never_made_by_opening(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "nothing", tmp_path / "empty"):
        with pytest.raises(StorageError):
            LmdbStore(path)
    assert list((tmp_path / "empty").iterdir()) == []


def test_creation_fails_over_what_exists_and_leaves_no_trace(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "file").touch()
    with pytest.raises(StorageError):
        LmdbStore.create(tmp_path / "store")
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


def test_a_creation_that_stops_halfway_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lmdb_store, "sync_directory", lambda path: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        LmdbStore.create(tmp_path / "store")
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    LmdbStore.create(tmp_path / "store").close()


def test_the_file_format_does_not_depend_on_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S13."""
    monkeypatch.setenv("LMDB_DEFAULT_LIB_VERSION", "1")
    LmdbStore.create(tmp_path / "pinned").close()
    monkeypatch.delenv("LMDB_DEFAULT_LIB_VERSION")
    LmdbStore.create(tmp_path / "plain").close()
    heads = [(tmp_path / name / "data.mdb").read_bytes()[16:24] for name in ("pinned", "plain")]
    assert heads[0] == heads[1] == bytes.fromhex("dec0efbe01000000")


@pytest.mark.parametrize("kept", [0, 4_096, 0.5, 0.99])
@pytest.mark.parametrize("read_only", [True, False])
def test_a_store_that_was_cut_short_is_refused_and_left_alone(
    tmp_path: Path, kept: float, read_only: bool
) -> None:
    """Its nearest neighbour, the whole file, opens: reading a missing page would kill the process."""
    store = LmdbStore.create(tmp_path / "store")
    with store.write() as view:
        for number in range(1, 200):
            view.put(number.to_bytes(2, "big"), bytes(1_000))
    store.close()
    data = tmp_path / "store" / "data.mdb"
    whole = data.read_bytes()
    data.write_bytes(whole[: int(kept if kept in (0, 4_096) else len(whole) * kept)])
    cut = data.read_bytes()
    with pytest.raises(IntegrityError, match="cut short"):
        LmdbStore(tmp_path / "store", read_only=read_only)
    assert data.read_bytes() == cut
    data.write_bytes(whole)
    LmdbStore(tmp_path / "store", read_only=read_only).close()


def test_growth_by_another_process_waits_for_the_snapshots_of_this_one(tmp_path: Path) -> None:
    """Taking the new size over while a snapshot is open would take the snapshot away."""
    store = LmdbStore.create(tmp_path / "store", map_size=MIB)
    with store.write() as view:
        view.put(b"a", b"1")
    store.close()
    reader = LmdbStore(tmp_path / "store", read_only=True, map_size=MIB)
    script = (
        "import sys; from pathlib import Path; from creditledger.ledger.lmdb_store import LmdbStore\n"
        "store = LmdbStore(Path(sys.argv[1]), map_size=1 << 20)\n"
        "with store.write() as view: view.put(b'b', bytes(4 << 20))\n"
    )
    sizes: list[int] = []

    def read() -> None:
        with reader.read() as view:
            sizes.append(len(view.get(b"b") or b""))

    with reader.read() as early:
        assert early.get(b"b") is None
        subprocess.run([sys.executable, "-c", script, str(tmp_path / "store")], check=True)
        late = threading.Thread(target=read)
        late.start()
        late.join(0.2)
        assert (early.get(b"a"), early.get(b"b"), sizes) == (b"1", None, [])
    late.join()
    assert sizes == [4 * MIB]
    reader.close()


def test_growth_by_another_process_is_told_from_a_reader_that_never_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lmdb_store, "GROW_WAIT_SECONDS", 0.05)
    LmdbStore.create(tmp_path / "store", map_size=MIB).close()
    reader = LmdbStore(tmp_path / "store", read_only=True, map_size=MIB)
    script = (
        "import sys; from pathlib import Path; from creditledger.ledger.lmdb_store import LmdbStore\n"
        "store = LmdbStore(Path(sys.argv[1]), map_size=1 << 20)\n"
        "with store.write() as view: view.put(b'b', bytes(4 << 20))\n"
    )
    with reader.read():
        subprocess.run([sys.executable, "-c", script, str(tmp_path / "store")], check=True)
        with pytest.raises(BusyError), reader.read():
            pass
    with reader.read() as view:
        assert view.get(b"b") == bytes(4 << 20)
    reader.close()


def test_more_readers_than_there_are_places_are_told_to_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S9: the places are taken by threads that read at once; one that ends makes room."""
    monkeypatch.setattr(lmdb_store, "READERS_MAX", 8)
    store = LmdbStore.create(tmp_path / "store")
    with store.write() as view:
        view.put(b"a", b"1")
    hold, taken, refused = threading.Event(), threading.Semaphore(0), []

    def read() -> None:
        try:
            with store.read() as view:
                assert view.get(b"a") == b"1"
                taken.release()
                hold.wait(30)
        except BusyError as error:
            refused.append(error)
            taken.release()

    threads = [threading.Thread(target=read) for _ in range(80)]
    for thread in threads:
        thread.start()
    for _ in threads:
        taken.acquire()
    assert len(refused) == 80 - 8
    with store.write() as view:
        view.put(b"b", b"2")
    hold.set()
    for thread in threads:
        thread.join()
    with store.read() as view:
        assert view.get(b"b") == b"2"
    store.close()


META = 16
"""Where a meta page's content begins: magic, version, address, map size, two trees, last page."""


@pytest.mark.parametrize(
    ("at", "content"),
    [
        (META, b"\0\0\0\0"),
        (META + 4, b"\x02\0\0\0"),
        (META + 24 + 48 + 40, (1 << 40).to_bytes(8, "little")),
        (META + 24 + 96, (1 << 20).to_bytes(8, "little")),
    ],
    ids=["magic", "version", "root page", "last page"],
)
@pytest.mark.parametrize("read_only", [True, False])
def test_a_crafted_file_is_refused(tmp_path: Path, at: int, content: bytes, read_only: bool) -> None:
    """S12; its nearest neighbour, the file as it was, opens."""
    store = LmdbStore.create(tmp_path / "store")
    with store.write() as view:
        view.put(b"a", b"1")
    store.close()
    data = tmp_path / "store" / "data.mdb"
    whole = bytearray(data.read_bytes())
    crafted = bytearray(whole)
    for page in (0, 4_096):
        crafted[page + at : page + at + len(content)] = content
    data.write_bytes(crafted)
    with pytest.raises(IntegrityError):
        read_a(tmp_path / "store", read_only=read_only)
    data.write_bytes(whole)
    assert read_a(tmp_path / "store", read_only=read_only) == b"1"


def read_a(path: Path, *, read_only: bool) -> bytes | None:
    store = LmdbStore(path, read_only=read_only)
    try:
        with store.read() as view:
            return view.get(b"a")
    finally:
        store.close()


@pytest.mark.parametrize("filling", [b"\0", b"\xff", b"not a store "])
def test_a_file_of_something_else_is_refused(tmp_path: Path, filling: bytes) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "data.mdb").write_bytes((filling * 20_000)[:20_000])
    for read_only in (True, False):
        with pytest.raises(IntegrityError):
            LmdbStore(tmp_path / "store", read_only=read_only)
