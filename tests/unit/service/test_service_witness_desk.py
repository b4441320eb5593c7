"""What a witness answers, in HTTP's terms, and when it must give up."""

import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from creditledger.errors import BusyError, CreditLedgerError, IntegrityError, StorageError
from creditledger.service.witness_desk import WitnessDesk
from creditledger.service.witness_directory import WitnessDirectory
from creditledger.transparency.checkpoint import Checkpoint, sign_checkpoint
from creditledger.transparency.cosignature import note_verifier
from creditledger.transparency.log_list import WatchedLog
from creditledger.transparency.note import open_note
from creditledger.transparency.witness import MemoryWitnessState, Witness
from fakes.small_log import SmallLog
from ledger_pools import START_MS, FixedClock
from witness_processes import race

LOG = SmallLog()
NEXT_KEY = replace(LOG, key="second")
ROUNDS = int(os.environ.get("CREDITLEDGER_WITNESS_ROUNDS", "40"))


class Desk:
    """A desk over a real directory."""

    def __init__(self, path: Path, *logs: WatchedLog, is_ml_dsa: bool = False) -> None:
        WitnessDirectory.create(path, name="witness.example/w", random_bytes=os.urandom)
        self.opened = WitnessDirectory(path)
        if is_ml_dsa:
            self.opened.add_ml_dsa(random_bytes=os.urandom)
        self.failures: list[CreditLedgerError] = []
        self.clock = FixedClock(START_MS)
        self.desk = self.over(self.opened.witness(), *logs)

    def over(self, witness: Witness, *logs: WatchedLog) -> WitnessDesk:
        return WitnessDesk(
            witness, self.opened.state, logs, clock=self.clock, on_failure=self.failures.append
        )

    def add(self, body: bytes) -> tuple[int, bytes]:
        answer = self.desk.add_checkpoint(body)
        return answer.status, answer.content


def watched(log: SmallLog, *, per_day: int = 86_400) -> WatchedLog:
    return WatchedLog(vkey=log.vkey, origin=log.origin, requests_per_day=per_day)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path / "w", watched(LOG), watched(NEXT_KEY))
    yield made
    made.opened.close()


def test_the_kept_note_has_the_lines_of_log_and_witness_alone(desk: Desk) -> None:
    stranger = SmallLog(key="stranger").signer
    note = sign_checkpoint(LOG.head(3), [stranger, LOG.signer])
    request = replace(LOG.request(0, 3), note=note + LOG.signer.sign(LOG.head(3).text).line)
    status, line = desk.add(request.encode())
    assert status == 200
    kept = desk.desk.checkpoint(bytes.fromhex(LOG.digest))
    assert (kept.status, kept.content) == (200, LOG.note(3) + line)


def test_a_repeat_is_kept_at_its_new_time(desk: Desk) -> None:
    _, first = desk.add(LOG.body(0, 3))
    desk.clock.now += 60_000
    status, second = desk.add(LOG.body(3, 3))
    assert (status, first != second) == (200, True)
    assert desk.desk.checkpoint(bytes.fromhex(LOG.digest)).content == LOG.note(3) + second


def test_each_key_of_a_log_counts_until_it_is_taken_off_the_list(desk: Desk) -> None:
    """A log's key rotates: threat L14 from the witness's side."""
    assert desk.add(LOG.body(0, 3))[0] == 200
    assert desk.add(NEXT_KEY.body(3, 5))[0] == 200
    assert desk.add(LOG.body(5, 6))[0] == 200
    desk.desk = desk.over(desk.opened.witness(), watched(NEXT_KEY))
    assert desk.add(LOG.body(6, 7))[0] == 403
    assert desk.add(NEXT_KEY.body(6, 7))[0] == 200


def test_a_second_key_of_the_witness_signs_too(tmp_path: Path) -> None:
    made = Desk(tmp_path / "w", watched(LOG), is_ml_dsa=True)
    status, lines = made.add(LOG.body(0, 3))
    assert (status, lines.count(b"\n")) == (200, 2)
    assert made.opened.second is not None
    for vkey in (made.opened.signer.vkey, made.opened.second.vkey):
        open_note(LOG.note(3) + lines, [note_verifier(vkey)])
    made.opened.close()


def test_a_log_has_so_many_requests_a_day_and_junk_in_its_name_takes_none(tmp_path: Path) -> None:
    made = Desk(tmp_path / "w", watched(LOG, per_day=2))
    for _ in range(5):
        assert made.add(SmallLog(key="stranger").body(0, 3))[0] == 403
    assert made.add(LOG.body(0, 3))[0] == 200
    assert made.add(LOG.body(0, 3))[0] == 409
    refused = made.desk.add_checkpoint(LOG.body(3, 4))
    assert (refused.status, refused.headers["retry-after"]) == (429, "43200")
    made.clock.now += 43_200_000
    assert made.add(LOG.body(3, 4))[0] == 200
    made.opened.close()


class Failing(MemoryWitnessState):
    """Refuses to keep anything."""

    def __init__(self, error: CreditLedgerError) -> None:
        super().__init__()
        self.error = error

    def put(self, origin: str, /, *, expected: Checkpoint | None, new: Checkpoint, note: bytes) -> None:
        raise self.error


@pytest.mark.parametrize(
    ("error", "status", "gives_up"),
    [
        (StorageError("no space"), 507, True),
        (IntegrityError("torn"), 500, True),
        (BusyError("full of readers"), 503, False),
    ],
)
def test_what_cannot_be_kept_is_not_cosigned(
    desk: Desk, error: CreditLedgerError, status: int, gives_up: bool
) -> None:
    witness = Witness(desk.opened.signer, Failing(error))
    desk.desk = desk.over(witness, watched(LOG))
    assert desk.add(LOG.body(0, 3)) == (status, f"{error}\n".encode())
    assert desk.failures == ([error] if gives_up else [])


def test_many_at_once_never_go_back_nor_apart(desk: Desk) -> None:
    """Threat L9: of 64 requests at once for two trees that contradict each other, one tree is cosigned."""
    assert race(desk.add, SmallLog(leaves=()), rounds=ROUNDS) == []


class Blind(MemoryWitnessState):
    """Checks and keeps in two steps, with room between them: what a witness must not do."""

    def get(self, origin: str, /) -> Checkpoint | None:
        seen = super().get(origin)
        time.sleep(0.01)
        return seen

    def put(self, origin: str, /, *, expected: Checkpoint | None, new: Checkpoint, note: bytes) -> None:
        self.latest[origin] = new


def test_a_witness_that_does_not_swap_is_caught(desk: Desk) -> None:
    """The negative control of the race."""
    desk.desk = desk.over(Witness(desk.opened.signer, Blind()), watched(LOG))
    (wrong,) = race(desk.add, SmallLog(leaves=()), rounds=ROUNDS)
    assert "were cosigned" in wrong
