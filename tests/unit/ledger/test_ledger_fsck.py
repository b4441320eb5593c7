"""The storage check: it names the first thing that is not as it was written."""

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from creditledger.credits.state import StateView
from creditledger.errors import IntegrityError, RollbackError, StorageError
from creditledger.ledger.fsck import check, fsck
from creditledger.ledger.ledger import Ledger
from creditledger.ledger.lmdb_store import LmdbStore
from creditledger.ledger.node_rows import row_key, row_place
from creditledger.ledger.stored_log import BODIES, entry_key
from ledger_pools import FixedClock, Work, found, grant, registration, working


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger with a batch, a certified round and some 260 entries, closed and published."""
    path = tmp_path_factory.mktemp("whole") / "pool"
    with found(path) as ledger:
        work = working(ledger)
        ledger.append(work.batch(2))
        ledger.complete_round()
        ledger.submit([grant(ledger.id, "client", 1, number) for number in range(250)])
        ledger.publish()
        ledger.append(registration(ledger.id, "unpublished"))
    return path


@pytest.fixture
def copy(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "pool"))


def change(path: Path, edit: Callable[[StateView], None]) -> None:
    store = LmdbStore(path / "store")
    with store.write() as view:
        edit(view)
    store.close()


def flip(key: bytes, at: int = -1) -> Callable[[StateView], None]:
    def edit(view: StateView) -> None:
        value = bytearray(view.get(key) or b"")
        value[at] ^= 1
        view.put(key, bytes(value))

    return edit


def test_a_whole_ledger_is_whole_and_stays_so(whole: Path) -> None:
    before = {
        file: file.read_bytes() for file in whole.rglob("*") if file.is_file() and file.name != "lock.mdb"
    }
    report = fsck(whole)
    assert (report.ok, report.problem) == (True, "")
    assert report.entries > 256
    assert before == {file: file.read_bytes() for file in before}


def first(prefix: bytes) -> Callable[[StateView], bytes]:
    return lambda view: next(key for key, _ in view.scan(prefix))


@pytest.mark.parametrize(
    ("edit", "named"),
    [
        (flip(entry_key(7)), "entry 7"),
        (lambda view: view.delete(entry_key(7)), "entries and rows"),
        (lambda view: view.put(entry_key(7), view.get(entry_key(8)) or b""), "entry 7"),
        (flip(row_key(0, 7), 32 * row_place(0, 7)), "entry 7"),
        (flip(row_key(1, 3), 32 * row_place(1, 3)), "tree node 1/3"),
        (flip(row_key(8, 0), 0), "tree node 8/0"),
        (lambda view: view.delete(row_key(2, 3)), "entries and rows"),
        (lambda view: view.put(row_key(2, 3), bytes(32)), "another length"),
        (flip(b"l"), "root"),
        (lambda view: view.put(b"x", b""), "no known kind"),
        (lambda view: view.put(BODIES + bytes(32), b"\x90"), "no entry names"),
        (lambda view: view.put(first(BODIES)(view), b"\x90"), "does not fold"),
        (lambda view: view.delete(first(BODIES)(view)), "does not fold"),
        (lambda view: view.put(first(b"sm/account")(view), b"rich"), "account"),
        (lambda view: view.put(b"sm/zzz", b"1"), "zzz"),
        (lambda view: view.delete(first(b"sm/consumed")(view)), "consumed"),
    ],
)
def test_a_changed_row_is_found_and_named(copy: Path, edit: Callable[[StateView], None], named: str) -> None:
    """These rows carry fresh checksums: only log and fold tell that they are wrong."""
    change(copy, edit)
    with pytest.raises(IntegrityError) as caught:
        check(copy)
    assert named in f"{caught.value} {caught.value.found}"


def test_a_flipped_bit_in_the_file_is_found_and_named(copy: Path) -> None:
    with Ledger.open(copy, clock=FixedClock()) as ledger:
        entry = ledger.entry_bytes(20)
    data = bytearray((copy / "store" / "data.mdb").read_bytes())
    # Free pages still hold what they held: flipped in all, it is flipped in the one that counts.
    at = data.find(entry)
    while at >= 0:
        data[at + 30] ^= 4
        at = data.find(entry)
    (copy / "store" / "data.mdb").write_bytes(data)
    report = fsck(copy)
    assert not report.ok
    assert report.error is not None
    assert report.error.exit_code == 4
    assert entry_key(20).hex() in report.error.found


def test_random_damage_is_found_or_harmless(copy: Path) -> None:
    """Never an answer of `ok` over another log: a flip may hit a free page, where nothing is."""
    clean = (copy / "store" / "data.mdb").read_bytes()
    expected = fsck(copy).entries
    found_damage = 0
    for number in range(4):
        data = bytearray(clean)
        at = int.from_bytes(hashlib.sha256(b"flip%d" % number).digest()[:8], "big") % len(data)
        data[at] ^= 1 << number % 8
        (copy / "store" / "data.mdb").write_bytes(data)
        try:
            report = fsck(copy)
        except StorageError:
            found_damage += 1
            continue
        found_damage += not report.ok
        assert report.entries == (expected if report.ok else 0)
    assert found_damage > 0


def _public(path: Path) -> Path:
    return path / "public"


@pytest.mark.parametrize("harm", ["flipped", "removed", "foreign"])
def test_a_public_file_that_is_not_the_logs_is_named(copy: Path, harm: str) -> None:
    tile = _public(copy) / "tile" / "0" / "000"
    if harm == "flipped":
        tile.write_bytes(bytes(8192))
    elif harm == "removed":
        tile.unlink()
    else:
        tile = _public(copy) / "batch" / ("0" * 64)
        tile.write_bytes(b"\x90")
    with pytest.raises(IntegrityError) as caught:
        check(copy)
    assert caught.value.found == tile.relative_to(_public(copy)).as_posix()


def test_a_removed_batch_file_is_named(copy: Path) -> None:
    file = next((_public(copy) / "batch").iterdir())
    file.unlink()
    with pytest.raises(IntegrityError) as caught:
        check(copy)
    assert caught.value.found == f"batch/{file.name}"


def test_a_changed_sealed_blob_is_found_and_an_erased_one_is_not_missed(copy: Path) -> None:
    (blob,) = (copy / "sealed").iterdir()
    blob.write_bytes(b"other")
    with pytest.raises(IntegrityError, match="sealed sketches"):
        check(copy)
    blob.unlink()
    assert check(copy) > 0


def test_an_older_store_is_a_rollback(copy: Path, tmp_path: Path) -> None:
    shutil.copytree(copy / "store", tmp_path / "backup")
    with Ledger.open(copy, clock=FixedClock()) as ledger:
        ledger.append(registration(ledger.id, "late"))
    shutil.rmtree(copy / "store")
    shutil.copytree(tmp_path / "backup", copy / "store")
    report = fsck(copy)
    assert isinstance(report.error, RollbackError)
    assert report.error.exit_code == 4


def test_where_there_is_no_ledger_there_is_nothing_to_check(tmp_path: Path) -> None:
    with pytest.raises(StorageError):
        fsck(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_work_is_what_the_fixture_says(whole: Path) -> None:
    with Ledger.open(whole, read_only=True) as ledger:
        assert Work(ledger).heads == [bytes(32)]
        assert ledger.size > 256
