"""Rows in, receipts out; and what fails stays inside. Source: specs/minting.md §2, §4 and §7."""

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from creditledger.activations.bf16 import to_bf16_bits
from creditledger.activations.delivered import verify_delivered
from creditledger.activations.sketch import verify_sketch
from creditledger.credits import reading
from creditledger.errors import BusyError, RefusedError, RoleError, StorageError, UnknownIdError
from creditledger.ledger import directory
from creditledger.ledger.keyring import KeyFile, KeyRole, save_key
from creditledger.ledger.writer import Acknowledgement
from creditledger.minting import batching
from creditledger.minting.failures import FailureCount
from creditledger.minting.kept_inputs import KeptInputs
from creditledger.minting.minter import Minter
from creditledger.minting.sealed_evidence import open_sketches
from creditledger.minting.session import Session
from creditledger.minting.worker import Worker
from creditledger.quantities import ZERO_DIGEST
from creditledger.records.entry import Submission
from creditledger.records.job import Job
from creditledger.records.receipt import OutputKind
from creditledger.transparency.keys import Ed25519Signer
from fakes.committee import fake_digest
from fakes.tiny_llama import SHAPE, inputs_of
from fakes.working_pool import CountedBytes, WorkingPool, audit_key

ROWS = inputs_of(SHAPE, 600, seed=5)


def open_session(pool: WorkingPool, minter: Minter, job: Job, **changes: object) -> Session:
    return minter.session(pool.work_order(job, 0), **changes)


def record(session: Session, start: int, stop: int) -> None:
    """Identity: what is computed does not matter here."""
    session.record(inputs=ROWS[start:stop], outputs=ROWS[start:stop], positions=range(start, stop))


def minted(pool: WorkingPool, positions: int) -> tuple[Minter, Session]:
    minter = pool.minter(0)
    with open_session(pool, minter, pool.order(positions=600)) as session:
        record(session, 0, positions)
    return minter, session


def test_every_window_gives_a_receipt_and_the_last_may_be_short(pool: WorkingPool) -> None:
    minter, session = minted(pool, 600)
    receipts = session.receipts
    assert [(one.window_start, one.positions) for one in receipts] == [(0, 256), (256, 256), (512, 88)]
    digests = [receipt.digest(pool.ledger.id) for receipt in receipts]
    assert [receipt.previous for receipt in receipts] == [ZERO_DIGEST, *digests[:-1]]
    assert {receipt.output_kind for receipt in receipts} == {OutputKind.ACTIVATIONS}
    assert minter.failures == {}


def test_a_receipt_commits_to_the_rows_and_their_sketch(pool: WorkingPool) -> None:
    """The roots are over the rows under the order's keys; the batch's box opens the sketch."""
    minter, session = minted(pool, 300)
    (acknowledgement,) = minter.flush()
    order, last = session.order, session.receipts[1]
    rows = to_bf16_bits(ROWS[256:300])
    for key, root in ((order.input_key, last.input_root), (order.output_key, last.output_root)):
        verify_delivered(rows, boundary_key=key, first_position=256, root=root)
    batch = pool.ledger.entry(acknowledgement.index).record
    sealed = (pool.ledger.directory.sealed / batch.sealed.hex()).read_bytes()
    openings = open_sketches(sealed, audit_key(1), ledger_id=pool.ledger.id, batch_root=batch.root)
    sketch = verify_sketch(*openings[1], commitment=last.sketch, positions=44)
    assert np.abs(sketch).max() > 0


def test_one_batch_holds_the_receipts_of_many_jobs(pool: WorkingPool) -> None:
    minter = pool.minter(0)
    for tag in range(3):
        with open_session(pool, minter, pool.order(tag=tag)) as session:
            record(session, 0, 256)
    (acknowledgement,) = minter.flush()
    assert pool.ledger.entry(acknowledgement.index).record.count == 3
    assert minter.flush() == []


def test_one_bad_job_does_not_cost_the_others_their_receipts(pool: WorkingPool) -> None:
    """The log refuses the batch for the closed job's receipt; the others go in batches of their own."""
    minter, job, closed = pool.minter(0), pool.order(tag="good"), pool.order(tag="closed", positions=512)
    for one in (job, closed):
        with open_session(pool, minter, one) as session:
            record(session, 0, 256)
    stray = session.receipts[0].replace(duration_ms=999)
    other = pool.papers.batch(pool.nodes[0], [stray], sealed=b"sealed")
    pool.ledger.append(other)
    (acknowledgement,) = minter.flush()
    assert pool.ledger.entry(acknowledgement.index).record.count == 1
    assert [submission.record.count for submission, _ in minter.refused] == [1]
    assert minter.failures == {"RefusedError": 1}
    assert minter.waiting == 0


def test_a_chain_resumes_after_a_restart(pool: WorkingPool) -> None:
    job = pool.order(positions=600)
    first = pool.minter(0)
    session = open_session(pool, first, job)
    record(session, 0, 256)
    (last,) = session.receipts
    first.close()
    second = pool.minter(0)
    with open_session(pool, second, job, after=last) as session:
        assert session.next_position == 256
        record(session, 256, 600)
    assert [receipt.window_start for receipt in session.receipts] == [256, 512]
    assert len(second.flush()) == 1


def test_an_unfinished_window_is_left_open_when_the_block_raises(pool: WorkingPool) -> None:
    """A short receipt would end the chain; the job may go on elsewhere."""
    session = open_session(pool, pool.minter(0), pool.order(positions=600))

    def infer() -> None:
        with session:
            record(session, 0, 300)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        infer()
    assert [receipt.positions for receipt in session.receipts] == [256]


def float32_beyond_bf16(rows: np.ndarray) -> np.ndarray:
    return rows + np.float32(1e-3)


@pytest.mark.parametrize(
    "broken",
    [
        float32_beyond_bf16,
        lambda rows: rows.astype(np.float64),
        lambda rows: rows[:-1],
        lambda rows: rows[:, :-1],
        lambda rows: rows[0],
        lambda rows: rows.tolist(),
        lambda rows: np.full_like(rows, np.nan),
        lambda _: None,
    ],
    ids=["not bf16", "float64", "too few", "narrow", "flat", "a list", "nan", "nothing"],
)
def test_broken_outputs_never_reach_the_model(
    pool: WorkingPool, broken: Callable[[np.ndarray], object]
) -> None:
    """Nothing is raised; it is counted, and the receipt is missing."""
    minter = pool.minter(0)
    with open_session(pool, minter, pool.order()) as session:
        session.record(inputs=ROWS[:256], outputs=broken(ROWS[:256]), positions=range(256))
    assert session.receipts == []
    assert minter.failures.get("ActivationError", 0) >= 1
    assert minter.flush() == []


def test_bf16_bits_and_their_float32_values_give_the_same_receipt(pool: WorkingPool) -> None:
    roots = set()
    for tag, rows in enumerate((ROWS[:256], to_bf16_bits(ROWS[:256]))):
        minter = pool.minter(0)
        order = pool.work_order(pool.order(tag=tag), 0).replace(input_key=b"i" * 32, output_key=b"o" * 32)
        with minter.session(order) as session:
            session.record(inputs=rows, outputs=rows, positions=range(256))
        roots.add((session.receipts[0].input_root, session.receipts[0].output_root))
    assert len(roots) == 1


def test_rows_may_be_overwritten_as_soon_as_they_are_recorded(pool: WorkingPool) -> None:
    """The model reuses its buffers."""
    minter, buffer = pool.minter(0), ROWS[:256].copy()
    with open_session(pool, minter, pool.order()) as session:
        session.record(inputs=buffer, outputs=buffer, positions=range(256))
        buffer[:] = 0
    verify_delivered(
        to_bf16_bits(ROWS[:256]),
        boundary_key=session.order.input_key,
        first_position=0,
        root=session.receipts[0].input_root,
    )


@pytest.mark.parametrize("positions", [range(1, 257), range(0, 512, 2), range(255), [0, 1]])
def test_positions_must_follow_without_a_gap(pool: WorkingPool, positions: range) -> None:
    minter = pool.minter(0)
    with open_session(pool, minter, pool.order()) as session:
        session.record(inputs=ROWS[:256], outputs=ROWS[:256], positions=positions)
        assert session.next_position == 0
        record(session, 0, 256)
    assert len(session.receipts) == 1
    assert sum(minter.failures.values()) == 1


def test_after_a_missing_receipt_the_chain_ends(pool: WorkingPool) -> None:
    """A later receipt would have nothing to follow."""
    minter = pool.minter(0)
    with open_session(pool, minter, pool.order(positions=600)) as session:
        record(session, 0, 256)
        rows = float32_beyond_bf16(ROWS[256:512])
        session.record(inputs=rows, outputs=rows, positions=range(256, 512))
        record(session, 512, 600)
    assert len(session.receipts) == 1
    assert len(minter.flush()) == 1


class FailingSigner(Ed25519Signer):
    """A key store that is away."""

    def sign(self, message: bytes) -> bytes:
        raise RuntimeError("no key store")


def test_a_signer_that_raises_costs_a_flush_and_no_receipt(pool: WorkingPool) -> None:
    """The receipts stay, and go out once the key is back."""
    minter = pool.minter(0, key=FailingSigner(fake_digest("ed25519", "node 0")))
    with open_session(pool, minter, pool.order()) as session:
        record(session, 0, 256)
    assert minter.flush() == []
    assert minter.failures == {"RuntimeError": 1}
    minter._key = pool.nodes[0]
    assert len(minter.flush()) == 1
    assert session.receipts


def test_a_full_disk_costs_a_flush_and_no_receipt(
    pool: WorkingPool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    minter = pool.minter(0, outbox=tmp_path / "outbox")
    with open_session(pool, minter, pool.order()) as session:
        record(session, 0, 256)
    assert session.receipts

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr(directory.os, "fsync", full)
        assert minter.flush() == []
    assert minter.failures == {"StorageError": 1}
    assert minter.waiting == 0
    assert len(minter.flush()) == 1


def test_a_full_disk_for_evidence_still_gives_receipts(
    pool: WorkingPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Client or neighbour may show the inputs instead."""

    def full(*_: object, **__: object) -> None:
        raise StorageError("no space")

    monkeypatch.setattr(KeptInputs, "keep", full)
    minter, session = minted(pool, 600)
    assert len(session.receipts) == 3
    assert minter.failures == {"StorageError": 3}


def test_a_backlog_that_is_full_costs_receipts_and_not_memory() -> None:
    failures = FailureCount()
    worker = Worker(failures, backlog_bytes_max=100)
    done: list[int] = []
    worker.submit(lambda: done.append(1), size=100)
    worker.wait()
    with pytest.raises(BusyError):
        worker.submit(lambda: done.append(2), size=101)
    worker.submit(lambda: 1 // 0)
    worker.submit(lambda: done.append(3))
    worker.close()
    assert done == [1, 3]
    assert failures.counts() == {"ZeroDivisionError": 1}
    with pytest.raises(BusyError):
        worker.submit(lambda: done.append(4))


def test_waiting_ends_though_more_keeps_coming(monkeypatch: pytest.MonkeyPatch) -> None:
    """A flush waits for what came before it, not for a model that never stops."""
    worker, waits, go_on = Worker(FailureCount()), threading.Event(), threading.Event()
    waiter = threading.Thread(target=worker.wait, daemon=True)
    honest = worker._changed.wait_for

    def wait_for(is_met: Callable[[], bool]) -> bool:
        if threading.current_thread() is waiter:
            waits.set()
        return honest(is_met)

    def before() -> None:
        waits.wait(10)
        worker.submit(lambda: go_on.wait(10) and None)

    monkeypatch.setattr(worker._changed, "wait_for", wait_for)
    worker.submit(before)
    waiter.start()
    waiter.join(timeout=5)
    is_still_waiting = waiter.is_alive()
    go_on.set()
    worker.close()
    assert not is_still_waiting


def test_a_restarted_outbox_delivers_once(pool: WorkingPool, tmp_path: Path) -> None:
    """Flushed while the ledger was away, delivered by the next process, and never twice."""

    def away(_: object) -> Acknowledgement:
        raise BusyError("away")

    first = pool.minter(0, outbox=tmp_path / "outbox", submit=away)
    with open_session(pool, first, pool.order()) as session:
        record(session, 0, 256)
    assert first.flush() == []
    assert first.waiting == 1
    pending = next((tmp_path / "outbox").iterdir())
    kept = pending.read_bytes()
    second = pool.minter(0, outbox=tmp_path / "outbox")
    (acknowledgement,) = second.flush()
    pending.write_bytes(kept)
    third = pool.minter(0, outbox=tmp_path / "outbox")
    (again,) = third.flush()
    assert (again.index, again.repeated) == (acknowledgement.index, True)
    assert session.receipts


def test_a_minter_opens_a_directory_by_itself(pool: WorkingPool, tmp_path: Path) -> None:
    """Between its uses somebody else may write; while somebody does, batches wait."""
    job = pool.order()
    key_file = tmp_path / "node.key"
    save_key(key_file, KeyFile(role=KeyRole.NODE, secret=fake_digest("ed25519", "node 0")))
    operator = KeyFile(role=KeyRole.OPERATOR, secret=fake_digest("ed25519", "operator"))
    save_key(pool.ledger.directory.keys / "operator.key", operator)
    pool.ledger.close()
    minter = Minter(pool.ledger.path, key=key_file, model=job.model, clock=pool.clock)
    with minter.session(pool.work_order(job, 0)) as session:
        record(session, 0, 256)
    lock = directory.WriterLock(pool.ledger.directory.lock)
    assert minter.flush() == []
    assert minter.failures == {"BusyError": 1}
    assert minter.waiting == 1
    lock.close()
    assert len(minter.flush()) == 1
    assert session.receipts


def test_a_minter_submits_through_somebody_else(pool: WorkingPool) -> None:
    """Another process writes the ledger all the time: this one only reads it."""
    job = pool.order()
    pool.ledger.close()
    taken: list[Submission] = []

    def desk(submission: Submission) -> Acknowledgement:
        taken.append(submission)
        return Acknowledgement(index=7, leaf_hash=bytes(32), repeated=False)

    minter = Minter(pool.ledger.path, key=pool.nodes[0], model=job.model, clock=pool.clock, submit=desk)
    lock = directory.WriterLock(pool.ledger.directory.lock)
    with minter.session(pool.work_order(job, 0)) as session:
        record(session, 0, 256)
    assert [one.index for one in minter.flush()] == [7]
    lock.close()
    assert (minter.failures, minter.waiting) == ({}, 0)
    assert [one.bodies[0] for one in taken] == [session.receipts[0].encode()]


def test_what_cannot_work_at_all_is_said_at_once(pool: WorkingPool, tmp_path: Path) -> None:
    """Before any layer runs: another node's span, another model, no profile, another role's key."""
    job = pool.order()
    with pytest.raises(RoleError):
        pool.minter(1).session(pool.work_order(job, 0))
    with pytest.raises(RefusedError):
        pool.minter(0, model=fake_digest("other")).session(pool.work_order(job, 0))
    unjudged = pool.order(tag="odd", spans=((0, 3), (3, 4)))
    with pytest.raises(UnknownIdError):
        pool.minter(0).session(pool.work_order(unjudged, 0))
    save_key(tmp_path / "client.key", KeyFile(role=KeyRole.CLIENT, secret=bytes(range(32))))
    with pytest.raises(RoleError):
        pool.minter(0, key=tmp_path / "client.key")


def test_profiles_may_be_handed_in(pool: WorkingPool) -> None:
    unjudged = pool.order(tag="odd", spans=((0, 3), (3, 4)))
    minter = pool.minter(0, profiles={3: pool.model.profiles[2]})
    with minter.session(pool.work_order(unjudged, 0)) as session:
        record(session, 0, 256)
    assert len(session.receipts) == 1


def test_a_node_signs_only_for_what_it_ran(pool: WorkingPool) -> None:
    minter, session = minted(pool, 256)
    (receipt,) = session.receipts
    handover = pool.minter(1).keep_handover(minter.hand_over(receipt))
    assert (handover.sender, handover.boundary, handover.root) == (receipt.node, 2, receipt.output_root)
    with pytest.raises(RoleError):
        pool.minter(1).hand_over(receipt)


def test_batches_are_cut_by_bytes_as_well(pool: WorkingPool, monkeypatch: pytest.MonkeyPatch) -> None:
    """4,096 whole windows are more than one submission may carry."""
    minter, session = minted(pool, 600)
    assert len(session.receipts) == 3
    made = minter._dispatch._pending
    assert [len(part) for part in batching.cut_batches(made, recipients=2)] == [3]
    monkeypatch.setattr(batching, "FRAME_BYTES_MAX", 4_096 + 2 * 112 + 3_000)
    assert [len(part) for part in batching.cut_batches(made, recipients=2)] == [2, 1]
    monkeypatch.undo()
    monkeypatch.setattr(batching, "BATCH_RECEIPTS_MAX", 1)
    assert [len(part) for part in batching.cut_batches(made, recipients=2)] == [1, 1, 1]
    assert list(batching.cut_batches([], recipients=2)) == []


def test_a_whole_batch_fits_one_submission(pool: WorkingPool) -> None:
    """What `cut_batches` allows, `Submission.encode` takes: at most 4 MiB."""
    minter = pool.minter(0)
    with open_session(pool, minter, pool.order()) as session:
        record(session, 0, 256)
    assert session.receipts
    (one,) = minter._dispatch._pending
    portion = next(iter(batching.cut_batches([one] * 5_000, recipients=2)))
    with pool.ledger.read() as state:
        parameters = reading.parameters_in_force(state)
    submission = batching.sign_batch(
        portion,
        key=pool.nodes[0],
        ledger_id=pool.ledger.id,
        parameters=parameters,
        random_bytes=CountedBytes("seal"),
    )
    assert 4_000_000 < len(submission.encode()) <= 4 * 1024 * 1024


def kept(folder: Path, **changes: int) -> KeptInputs:
    return KeptInputs(folder, ledger_id=bytes(32), random_bytes=CountedBytes("kept"), **changes)


def keep(store: KeptInputs, number: int) -> bytes:
    root = fake_digest("root", number)
    rows = to_bf16_bits(ROWS[:4])
    store.keep(
        rows,
        boundary_key=b"k" * 32,
        first_position=256,
        input_root=root,
        recipients=[audit_key(0).public_key],
    )
    return root


def test_kept_inputs_open_for_the_committee_only(tmp_path: Path) -> None:
    store = kept(tmp_path / "kept")
    root = keep(store, 0)
    opened = store.open_inputs(root, audit_key(0))
    assert np.array_equal(opened.rows, to_bf16_bits(ROWS[:4]))
    assert (opened.boundary_key, opened.first_position) == (b"k" * 32, 256)
    with pytest.raises(Exception, match="not sealed to this key"):
        store.open_inputs(root, audit_key(1))


def test_kept_inputs_make_room_for_newer_ones(tmp_path: Path) -> None:
    """The oldest go first, also after a restart; the size on disk stays below the cap."""
    size = (tmp_path / "kept") / keep(kept(tmp_path / "kept"), 0).hex()
    store = kept(tmp_path / "kept", bytes_max=3 * size.stat().st_size)
    for number in range(1, 5):
        keep(store, number)
    left = {path.name for path in (tmp_path / "kept").iterdir()}
    assert left == {fake_digest("root", number).hex() for number in (2, 3, 4)}


def test_kept_inputs_are_forgotten_when_their_window_is_over(tmp_path: Path) -> None:
    store = kept(tmp_path / "kept")
    first, second = keep(store, 0), keep(store, 1)
    store.forget(first)
    assert store.forget_before(0) == 0
    assert store.forget_before(2**50) == 1
    with pytest.raises(StorageError):
        store.open_inputs(second, audit_key(0))
