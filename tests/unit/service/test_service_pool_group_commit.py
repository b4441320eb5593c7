"""Shares of a group: each gets its own outcomes, and what fails fails for all of them."""

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from creditledger.credits.state import StateView
from creditledger.errors import BusyError, CreditLedgerError, StorageError
from creditledger.ledger.writer import Acknowledgement, Outcome
from creditledger.records.entry import Submission
from creditledger.service.pool import group_commit
from creditledger.service.pool.event_log import EventLog
from creditledger.service.pool.group_commit import Commit, GroupCommit
from creditledger.service.pool.steward import Steward
from ledger_pools import FixedClock, found, grant, registration


class Desk:
    """A group commit whose thread waits until it is told to begin."""

    def __init__(self, path: Path) -> None:
        self.ledger = found(path, FixedClock())
        self.failures: list[CreditLedgerError] = []
        self.commits: list[Commit] = []
        self.steward = Steward(self.ledger, events=EventLog(None), on_failure=self.failures.append)
        self.group = GroupCommit(self.steward, on_commit=self.commits.append)

    def registrations(self, *names: str) -> list[Submission]:
        return [registration(self.ledger.id, name) for name in names]


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path / "pool")
    yield made
    made.ledger.close()


def test_what_waits_together_is_one_commit_and_each_hears_of_its_own(desk: Desk) -> None:
    size = desk.ledger.size
    seen: list[Sequence[Outcome]] = []
    first = desk.group.submit(desk.registrations("a", "b"), size=10)
    forged = [grant(b"\7" * 32, "a", 1)]
    second = desk.group.submit(forged, size=10, also=lambda kept, own: seen.append(own))
    third = desk.group.submit(desk.registrations("a"), size=10)
    assert desk.group.waiting == 4
    desk.group.start()
    desk.group.stop()
    assert [one.index for one in first.result() if isinstance(one, Acknowledgement)] == [size, size + 1]
    assert seen == [second.result()]
    assert [type(one).__name__ for one in second.result()] == ["SignatureError"]
    assert [one.repeated for one in third.result() if isinstance(one, Acknowledgement)] == [True]
    (commit,) = desk.commits
    assert (commit.logged, commit.repeated, commit.refused, commit.requests) == (2, 1, 1, 3)


def test_a_group_ends_where_it_is_full(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_commit, "GROUP_SUBMISSIONS_MAX", 2)
    answers = [desk.group.submit(desk.registrations(f"n{number}"), size=1) for number in range(5)]
    large = desk.group.submit(desk.registrations("x", "y", "z"), size=group_commit.GROUP_BYTES_MAX + 1)
    desk.group.start()
    desk.group.stop()
    assert [commit.logged for commit in desk.commits] == [2, 2, 1, 3]
    assert all(answer.done() for answer in (*answers, large))


def test_too_much_waiting_is_busy_at_once(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_commit, "WAITING_SUBMISSIONS_MAX", 2)
    desk.group.submit(desk.registrations("a", "b"), size=1)
    with pytest.raises(BusyError, match="too many"):
        desk.group.submit(desk.registrations("c"), size=1)
    desk.group.start()
    desk.group.stop()
    with pytest.raises(BusyError, match="ending"):
        desk.group.submit(desk.registrations("d"), size=1)


def test_what_fails_fails_for_the_whole_group_and_ends_the_server(desk: Desk) -> None:
    """Nothing of it may be believed logged."""

    def fail(kept: StateView, outcomes: Sequence[Outcome]) -> None:
        raise StorageError("the disk is gone")

    size = desk.ledger.size
    shares = [desk.group.submit(desk.registrations("a"), size=1)]
    shares.append(desk.group.submit(desk.registrations("b"), size=1, also=fail))
    desk.group.start()
    for share in shares:
        with pytest.raises(StorageError, match="gone"):
            share.result(timeout=30)
    with pytest.raises(BusyError, match="stopping"):
        desk.group.submit(desk.registrations("c"), size=1).result(timeout=30)
    desk.group.stop()
    assert [str(error) for error in desk.failures] == ["the disk is gone"]
    assert (desk.ledger.size, desk.commits) == (size, [])


def test_nobody_waits_for_company(desk: Desk) -> None:
    desk.group.start()
    done = threading.Event()
    desk.group.submit(desk.registrations("a"), size=1).add_done_callback(lambda _: done.set())
    assert done.wait(10)
    desk.group.stop()


def test_a_reader_of_the_same_ledger_is_not_in_the_way(desk: Desk) -> None:
    with desk.ledger.snapshot() as before:
        desk.group.start()
        desk.group.submit(desk.registrations("a"), size=1).result(timeout=30)
        assert before.log.size + 1 == desk.ledger.size
    desk.group.stop()


def test_who_has_gone_before_the_commit_is_left_out_and_nobody_else_is(desk: Desk) -> None:
    """A request that ran out of time; the thread goes on, and a repeat finds nothing."""
    gone = desk.group.submit(desk.registrations("a"), size=1)
    assert gone.cancel()
    desk.group.start()
    kept = desk.group.submit(desk.registrations("b"), size=1)
    assert isinstance(kept.result(timeout=30)[0], Acknowledgement)
    assert not kept.cancel()
    again = desk.group.submit(desk.registrations("a"), size=1).result(timeout=30)
    assert [one.repeated for one in again if isinstance(one, Acknowledgement)] == [False]
    assert desk.group.waiting == 0
    desk.group.stop()
