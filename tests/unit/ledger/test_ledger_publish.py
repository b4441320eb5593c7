"""Publication: write-once files, tiles before checkpoint, nothing signed that contradicts the past."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from creditledger.errors import BusyError, ConsistencyProofError, IntegrityError, RollbackError, StorageError
from creditledger.ledger import publish
from creditledger.ledger.ledger import Ledger
from creditledger.ledger.lmdb_store import LmdbStore
from creditledger.ledger.local_witness import LocalWitness, WitnessFile
from creditledger.ledger.stored_log import decode_bodies, entry_key, node_key
from creditledger.transparency.checkpoint import parse_checkpoint_note
from creditledger.transparency.cosignature import CosignatureSigner
from creditledger.transparency.merkle import leaf_hash, root_from_leaf_hashes
from creditledger.transparency.quorum import PolicyWitness, WitnessGroup
from creditledger.transparency.tile import decode_entry_bundle, tiles_for_size
from ledger_pools import ORIGIN, START_MS, FixedClock, fill, found, registration, signer, working


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    made = found(tmp_path / "pool")
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
    changed = [path for path, content in before.items() if after[path] != content]
    assert changed == ["checkpoint"]
    fill_in_one = {tile.path for tile in tiles_for_size(600)}
    assert fill_in_one <= set(after)


def test_publishing_without_news_only_dates_the_checkpoint_anew(ledger: Ledger) -> None:
    ledger.publish()
    before = files(ledger)
    note = ledger.publish(START_MS + 60_000)
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


@pytest.mark.parametrize("key", [entry_key(5), node_key(0, 5), node_key(8, 0)])
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
        view.put(node_key(0, 5), leaf_hash(forged))
    store.close()
    with Ledger.open(ledger.path, clock=FixedClock()) as damaged:
        with pytest.raises(IntegrityError, match="tree node 8/0"):
            damaged.publish()
        assert parse_checkpoint_note(damaged.checkpoint()).size == 1


def test_an_old_node_in_a_new_partial_tile_is_checked_against_the_root(ledger: Ledger) -> None:
    fill(ledger, 515)
    ledger.publish()
    with _flip(ledger, node_key(8, 0)) as damaged:
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


def _require_remote(ledger: Ledger, names: tuple[str, ...]) -> None:
    policy = ledger.policy()
    remote = tuple(
        PolicyWitness(name=name, vkey=CosignatureSigner("local", signer(name)).vkey) for name in names
    )
    grown = replace(
        policy,
        witnesses=(*policy.witnesses, *remote),
        groups=(WitnessGroup(name="all", threshold=1 + len(names), members=("local", *names)),),
        quorum="all",
    )
    ledger.directory.policy.write_bytes(grown.serialize())


def test_without_the_witness_quorum_the_old_checkpoint_stays(ledger: Ledger, tmp_path: Path) -> None:
    _require_remote(ledger, ("remote",))
    before = ledger.checkpoint()
    fill(ledger, 2)
    with pytest.raises(BusyError):
        ledger.publish()
    assert ledger.checkpoint() == before
    local = LocalWitness(ledger.directory.witness, signer("witness"))
    remote = LocalWitness(tmp_path / "remote", signer("remote"))
    note = ledger.publish(cosigners=[local, remote])
    assert ledger.policy().verify_checkpoint(note).checkpoint.size == 2


def test_a_witness_added_by_hand_does_not_lock_the_ledger(ledger: Ledger, tmp_path: Path) -> None:
    """What was published under the old policy does not meet the new one until it is cosigned anew."""
    _require_remote(ledger, ("remote",))
    ledger.close()
    with Ledger.open(ledger.path, clock=FixedClock()) as again:
        again.append(registration(again.id, "alice"))
        remote = LocalWitness(tmp_path / "remote", signer("remote"))
        local = LocalWitness(again.directory.witness, signer("witness"))
        assert parse_checkpoint_note(again.publish(cosigners=[local, remote])).size == 2


def test_a_clock_ahead_of_its_witnesses_stops_the_writer(tmp_path: Path) -> None:
    clock = FixedClock()
    with found(tmp_path / "pool", clock) as ledger:
        tolerance = ledger.genesis.parameters.clock_tolerance_ms
        slow = _SlowWitness(LocalWitness(ledger.directory.witness, signer("witness")), 2 * tolerance)
        clock.now += 3 * tolerance
        ledger.publish(cosigners=[slow])
        with pytest.raises(BusyError):
            ledger.append(registration(ledger.id, "alice"))
        slow.behind_ms = 0
        ledger.publish(cosigners=[slow])
        ledger.append(registration(ledger.id, "alice"))


class _SlowWitness:
    """A witness whose clock is behind the log's."""

    def __init__(self, inner: LocalWitness, behind_ms: int) -> None:
        self._inner = inner
        self.behind_ms = behind_ms

    def size(self, origin: str) -> int:
        return self._inner.size(origin)

    def cosign(self, request: object, *, log_key: object, now_unix_ms: int) -> bytes:
        return self._inner.cosign(
            request,  # type: ignore[arg-type]
            log_key=log_key,  # type: ignore[arg-type]
            now_unix_ms=now_unix_ms - self.behind_ms,
        )


def test_a_witness_state_that_cannot_be_read_stops_it(ledger: Ledger) -> None:
    ledger.directory.witness.write_bytes(b"\x91\x01")
    with pytest.raises(IntegrityError):
        ledger.publish()
