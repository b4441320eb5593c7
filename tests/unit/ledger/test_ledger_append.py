"""Appending: what is acknowledged is durable, what is refused leaves nothing."""

import multiprocessing
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from creditledger.credits import reading
from creditledger.errors import (
    BusyError,
    ConflictError,
    CreditLedgerError,
    IntegrityError,
    MalformedRecordError,
    RoleError,
    RollbackError,
    SignatureError,
    StorageError,
    UnknownIdError,
)
from creditledger.ledger import writer
from creditledger.ledger.directory import BUILDING
from creditledger.ledger.founding import create
from creditledger.ledger.fsck import check
from creditledger.ledger.head import HeadFile
from creditledger.ledger.ledger import Ledger
from creditledger.ledger.lmdb_store import LmdbStore
from creditledger.ledger.stored_log import StoredLog, entry_key
from creditledger.ledger.writer import Acknowledgement
from creditledger.records.registration import Role
from creditledger.transparency.merkle import leaf_hash, prove_inclusion, verify_inclusion
from ledger_pools import (
    OPERATOR,
    ORIGIN,
    START_MS,
    WITNESS,
    FixedClock,
    found,
    grant,
    pool_parameters,
    registration,
    signed,
    signer,
    working,
)


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock()


@pytest.fixture
def ledger(tmp_path: Path, clock: FixedClock) -> Iterator[Ledger]:
    made = found(tmp_path / "pool", clock)
    yield made
    made.close()


def reopened(ledger: Ledger, clock: FixedClock | None = None) -> Ledger:
    ledger.close()
    return Ledger.open(ledger.path, clock=clock or FixedClock())


def head_size(ledger: Ledger) -> int:
    head = HeadFile(ledger.directory.head, origin=ledger.origin, operator=ledger.genesis.operator)
    return head.read().size


def test_an_acknowledged_record_is_there_after_reopening(ledger: Ledger) -> None:
    submission = registration(ledger.id, "alice")
    acknowledgement = ledger.append(submission)
    assert acknowledgement.index == 1
    again = reopened(ledger)
    entry = again.entry(1)
    assert (entry.record, entry.signature) == (submission.record, submission.signature)
    with again.snapshot() as snapshot:
        log = snapshot.log
        proof = prove_inclusion(log.node, index=1, size=log.size)
        verify_inclusion(leaf=acknowledgement.leaf_hash, index=1, size=log.size, proof=proof, root=log.root)
    again.close()


def test_a_repeat_answers_with_its_first_index(ledger: Ledger) -> None:
    first = ledger.append(registration(ledger.id, "alice"))
    ledger.append(registration(ledger.id, "bob"))
    again = ledger.append(registration(ledger.id, "alice"))
    assert again == Acknowledgement(index=first.index, leaf_hash=first.leaf_hash, repeated=True)
    assert ledger.size == 3


def test_a_repeat_within_a_group_is_logged_once(ledger: Ledger) -> None:
    one = registration(ledger.id, "alice")
    outcomes = ledger.submit([one, one])
    assert [(o.index, o.repeated) for o in outcomes if isinstance(o, Acknowledgement)] == [
        (1, False),
        (1, True),
    ]
    assert ledger.size == 2


def test_a_group_logs_what_the_rules_allow_and_names_what_they_refuse(ledger: Ledger) -> None:
    forged = signed(ledger.id, registration(ledger.id, "bob").record, signer("mallory"))
    same_name = registration(ledger.id, "carol")
    taken = signed(
        ledger.id,
        type(same_name.record)(**{**_fields(same_name.record), "name": "alice"}),
        signer("carol"),
    )
    outcomes = ledger.submit(
        [registration(ledger.id, "alice"), forged, taken, registration(ledger.id, "dave")]
    )
    assert isinstance(outcomes[0], Acknowledgement)
    assert isinstance(outcomes[1], SignatureError)
    assert isinstance(outcomes[2], ConflictError)
    assert isinstance(outcomes[3], Acknowledgement)
    assert outcomes[3].index == 2
    with ledger.read() as state:
        assert reading.account_state(state, signer("bob").public_key) is None
        assert reading.account_state(state, signer("dave").public_key) is not None


def test_a_refused_record_leaves_every_file_as_it_was(ledger: Ledger) -> None:
    head = ledger.directory.head.read_bytes()
    with pytest.raises(SignatureError):
        ledger.append(signed(ledger.id, registration(ledger.id, "bob").record, signer("mallory")))
    assert ledger.directory.head.read_bytes() == head
    assert ledger.size == 1
    ledger.close()
    assert check(ledger.path) == 1


def test_a_record_of_another_ledger_is_refused(ledger: Ledger) -> None:
    with pytest.raises(SignatureError):
        ledger.append(registration(bytes(32), "alice"))
    ledger.append(registration(ledger.id, "alice"))


def test_entries_beyond_the_end_are_unknown(ledger: Ledger) -> None:
    assert ledger.entry(0).record == ledger.genesis
    for index in (1, -1, 2**63):
        with pytest.raises(UnknownIdError):
            ledger.entry(index)


def test_an_entry_that_is_not_what_was_logged_is_named(ledger: Ledger, clock: FixedClock) -> None:
    ledger.append(registration(ledger.id, "alice"))
    entry = ledger.entry_bytes(1)
    ledger.close()
    store = LmdbStore(ledger.directory.store)
    with store.write() as view:
        view.put(entry_key(1), entry[:-1] + bytes([entry[-1] ^ 1]))
    store.close()
    damaged = Ledger.open(ledger.path, clock=clock)
    assert damaged.entry(0).record == ledger.genesis
    with pytest.raises(IntegrityError, match="entry 1 "):
        damaged.entry(1)
    damaged.close()


def test_the_writer_stops_over_a_damaged_edge(ledger: Ledger, clock: FixedClock) -> None:
    """One flipped bit here would be signed into every later head."""
    ledger.close()
    store = LmdbStore(ledger.directory.store)
    with store.write() as view:
        view.put(b"h\0" + bytes(8), bytes(32))
    store.close()
    with pytest.raises(IntegrityError):
        Ledger.open(ledger.path, clock=clock)


def test_a_batch_keeps_its_receipts_and_its_sealed_sketches(ledger: Ledger) -> None:
    work = working(ledger)
    submission = work.batch(2, sealed=b"for the validators")
    ledger.append(submission)
    assert ledger.bodies(submission.record) == submission.bodies[:-1]
    name = submission.record.sealed.hex()  # type: ignore[attr-defined]
    assert (ledger.directory.sealed / name).read_bytes() == b"for the validators"
    with ledger.read() as state:
        assert reading.receipt_state(state, work.heads[1]) is not None


@pytest.mark.parametrize("change", ["other sketches", "no sketches", "no bodies"])
def test_a_batch_without_its_sealed_sketches_is_refused(ledger: Ledger, change: str) -> None:
    work = working(ledger)
    whole = work.batch(2)
    bodies = {
        "other sketches": (*whole.bodies[:-1], b"other"),
        "no sketches": whole.bodies[:-1],
        "no bodies": (),
    }[change]
    size = ledger.size
    with pytest.raises(MalformedRecordError):
        ledger.append(type(whole)(record=whole.record, signature=whole.signature, bodies=bodies))
    assert (ledger.size, list(ledger.directory.sealed.iterdir())) == (size, [])
    ledger.append(whole)


def test_a_refused_batch_leaves_no_sealed_file(ledger: Ledger) -> None:
    work = working(ledger)
    whole = work.batch(2)
    forged = signed(ledger.id, whole.record, signer("mallory"), *whole.bodies)
    with pytest.raises(SignatureError):
        ledger.append(forged)
    assert list(ledger.directory.sealed.iterdir()) == []


def test_sealed_sketches_are_durable_before_the_commit(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = working(ledger)
    size = ledger.size

    def fail(path: Path, content: bytes, *, mode: int) -> bool:
        raise StorageError("no space left on device")

    monkeypatch.setattr(writer, "write_once", fail)
    with pytest.raises(StorageError):
        ledger.append(work.batch())
    monkeypatch.undo()
    again = reopened(ledger)
    assert again.size == size
    again.close()


def test_the_head_is_durable_before_the_acknowledgement(ledger: Ledger) -> None:
    for number in range(3):
        acknowledgement = ledger.append(registration(ledger.id, f"party-{number}"))
        assert head_size(ledger) == acknowledgement.index + 1


def test_a_failed_head_stops_the_writer_and_nothing_was_acknowledged(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commit may stand; the client repeats with the same record and is told its index."""

    def fail(self: HeadFile, head: object, operator: object) -> None:
        raise StorageError("input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(HeadFile, "replace", fail)
        with pytest.raises(StorageError):
            ledger.append(registration(ledger.id, "alice"))
    with pytest.raises(StorageError, match="writer stopped"):
        ledger.append(registration(ledger.id, "bob"))
    assert head_size(ledger) == 1
    again = reopened(ledger)
    assert head_size(again) == again.size == 2
    assert again.append(registration(ledger.id, "alice")).repeated
    again.close()


def test_a_commit_that_fails_acknowledges_nothing(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(store: LmdbStore, transaction: object, moment: int, changes: object) -> None:
        transaction.abort()  # type: ignore[attr-defined]
        raise store._poison("input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(LmdbStore, "_commit", fail)
        with pytest.raises(StorageError):
            ledger.append(registration(ledger.id, "alice"))
    with pytest.raises(StorageError):
        ledger.append(registration(ledger.id, "alice"))
    again = reopened(ledger)
    assert again.size == 1
    assert not again.append(registration(ledger.id, "alice")).repeated
    again.close()


def test_a_restored_backup_is_refused(ledger: Ledger, tmp_path: Path, clock: FixedClock) -> None:
    ledger.append(registration(ledger.id, "alice"))
    ledger.close()
    shutil.copytree(ledger.directory.store, tmp_path / "backup")
    later = Ledger.open(ledger.path, clock=clock)
    later.append(registration(ledger.id, "bob"))
    later.close()
    shutil.rmtree(ledger.directory.store)
    shutil.copytree(tmp_path / "backup", ledger.directory.store)
    for read_only in (False, True):
        with pytest.raises(RollbackError) as caught:
            Ledger.open(ledger.path, clock=clock, read_only=read_only)
        assert caught.value.exit_code == 4


def test_another_history_of_the_same_length_is_refused(
    ledger: Ledger, tmp_path: Path, clock: FixedClock
) -> None:
    ledger.close()
    shutil.copytree(ledger.path, tmp_path / "fork")
    for path, name in ((ledger.path, "alice"), (tmp_path / "fork", "bob")):
        with Ledger.open(path, clock=clock) as side:
            side.append(registration(ledger.id, name))
    shutil.rmtree(ledger.directory.store)
    shutil.copytree(tmp_path / "fork" / "store", ledger.directory.store)
    with pytest.raises(RollbackError):
        Ledger.open(ledger.path, clock=clock)


@pytest.mark.parametrize("damage", ["missing", "torn", "by another key"])
def test_without_its_head_a_ledger_stays_shut(ledger: Ledger, clock: FixedClock, damage: str) -> None:
    ledger.close()
    head = ledger.directory.head
    if damage == "missing":
        head.unlink()
    elif damage == "torn":
        head.write_bytes(head.read_bytes()[:40])
    else:
        with ledger_of_another(ledger.path.parent / "other") as other:
            head.write_bytes(other.directory.head.read_bytes())
    with pytest.raises(IntegrityError):
        Ledger.open(ledger.path, clock=clock)


def ledger_of_another(path: Path) -> Ledger:
    return create(
        path, origin=ORIGIN, operator=signer("mallory"), parameters=pool_parameters(), clock=FixedClock()
    )


def test_a_second_writer_is_refused_until_the_first_is_gone(ledger: Ledger, clock: FixedClock) -> None:
    with pytest.raises(BusyError):
        Ledger.open(ledger.path, clock=clock)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(error_of_opening, (str(ledger.path),)) == "BusyError"
        ledger.close()
        assert pool.apply(error_of_opening, (str(ledger.path),)) == ""
    with Ledger.open(ledger.path, clock=clock):
        pass


def error_of_opening(path: str) -> str:
    try:
        Ledger.open(path, clock=FixedClock()).close()
    except CreditLedgerError as error:
        return type(error).__name__
    return ""


def test_a_reader_in_another_process_reads_while_the_writer_writes(ledger: Ledger) -> None:
    ledger.append(registration(ledger.id, "alice"))
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(size_of, (str(ledger.path),)) == 2


def size_of(path: str) -> int:
    with Ledger.open(path, read_only=True) as ledger:
        return ledger.size


def test_a_ledger_for_reading_takes_no_records(ledger: Ledger) -> None:
    ledger.close()
    with Ledger.open(ledger.path, read_only=True) as reader:
        assert reader.size == 1
        with pytest.raises(StorageError):
            reader.append(registration(ledger.id, "alice"))


def test_writing_takes_the_operators_key(ledger: Ledger, clock: FixedClock) -> None:
    ledger.close()
    with pytest.raises(RoleError):
        Ledger.open(ledger.path, operator=signer("mallory"), clock=clock)
    (ledger.directory.keys / "operator.key").unlink()
    with pytest.raises(RoleError):
        Ledger.open(ledger.path, clock=clock)
    with Ledger.open(ledger.path, operator=OPERATOR.ed25519(), clock=clock) as handed:
        handed.append(registration(ledger.id, "alice"))


def test_a_key_file_of_another_ledger_is_refused(ledger: Ledger, tmp_path: Path, clock: FixedClock) -> None:
    ledger.close()
    with found(tmp_path / "other", FixedClock(START_MS + 1)) as other:
        shutil.copy(other.directory.keys / "operator.key", ledger.directory.keys / "operator.key")
    with pytest.raises(RoleError):
        Ledger.open(ledger.path, clock=clock)


def test_entry_times_never_fall(ledger: Ledger, clock: FixedClock) -> None:
    times = []
    for name, now in (("a", START_MS + 5_000), ("b", START_MS + 1_000), ("c", START_MS + 9_000)):
        clock.now = now
        times.append(ledger.entry(ledger.append(registration(ledger.id, name)).index).time_unix_ms)
    assert times == [START_MS + 5_000, START_MS + 5_000, START_MS + 9_000]


def test_a_clock_far_behind_the_log_is_refused(ledger: Ledger, clock: FixedClock) -> None:
    tolerance = ledger.genesis.parameters.clock_tolerance_ms
    clock.now = START_MS + 10 * tolerance
    ledger.append(registration(ledger.id, "alice"))
    clock.now = START_MS + 9 * tolerance - 1
    with pytest.raises(BusyError):
        ledger.append(registration(ledger.id, "bob"))
    clock.now = START_MS + 9 * tolerance
    ledger.append(registration(ledger.id, "bob"))


def test_threads_take_turns(ledger: Ledger) -> None:
    found_indexes: list[int] = []

    def work(part: int) -> None:
        for number in range(10):
            found_indexes.append(ledger.append(registration(ledger.id, f"party-{part}-{number}")).index)

    threads = [threading.Thread(target=work, args=(part,)) for part in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found_indexes) == list(range(1, 41))


def test_one_key_is_not_operator_and_witness(tmp_path: Path) -> None:
    with pytest.raises(RoleError):
        create(
            tmp_path / "pool",
            origin=ORIGIN,
            operator=WITNESS.ed25519(),
            parameters=pool_parameters(),
            witness=WITNESS.ed25519(),
            clock=FixedClock(),
        )
    assert list(tmp_path.iterdir()) == []


def test_a_ledger_is_founded_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "publish", lambda self: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            found(tmp_path / "pool")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "pool").mkdir()
    found(tmp_path / "pool").close()
    with pytest.raises(StorageError):
        found(tmp_path / "pool")
    assert not list(tmp_path.glob(BUILDING + "*"))


def test_no_ledger_is_made_by_opening(tmp_path: Path) -> None:
    with pytest.raises(StorageError):
        Ledger.open(tmp_path / "nothing")
    assert list(tmp_path.iterdir()) == []


def test_the_log_is_the_hash_of_its_entries(ledger: Ledger) -> None:
    ledger.submit([grant(ledger.id, "alice", 5, number) for number in range(3)])
    ledger.append(registration(ledger.id, "queue", Role.QUEUE))
    with ledger.snapshot() as snapshot:
        log: StoredLog = snapshot.log
        for index in range(log.size):
            assert log.node(0, index) == leaf_hash(log.entry_bytes(index))


def _fields(record: object) -> dict[str, object]:
    return {name: getattr(record, name) for name in record.__struct_fields__}
