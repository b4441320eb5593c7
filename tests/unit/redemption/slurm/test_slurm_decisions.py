"""What the reconciler decides where the real daemons cannot be brought to show the case at will."""

from pathlib import Path

import pytest

from creditledger.redemption.queues.slurm.settings import HOUR_MS
from creditledger.redemption.started_jobs import Stage
from unit.redemption.slurm.recorded import HELD, REQUEUED
from unit.redemption.slurm.slurm_desk import START_MS, Desk

ENDED = "test|5|1|COMPLETED|1795421120|1795421150|1795421153|3|cpu=1,gres/gpu=2\n"


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path, shown=[dict(HELD)])


def test_a_paid_job_is_marked_admitted_and_released_in_this_order(desk: Desk) -> None:
    turn = desk.reconciler.turn()
    digest = desk.sale().digest.hex()
    assert desk.told == [
        ("update", "JobId=1", f"AdminComment=creditledger paying: {digest}"),
        ("release", "1"),
        ("update", "JobId=1", f"AdminComment=creditledger paid: {digest}"),
    ]
    assert turn.released == ("1",)
    assert (desk.folder / "paid" / "1.0.0").read_text().splitlines()[1] == digest


def test_a_hold_that_is_not_certified_lets_nothing_run(desk: Desk) -> None:
    desk.purse.is_certified = False
    for _ in range(3):
        (waiting,) = desk.reconciler.turn().waiting
        assert waiting.reason == "its hold is not certified yet"
    assert [words[0] for words in desk.told] == ["update"]
    desk.purse.is_certified = True
    assert desk.reconciler.turn().released == ("1",)


def test_a_job_that_changed_while_its_hold_was_proven_is_sold_anew(desk: Desk) -> None:
    """What it asks for is looked at once more after its member can change nothing any more."""
    desk.purse.is_certified = False
    desk.reconciler.turn()
    desk.purse.is_certified = True
    desk.change("1", tres_req_str="gres/gpu=4")
    turn = desk.reconciler.turn()
    assert [sale.stage for sale in desk.sales.all()] == [Stage.SETTLED, Stage.RUNNING]
    assert (desk.sale().quote.gpus, desk.sale().number, turn.released) == (4, 1, ("1",))


def test_a_job_released_behind_our_back_is_held_again(desk: Desk) -> None:
    desk.purse.is_empty = True
    desk.change("1", priority=1_000)
    desk.reconciler.turn()
    assert desk.told[0][:3] == ("update", "JobId=1", "Priority=0")


def test_a_requeued_job_with_an_old_mark_is_held_and_sold_again(desk: Desk) -> None:
    desk.reconciler.turn()
    desk.start()
    desk.shown = [dict(REQUEUED)]
    desk.told.clear()
    desk.reconciler.turn()
    assert desk.told[0] == (
        "update",
        "JobId=1",
        "Priority=0",
        "AdminComment=creditledger waits: its price is looked up",
    )
    assert [sale.attempt.restarts for sale in desk.sales.open()] == [0, 1]
    desk.rows = "test|5|1|REQUEUED|1795421120|1795421150|1795421153|3|cpu=1,gres/gpu=2\n"
    (settled,) = desk.reconciler.turn().settled
    assert (settled.db_index, settled.ending, settled.gpu_ms) == (5, "requeued", 6_000)


def test_an_attempt_that_waits_too_long_is_held_again_and_sold_anew(desk: Desk) -> None:
    desk.reconciler.turn()
    desk.now = START_MS + 600_000 + desk.settings.start_within_ms
    turn = desk.reconciler.turn()
    assert (turn.settled[0].ending, turn.settled[0].captured_micro) == ("not-started", 0)
    assert not (desk.folder / "started" / "1.0.0").exists()


def test_an_attempt_that_started_in_time_is_not_taken_back(desk: Desk) -> None:
    desk.reconciler.turn()
    desk.start()
    desk.now = START_MS + 600_000 + desk.settings.start_within_ms
    assert desk.reconciler.turn().settled == ()
    assert desk.sale().stage == Stage.RUNNING


def test_a_row_that_never_comes_keeps_the_hold_until_the_ledger_has_ended_it(desk: Desk) -> None:
    desk.reconciler.turn()
    desk.start()
    desk.shown = []
    desk.now = START_MS + 600_000 + 100 * 24 * HOUR_MS
    assert desk.reconciler.turn().settled == ()
    desk.purse.over.add(desk.sale().digest)
    (settled,) = desk.reconciler.turn().settled
    assert (settled.ending, settled.gpu_ms, settled.db_index) == ("lost", 0, None)


def test_a_job_that_ran_although_no_prolog_was_asked_is_charged(desk: Desk) -> None:
    """The marker still lies there: somebody took the prolog out."""
    desk.reconciler.turn()
    desk.change("1", job_state="COMPLETED")
    desk.rows = ENDED
    (settled,) = desk.reconciler.turn().settled
    assert (settled.ending, settled.gpu_ms) == ("completed", 6_000)


def test_a_start_that_the_prolog_refused_is_not_charged(desk: Desk) -> None:
    """The marker is gone and the job did not pass: what accounting shows is the refusal."""
    desk.reconciler.turn()
    (desk.folder / "paid" / "1.0.0").unlink()
    desk.shown = []
    desk.rows = ENDED.replace("COMPLETED", "REQUEUED")
    (settled,) = desk.reconciler.turn().settled
    assert (settled.ending, settled.gpu_ms) == ("not-started", 0)


def test_a_job_of_the_same_number_is_another_one(desk: Desk) -> None:
    """Numbers come round: a row with another submission time says nothing about this attempt."""
    desk.reconciler.turn()
    desk.start()
    desk.shown = []
    desk.rows = ENDED.replace("1795421120", "1695421120")
    assert desk.reconciler.turn().settled == ()
    desk.rows += ENDED.replace("test|5", "test|6")
    (settled,) = desk.reconciler.turn().settled
    assert settled.db_index == 6


def test_another_clusters_row_says_nothing(desk: Desk) -> None:
    desk.reconciler.turn()
    desk.start()
    desk.shown = []
    desk.rows = ENDED.replace("test|", "other|")
    assert desk.reconciler.turn().settled == ()


def test_more_than_was_held_is_not_charged(desk: Desk) -> None:
    desk.reconciler.turn()
    desk.start()
    desk.shown = []
    desk.rows = ENDED.replace("|3|", "|9999|")
    (settled,) = desk.reconciler.turn().settled
    assert settled.gpu_ms == settled.quote.gpus * settled.quote.duration_ms


def test_a_shadow_sees_a_job_that_it_found_running(desk: Desk) -> None:
    desk.purse.is_shadow = True
    desk.change("1", job_state="RUNNING", priority=1_000)
    assert desk.reconciler.turn().settled == ()
    desk.shown = []
    desk.rows = ENDED
    (settled,) = desk.reconciler.turn().settled
    assert (settled.ending, settled.gpu_ms) == ("completed", 6_000)
    assert desk.told == []


def test_jobs_without_our_mark_are_left_alone(desk: Desk) -> None:
    desk.change("1", admin_comment="mine")
    desk.reconciler.turn()
    assert (desk.told, desk.sales.all()) == ([], [])
