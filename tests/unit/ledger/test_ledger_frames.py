"""Streams of frames: one line per durable record, in order, and the exit code."""

import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from creditledger.ledger.frames import GROUP_FRAMES_MAX, append_frames
from creditledger.ledger.ledger import Ledger
from creditledger.ledger.writer import Outcome
from creditledger.records.canonical import FRAME_BYTES_MAX
from creditledger.records.entry import Submission
from ledger_pools import found, registration, signed, signer


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    made = found(tmp_path / "pool")
    yield made
    made.close()


def frame(content: bytes) -> bytes:
    return len(content).to_bytes(4, "big") + content


def alice(ledger: Ledger, name: str = "alice") -> bytes:
    return frame(registration(ledger.id, name).encode())


def feed(ledger: object, stream: bytes) -> tuple[int, list[str]]:
    """Exit code and lines for a stream that arrives through a pipe."""
    reading, writing = os.pipe()
    lines: list[str] = []

    def write() -> None:
        with os.fdopen(writing, "wb") as pipe:
            pipe.write(stream)

    writer = threading.Thread(target=write)
    writer.start()
    with os.fdopen(reading, "rb", buffering=0) as pipe:
        code = append_frames(ledger, pipe, lines.append)  # type: ignore[arg-type]
        while pipe.read(1 << 20):
            pass
    writer.join()
    return code, lines


def ack(ledger: Ledger, index: int) -> str:
    with ledger.snapshot() as snapshot:
        return f"ACK {index} {snapshot.log.node(0, index).hex()}"


def test_every_record_is_acknowledged_in_order(ledger: Ledger) -> None:
    names = [f"party-{number}" for number in range(20)]
    code, lines = feed(ledger, b"".join(alice(ledger, name) for name in names))
    assert code == 0
    assert lines == [ack(ledger, index) for index in range(1, 21)]
    assert [ledger.entry(index).record.name for index in range(1, 21)] == names  # type: ignore[attr-defined]


def test_an_empty_stream_is_a_success(ledger: Ledger) -> None:
    assert feed(ledger, b"") == (0, [])


def test_a_repeat_answers_with_its_first_index(ledger: Ledger) -> None:
    code, lines = feed(ledger, alice(ledger) + alice(ledger, "bob") + alice(ledger))
    assert (code, lines) == (0, [ack(ledger, 1), ack(ledger, 2), ack(ledger, 1)])
    assert feed(ledger, alice(ledger)) == (0, [ack(ledger, 1)])


def test_a_refused_frame_is_named_and_the_stream_goes_on(ledger: Ledger) -> None:
    forged = signed(ledger.id, registration(ledger.id, "eve").record, signer("mallory")).encode()
    stream = alice(ledger) + frame(forged) + frame(b"\xc1") + frame(b"") + alice(ledger, "bob")
    code, lines = feed(ledger, stream)
    assert code == 6
    assert lines == [
        ack(ledger, 1),
        "REFUSED 1 SignatureError",
        "REFUSED 2 MalformedRecordError",
        "REFUSED 3 MalformedRecordError",
        ack(ledger, 2),
    ]


@pytest.mark.parametrize("cut", [1, 3, 4, 5, -1])
def test_a_torn_last_frame_is_a_fault_of_the_caller(ledger: Ledger, cut: int) -> None:
    code, lines = feed(ledger, alice(ledger) + alice(ledger, "bob")[:cut])
    assert (code, lines) == (2, [ack(ledger, 1)])
    assert ledger.size == 2


@pytest.mark.parametrize(("size", "code"), [(FRAME_BYTES_MAX, 6), (FRAME_BYTES_MAX + 1, 2)])
def test_a_frame_has_at_most_4_mib(ledger: Ledger, size: int, code: int) -> None:
    found_code, lines = feed(ledger, alice(ledger) + frame(bytes(size)) + alice(ledger, "bob"))
    assert found_code == code
    expected = (
        [ack(ledger, 1), "REFUSED 1 MalformedRecordError", ack(ledger, 2)] if code == 6 else [ack(ledger, 1)]
    )
    assert lines == expected


class _Counting:
    """Counts the groups that reach the ledger."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self.groups: list[int] = []

    def submit(self, submissions: Sequence[Submission]) -> list[Outcome]:
        self.groups.append(len(submissions))
        return self._ledger.submit(submissions)


def test_what_can_be_read_at_once_is_one_commit(ledger: Ledger, tmp_path: Path) -> None:
    count = GROUP_FRAMES_MAX + 10
    (tmp_path / "frames").write_bytes(b"".join(alice(ledger, f"party-{n}") for n in range(count)))
    counting = _Counting(ledger)
    lines: list[str] = []
    with (tmp_path / "frames").open("rb", buffering=0) as stream:
        assert append_frames(counting, stream, lines.append) == 0
    assert counting.groups == [GROUP_FRAMES_MAX, 10]
    assert len(lines) == count


def test_a_frame_is_answered_before_the_next_one_comes(ledger: Ledger) -> None:
    """Whoever waits for the acknowledgement before sending more is not kept waiting."""
    reading, writing = os.pipe()
    answered = threading.Event()
    lines: list[str] = []

    def write_line(line: str) -> None:
        lines.append(line)
        answered.set()

    def talk() -> None:
        with os.fdopen(writing, "wb", buffering=0) as pipe:
            for name in ("alice", "bob"):
                answered.clear()
                pipe.write(alice(ledger, name))
                if not answered.wait(10):
                    return

    talker = threading.Thread(target=talk)
    talker.start()
    with os.fdopen(reading, "rb", buffering=0) as pipe:
        assert append_frames(ledger, pipe, write_line) == 0
    talker.join()
    assert lines == [ack(ledger, 1), ack(ledger, 2)]
