"""Written down first, delivered exactly once. Source: specs/minting.md §5."""

import os
from pathlib import Path

import pytest

from creditledger.errors import BusyError, InsufficientCreditError, StorageError
from creditledger.ledger import directory
from creditledger.ledger.writer import Acknowledgement
from creditledger.minting.outbox import MemoryOutbox, Outbox, one_by_one
from creditledger.records.entry import Submission
from fakes.cast import Papers, ed25519, pool_genesis, pool_parameters

PAPERS = Papers(genesis=pool_genesis(pool_parameters()))
PAYER = ed25519("payer")


def submission(number: int) -> Submission:
    return PAPERS.transfer(PAYER, ed25519("payee").public_key, number + 1)


class FakeLog:
    """Answers a repeat with its first index, as a ledger does."""

    def __init__(self) -> None:
        self.logged: list[Submission] = []
        self.error: Exception | None = None
        self.dies_after_logging = False

    def submit(self, one: Submission) -> Acknowledgement:
        if self.error is not None:
            raise self.error
        repeated = one in self.logged
        if not repeated:
            self.logged.append(one)
        if self.dies_after_logging:
            raise KeyboardInterrupt
        return Acknowledgement(index=self.logged.index(one), leaf_hash=bytes(32), repeated=repeated)


@pytest.fixture(params=["disk", "memory"])
def queue(request: pytest.FixtureRequest, tmp_path: Path) -> Outbox | MemoryOutbox:
    return Outbox(tmp_path / "outbox") if request.param == "disk" else MemoryOutbox()


def test_delivers_in_order_and_forgets(queue: Outbox | MemoryOutbox) -> None:
    log = FakeLog()
    for number in range(12):
        queue.put(submission(number))
    done = queue.deliver(one_by_one(log.submit))
    assert [one.index for one in done.acknowledgements] == list(range(12))
    assert log.logged == [submission(number) for number in range(12)]
    assert len(queue) == 0
    assert queue.deliver(one_by_one(log.submit)).acknowledgements == []


def test_what_cannot_be_delivered_now_waits_with_all_behind_it(queue: Outbox | MemoryOutbox) -> None:
    """The order of a chain is kept: nothing overtakes."""
    log = FakeLog()
    queue.put(submission(0))
    queue.put(submission(1))
    log.error = BusyError("away")
    done = queue.deliver(one_by_one(log.submit))
    assert (done.acknowledgements, done.stopped_by, len(queue)) == ([], log.error, 2)
    log.error = None
    assert len(queue.deliver(one_by_one(log.submit)).acknowledgements) == 2
    assert log.logged == [submission(0), submission(1)]


def test_what_is_refused_is_not_sent_again(queue: Outbox | MemoryOutbox) -> None:
    log = FakeLog()
    queue.put(submission(0))
    log.error = InsufficientCreditError("no")
    assert queue.deliver(one_by_one(log.submit)).refused == [(submission(0), log.error)]
    log.error = None
    assert len(queue) == 0
    assert queue.deliver(one_by_one(log.submit)).acknowledgements == []


def test_a_restart_delivers_what_waited(tmp_path: Path) -> None:
    log = FakeLog()
    Outbox(tmp_path / "outbox").put(submission(0))
    again = Outbox(tmp_path / "outbox")
    again.put(submission(1))
    assert len(Outbox(tmp_path / "outbox").deliver(one_by_one(log.submit)).acknowledgements) == 2
    assert log.logged == [submission(0), submission(1)]


def test_stopped_between_log_and_removal_it_is_logged_once(tmp_path: Path) -> None:
    """The repeat answers with the first index."""
    log = FakeLog()
    Outbox(tmp_path / "outbox").put(submission(0))
    log.dies_after_logging = True
    with pytest.raises(KeyboardInterrupt):
        Outbox(tmp_path / "outbox").deliver(one_by_one(log.submit))
    log.dies_after_logging = False
    again = Outbox(tmp_path / "outbox")
    assert len(again) == 1
    (answer,) = again.deliver(one_by_one(log.submit)).acknowledgements
    assert (answer.index, answer.repeated) == (0, True)
    assert len(log.logged) == 1
    assert len(again) == 0


def test_numbers_are_not_used_twice_while_a_refused_one_is_kept(tmp_path: Path) -> None:
    """The refused file stays for people, and never blocks a later one."""
    log = FakeLog()
    outbox = Outbox(tmp_path / "outbox")
    outbox.put(submission(0))
    log.error = InsufficientCreditError("no")
    outbox.deliver(one_by_one(log.submit))
    log.error = None
    again = Outbox(tmp_path / "outbox")
    again.put(submission(1))
    again.deliver(one_by_one(log.submit))
    assert [path.suffix for path in (tmp_path / "outbox").iterdir()] == [".refused"]
    assert log.logged == [submission(1)]


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outbox = Outbox(tmp_path / "outbox")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr(directory.os, "fsync", full)
        with pytest.raises(StorageError):
            outbox.put(submission(0))
    assert list((tmp_path / "outbox").iterdir()) == []
    outbox.put(submission(0))
    assert len(outbox) == 1


def test_files_of_others_are_left_alone(tmp_path: Path) -> None:
    """Among them what a crash left half written."""
    outbox = Outbox(tmp_path / "outbox")
    (tmp_path / "outbox" / ".building-0001.submission-ab12").write_bytes(b"torn")
    (tmp_path / "outbox" / "notes.submission").write_bytes(b"mine")
    outbox.put(submission(0))
    assert len(outbox.deliver(one_by_one(FakeLog().submit)).acknowledgements) == 1
    assert len(os.listdir(tmp_path / "outbox")) == 2
