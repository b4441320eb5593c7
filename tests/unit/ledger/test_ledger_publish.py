"""Publication: write-once files, tiles before checkpoint, nothing signed that contradicts the past."""

import itertools
import shutil
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from creditledger.errors import ConsistencyProofError, IntegrityError, RollbackError, StorageError
from creditledger.ledger import publish
from creditledger.ledger.audit import audit
from creditledger.ledger.fsck import fsck
from creditledger.ledger.ledger import Ledger
from creditledger.ledger.lmdb_store import LmdbStore
from creditledger.ledger.local_witness import WitnessFile
from creditledger.ledger.node_rows import row_key, row_place
from creditledger.ledger.publish import published_files
from creditledger.ledger.stored_log import decode_bodies, entry_key
from creditledger.transparency.checkpoint import parse_checkpoint_note
from creditledger.transparency.merkle import leaf_hash, root_from_leaf_hashes
from creditledger.transparency.tile import decode_entry_bundle, tiles_for_size
from ledger_pools import ORIGIN, START_MS, FixedClock, fill, found, grant, registration, working


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock()


@pytest.fixture
def ledger(tmp_path: Path, clock: FixedClock) -> Iterator[Ledger]:
    made = found(tmp_path / "pool", clock)
    yield made
    made.close()


def files(ledger: Ledger) -> dict[str, bytes]:
    public = ledger.directory.public
    return {p.relative_to(public).as_posix(): p.read_bytes() for p in public.rglob("*") if p.is_file()}


def test_a_new_ledger_is_published_and_cosigned(ledger: Ledger) -> None:
    verified = ledger.policy().verify_checkpoint(ledger.checkpoint())
    assert (verified.checkpoint.origin, verified.checkpoint.size) == (ORIGIN, 1)
    assert verified.cosigned_unix_ms == START_MS // 1_000 * 1_000


@pytest.mark.parametrize("size", [2, 255, 256, 257, 513])
def test_the_published_tiles_are_the_log(ledger: Ledger, size: int) -> None:
    fill(ledger, size)
    checkpoint = parse_checkpoint_note(ledger.publish())
    held = files(ledger)
    leaves: list[bytes] = []
    for tile in tiles_for_size(size):
        assert tile.path in held
        if tile.level is None:
            leaves += [leaf_hash(entry) for entry in decode_entry_bundle(held[tile.path], width=tile.width)]
    assert (checkpoint.size, checkpoint.root) == (size, root_from_leaf_hashes(leaves))
    assert (f"tile/1/000.p/{size // 256}" in held) == (size >= 256)


def test_growth_adds_files_and_changes_only_the_checkpoint(ledger: Ledger) -> None:
    fill(ledger, 300)
    ledger.publish()
    before = files(ledger)
    fill(ledger, 600)
    ledger.publish()
    after = files(ledger)
    gone = set(before) - set(after)
    changed = [path for path, content in before.items() if path in after and after[path] != content]
    assert changed == ["checkpoint"]
    assert gone == {"tile/entries/001.p/44", "tile/0/001.p/44"}
    fill_in_one = {tile.path for tile in tiles_for_size(600)}
    assert fill_in_one <= set(after)


def test_a_partial_tile_stays_until_its_full_one_is_published(ledger: Ledger) -> None:
    for size in (10, 200, 255):
        fill(ledger, size)
        ledger.publish()
    partial = {path for path in files(ledger) if path.startswith("tile/0/000.p/")}
    assert partial == {f"tile/0/000.p/{size}" for size in (1, 10, 200, 255)}
    fill(ledger, 256)
    assert {path for path in files(ledger) if path.startswith("tile/0/000")} == partial
    ledger.publish()
    assert {path for path in files(ledger) if path.startswith("tile/0/000")} == {"tile/0/000"}
    assert fsck(ledger.path).ok


def test_partial_tiles_stay_where_the_checkpoint_that_fills_them_was_not_published(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped between the tiles and the checkpoint: who reads the old checkpoint finds its tiles."""
    fill(ledger, 200)
    ledger.publish()
    fill(ledger, 300)
    with monkeypatch.context() as patch:
        patch.setattr(publish, "replace_file", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            ledger.publish()
    assert {"tile/0/000", "tile/0/000.p/200"} <= set(files(ledger))
    assert audit(ledger.path, now_unix_ms=START_MS).checkpoint_size == 200


def test_what_a_stopped_removal_left_is_swept_by_the_next_process(
    ledger: Ledger, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(ledger, 200)
    ledger.publish()
    fill(ledger, 700)
    with monkeypatch.context() as patch:
        patch.setattr(publish, "remove_superseded", lambda *_, **__: None)
        ledger.publish()
    assert "tile/0/000.p/200" in files(ledger)
    ledger.close()
    with Ledger.open(ledger.path, clock=clock) as again:
        again.publish()
        left = {path for path in files(again) if ".p/" in path}
        assert left == {
            "tile/0/002.p/188", "tile/entries/002.p/188", "tile/1/000.p/2"
        }  # fmt: skip
    assert fsck(ledger.path).ok


def test_a_publication_that_fails_twice_succeeds_the_third_time(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two failures in a row, at each pair of writes: no file is missing and none is half there."""
    fill(ledger, 300)
    with ledger.snapshot() as snapshot:
        writes = len(list(published_files(snapshot.log, old_size=1)))
    real = publish.write_once
    before = ledger.checkpoint()
    for first, second in itertools.product(range(writes), repeat=2):
        for failing in (first, second):
            made = itertools.count()

            def write(path: Path, content: bytes, *, made: Any = made, failing: int = failing) -> bool:
                if next(made) == failing:
                    raise StorageError("no space left on the disk")
                return real(path, content)

            with monkeypatch.context() as patch:
                patch.setattr(publish, "write_once", write)
                with pytest.raises(StorageError):
                    ledger.publish()
            assert ledger.checkpoint() == before
    ledger.publish()
    report = audit(ledger.path, now_unix_ms=START_MS)
    assert (report.problem, report.entries) == ("", 300)


def test_publishing_without_news_only_dates_the_checkpoint_anew(ledger: Ledger, clock: FixedClock) -> None:
    ledger.publish()
    before = files(ledger)
    clock.now = START_MS + 60_000
    note = ledger.publish()
    after = files(ledger)
    assert {**before, "checkpoint": note} == after
    assert ledger.policy().verify_checkpoint(note).cosigned_unix_ms == START_MS + 60_000


def test_a_batch_is_published_with_its_receipts(ledger: Ledger) -> None:
    submission = working(ledger).batch(3)
    ledger.append(submission)
    ledger.publish()
    path = f"batch/{submission.record.root.hex()}"  # type: ignore[attr-defined]
    assert decode_bodies(files(ledger)[path]) == submission.bodies[:-1]


def test_files_are_durable_before_the_checkpoint_speaks_of_them(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(ledger, 3)
    before = ledger.checkpoint()
    steps: list[str] = []
    for name in ("write_once", "sync_directory", "replace_file"):
        original = getattr(publish, name)

        def record(path: Path, *rest: object, name: str = name, original: object = original) -> object:
            steps.append(name)
            return original(path, *rest)  # type: ignore[operator]

        monkeypatch.setattr(publish, name, record)
    ledger.publish()
    assert steps.index("sync_directory") > max(i for i, step in enumerate(steps) if step == "write_once")
    assert steps[-1] == "replace_file"
    assert steps.count("replace_file") == 1
    assert ledger.checkpoint() != before


@pytest.mark.parametrize("failing", ["write_once", "replace_file"])
def test_a_failed_publication_keeps_the_old_checkpoint_and_can_be_repeated(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    fill(ledger, 300)
    before = ledger.checkpoint()

    def fail(path: Path, content: bytes) -> bool:
        raise StorageError("no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(publish, failing, fail)
        with pytest.raises(StorageError):
            ledger.publish()
    assert ledger.checkpoint() == before
    assert parse_checkpoint_note(ledger.publish()).size == 300


def test_a_slower_publication_does_not_put_back_an_older_checkpoint(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One thread publishes while another appends and publishes: the one that began later ends later."""
    fill(ledger, 2)
    slow, reached = threading.Event(), threading.Event()
    original = publish.replace_file

    def replace_slowly(path: Path, content: bytes) -> None:
        if threading.current_thread() is first:
            reached.set()
            slow.wait(10)
        original(path, content)

    monkeypatch.setattr(publish, "replace_file", replace_slowly)
    first, second = threading.Thread(target=ledger.publish), threading.Thread(target=ledger.publish)
    first.start()
    assert reached.wait(10)
    ledger.append(grant(ledger.id, "filler", 1, 99))
    second.start()
    second.join(0.2)
    slow.set()
    first.join(10)
    second.join(10)
    assert parse_checkpoint_note(ledger.checkpoint()).size == 3


def test_a_published_file_is_never_overwritten(ledger: Ledger) -> None:
    fill(ledger, 3)
    target = ledger.directory.public / "tile" / "0" / "000.p" / "3"
    target.write_bytes(bytes(96))
    before = ledger.checkpoint()
    with pytest.raises(IntegrityError):
        ledger.publish()
    assert (target.read_bytes(), ledger.checkpoint()) == (bytes(96), before)


def _flip(ledger: Ledger, key: bytes) -> Ledger:
    """Reopen the ledger with one byte of a stored value changed behind its back."""
    ledger.close()
    store = LmdbStore(ledger.directory.store)
    with store.write() as view:
        value = view.get(key)
        assert value is not None
        view.put(key, bytes([value[0] ^ 1]) + value[1:])
    store.close()
    return Ledger.open(ledger.path, clock=FixedClock())


@pytest.mark.parametrize("key", [entry_key(5), row_key(0, 5), row_key(8, 0)])
def test_nothing_is_signed_over_damage(ledger: Ledger, key: bytes) -> None:
    """Below a node of level 8 the tree's edge alone would not show it."""
    fill(ledger, 515)
    before = ledger.checkpoint()
    with pytest.raises(IntegrityError), _flip(ledger, key) as damaged:
        damaged.publish()
    assert (ledger.directory.public / "checkpoint").read_bytes() == before


def test_an_entry_changed_with_its_leaf_hash_is_told_by_the_node_above(ledger: Ledger) -> None:
    fill(ledger, 515)
    entry = ledger.entry_bytes(5)
    forged = entry[:-1] + bytes([entry[-1] ^ 1])
    ledger.close()
    store = LmdbStore(ledger.directory.store)
    with store.write() as view:
        view.put(entry_key(5), forged)
        row, at = view.get(row_key(0, 5)) or b"", 32 * row_place(0, 5)
        view.put(row_key(0, 5), row[:at] + leaf_hash(forged) + row[at + 32 :])
    store.close()
    with Ledger.open(ledger.path, clock=FixedClock()) as damaged:
        with pytest.raises(IntegrityError, match="tree node 8/0"):
            damaged.publish()
        assert parse_checkpoint_note(damaged.checkpoint()).size == 1


def test_an_old_node_in_a_new_partial_tile_is_checked_against_the_root(ledger: Ledger) -> None:
    fill(ledger, 515)
    ledger.publish()
    with _flip(ledger, row_key(8, 0)) as damaged:
        damaged.submit([registration(damaged.id, f"party-{number}") for number in range(300)])
        with pytest.raises(IntegrityError, match="right edge"):
            damaged.publish()
        assert parse_checkpoint_note(damaged.checkpoint()).size == 515


def test_a_log_that_falls_behind_its_publication_is_refused(ledger: Ledger, tmp_path: Path) -> None:
    """Store, head and witness restored together from a backup: what was published tells."""
    ledger.close()
    for name in ("store", "head", "witness"):
        source = ledger.path / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, tmp_path / name)
    with Ledger.open(ledger.path, clock=FixedClock()) as later:
        fill(later, 5)
        later.publish()
    shutil.rmtree(ledger.path / "store")
    shutil.copytree(tmp_path / "store", ledger.path / "store")
    for name in ("head", "witness"):
        shutil.copy(tmp_path / name, ledger.path / name)
    with pytest.raises(RollbackError, match="published checkpoint"):
        Ledger.open(ledger.path, clock=FixedClock())


def test_a_witness_that_has_seen_more_is_believed(ledger: Ledger) -> None:
    """Everything restored but the witness: its word stops the log."""
    state = WitnessFile(ledger.directory.witness)
    seen = state.get(ORIGIN)
    assert seen is not None
    state.put(ORIGIN, expected=seen, new=replace(seen, size=9))
    with pytest.raises(RollbackError):
        ledger.publish()


def test_a_witness_that_has_seen_another_history_does_not_cosign(ledger: Ledger) -> None:
    before = ledger.checkpoint()
    state = WitnessFile(ledger.directory.witness)
    seen = state.get(ORIGIN)
    assert seen is not None
    state.put(ORIGIN, expected=seen, new=replace(seen, root=bytes(32)))
    fill(ledger, 2)
    with pytest.raises(ConsistencyProofError):
        ledger.publish()
    assert ledger.checkpoint() == before


def test_a_witness_state_that_cannot_be_read_stops_it(ledger: Ledger) -> None:
    ledger.directory.witness.write_bytes(b"\x91\x01")
    with pytest.raises(IntegrityError):
        ledger.publish()
