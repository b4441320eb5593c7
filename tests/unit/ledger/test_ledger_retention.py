"""What was sealed is erased once nobody may ask for it, and not before. Source: specs/ledger.md §15."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from creditledger.credits import confirmation, reading
from creditledger.credits.state import MemoryState, State
from creditledger.errors import StorageError
from creditledger.ledger.audit import audit
from creditledger.ledger.fsck import fsck
from creditledger.ledger.retention import KEPT_MS_MIN, Erased, erase_ended, is_over
from creditledger.minting.handover import HANDOVER_SUFFIX
from creditledger.records.job import Job
from creditledger.records.receipt import Receipt
from creditledger.records.verdict import Outcome
from creditledger.validation.evidence import brought_name
from fakes.cast import HOUR_MS
from fakes.working_pool import Kernel, WorkingPool

MakePool = Callable[..., WorkingPool]
NOTHING = Erased(sealed=0, evidence=0, freed_bytes=0, kept=0)


def worked(
    pool: WorkingPool, *, tag: object = 0, kernels: Mapping[int, Kernel] | None = None
) -> tuple[Job, dict[int, list[Receipt]]]:
    """A job that was run, delivered, checked and settled."""
    job = pool.order(tag=tag)
    receipts = pool.run(job, kernels=kernels)
    pool.deliver(receipts)
    pool.check()
    assert len(pool.ledger.settle_due()) == 1
    return job, receipts


def kept(pool: WorkingPool) -> list[Path]:
    folders = (pool.ledger.directory.sealed, pool.ledger.directory.evidence)
    return sorted(path for folder in folders if folder.is_dir() for path in folder.iterdir())


def erased_after(pool: WorkingPool, wait_ms: int) -> Erased:
    """What a run erases once the witness has dated the log so much later."""
    pool.clock.now += wait_ms
    pool.ledger.publish()
    return erase_ended(pool.ledger, clock=pool.clock)


def test_all_of_a_settled_job_goes_when_its_window_is_over(pool: WorkingPool) -> None:
    """A millisecond before, nothing does. What is gone is no fault: not to fsck, and no audit asks."""
    worked(pool)
    before = kept(pool)
    assert len(before) == 4
    size = sum(path.stat().st_size for path in before)
    # The witness dates whole seconds.
    assert erased_after(pool, KEPT_MS_MIN - 1_000) == Erased(sealed=0, evidence=0, freed_bytes=0, kept=4)
    assert kept(pool) == before
    assert erased_after(pool, 1_000) == Erased(sealed=2, evidence=2, freed_bytes=size, kept=0)
    assert kept(pool) == []
    assert erased_after(pool, 0) == NOTHING
    pool.check()
    assert fsck(pool.ledger.path).problem == ""
    assert audit(pool.ledger.path, now_unix_ms=pool.clock.now).error is None


def test_handovers_go_with_their_inputs(pool: WorkingPool) -> None:
    _, receipts = worked(pool)
    evidence = pool.ledger.directory.evidence
    (evidence / f"{receipts[1][0].input_root.hex()}.handover").write_bytes(b"signed")
    (evidence / f"{'ab' * 32}.handover").write_bytes(b"of nothing logged")
    (evidence / ".building-x").write_bytes(b"half")
    found = erased_after(pool, KEPT_MS_MIN)
    assert (found.sealed, found.evidence, found.kept) == (2, 3, 1)
    assert [path.name for path in kept(pool)] == [".building-x", f"{'ab' * 32}.handover"]


def test_what_accounts_brought_to_the_pool_goes_too(pool: WorkingPool) -> None:
    """Inputs and handovers with an account's name on them are those of the root that they begin with."""
    _, receipts = worked(pool)
    evidence, node = pool.ledger.directory.evidence, pool.nodes[1].public_key
    root = receipts[1][0].input_root
    (evidence / brought_name(root, node)).write_bytes(b"sealed")
    (evidence / brought_name(root, node, suffix=HANDOVER_SUFFIX)).write_bytes(b"signed")
    (evidence / brought_name(b"?" * 32, node)).write_bytes(b"of nothing logged")
    found = erased_after(pool, KEPT_MS_MIN)
    assert (found.sealed, found.evidence, found.kept) == (2, 4, 1)
    assert [path.name for path in kept(pool)] == [brought_name(b"?" * 32, node)]


@pytest.mark.parametrize(("vesting_ms", "window"), [(0, KEPT_MS_MIN), (3 * KEPT_MS_MIN, 3 * KEPT_MS_MIN)])
def test_the_window_is_the_vesting_time_and_a_day_at_least(
    make_pool: MakePool, vesting_ms: int, window: int
) -> None:
    pool = make_pool(vesting_ms=vesting_ms)
    worked(pool)
    assert erased_after(pool, window - 1_000).sealed == 0
    assert erased_after(pool, 1_000).sealed == 2


def test_a_job_under_way_keeps_its_own_and_its_batch(pool: WorkingPool) -> None:
    """Two jobs in one batch: the box is of both, the inputs of each are its own."""
    minters = {index: pool.minter(index) for index in (0, 1)}
    done, open_job = pool.order(tag="done"), pool.order(tag="open")
    receipts = pool.run(done, minters=minters, flush=False)
    pool.run(open_job, minters=minters, flush=True)
    pool.deliver(receipts)
    pool.check()
    assert len(pool.ledger.settle_due()) == 1
    found = erased_after(pool, 30 * KEPT_MS_MIN)
    assert (found.sealed, found.evidence, found.kept) == (0, 2, 4)
    pool.ledger.expire_due()
    assert erased_after(pool, KEPT_MS_MIN).sealed == 2


def unpaid(pool: WorkingPool) -> None:
    """A job that was run and never delivered: its hold has expired."""
    pool.run(pool.order())
    pool.clock.now += 2 * HOUR_MS
    assert len(pool.ledger.expire_due()) == 1


def test_an_unpaid_job_is_kept_until_it_was_drawn_and_judged(pool: WorkingPool) -> None:
    """A round that nobody has seen yet may still draw its receipts."""
    unpaid(pool)
    assert erased_after(pool, 2 * KEPT_MS_MIN).kept == 4
    pool.certify()
    assert erased_after(pool, 0).kept == 4
    pool.step()
    assert erased_after(pool, 0).kept == 4
    pool.step()
    found = erased_after(pool, 0)
    assert (found.sealed, found.evidence, found.kept) == (2, 2, 0)


def test_an_expired_jobs_window_begins_when_its_hold_ends(pool: WorkingPool) -> None:
    unpaid(pool)
    pool.check()
    assert erased_after(pool, KEPT_MS_MIN - 1_000).sealed == 0
    assert erased_after(pool, 1_000).sealed == 2


@pytest.mark.parametrize(("validators", "is_suspended"), [(1, False), (2, True)])
def test_a_suspended_nodes_refuted_receipts_stay(
    make_pool: MakePool, validators: int, is_suspended: bool
) -> None:
    """A quorum has yet to decide what the node loses. One refutation suspends nobody."""
    pool = make_pool(validators=validators)
    _, receipts = worked(pool, kernels={1: pool.model.noise})
    assert pool.receipt_state(receipts[1][0]).outcome == Outcome.REFUTED
    assert (erased_after(pool, 30 * KEPT_MS_MIN).sealed == 0) == is_suspended


def test_whoever_the_next_round_may_draw_is_waited_for(pool: WorkingPool) -> None:
    """Rule set 3 asks confirmers and second looks of a later round."""
    job, receipts = worked(pool)
    copy = MemoryState()
    with pool.ledger.read() as state:
        for key, value in state.scan(b""):
            copy.put(key, value)
    digest, job_digest = receipts[0][0].digest(pool.ledger.id), job.digest(pool.ledger.id)

    def over() -> bool:
        return is_over(copy, job_digest, ended_ms=0, now_unix_ms=KEPT_MS_MIN)

    assert over()
    confirmation.await_second_look(State(copy), digest)
    assert reading.awaits_validator(copy, digest)
    assert not over()
    confirmation.forget_second_look(State(copy), digest)
    assert over()
    confirmation.await_confirmer(State(copy), digest)
    assert not over()
    assert not is_over(copy, bytes(32), ended_ms=0, now_unix_ms=KEPT_MS_MIN)


def test_a_clock_that_runs_ahead_erases_nothing(pool: WorkingPool) -> None:
    """The witnesses' word counts, and the machine's own where it is behind."""
    worked(pool)
    pool.ledger.publish()
    assert erase_ended(pool.ledger, clock=lambda: pool.clock.now + 99 * KEPT_MS_MIN).kept == 4
    pool.clock.now += 2 * KEPT_MS_MIN
    pool.ledger.publish()
    assert erase_ended(pool.ledger, clock=lambda: pool.clock.now - 2 * KEPT_MS_MIN).kept == 4
    assert erase_ended(pool.ledger, clock=pool.clock).kept == 0


def test_what_stops_halfway_is_done_again(pool: WorkingPool, monkeypatch: pytest.MonkeyPatch) -> None:
    worked(pool)
    unlink, left = Path.unlink, [1]

    def failing(path: Path, missing_ok: bool = False) -> None:
        if not left:
            raise OSError(5, "Input/output error")
        left.pop()
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", failing)
    with pytest.raises(StorageError):
        erased_after(pool, KEPT_MS_MIN)
    monkeypatch.undo()
    assert len(kept(pool)) == 3
    found = erased_after(pool, 0)
    assert found.sealed + found.evidence == 3
    assert kept(pool) == []
