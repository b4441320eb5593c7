"""Submissions as a stream of frames, each answered once it is durable. Source: specs/ledger.md §11."""

import os
import select
from collections.abc import Callable, Iterator, Sequence
from typing import Final, Protocol

from creditledger.errors import CreditLedgerError, MalformedRecordError
from creditledger.ledger.writer import Acknowledgement, Outcome
from creditledger.records.canonical import FRAME_BYTES_MAX
from creditledger.records.entry import Submission

GROUP_FRAMES_MAX: Final = 256
HEADER_SIZE: Final = 4
_READ_SIZE: Final = 1024 * 1024


class Submitting(Protocol):
    """What takes groups of submissions: a `Ledger`."""

    def submit(self, submissions: Sequence[Submission]) -> list[Outcome]: ...


class Stream(Protocol):
    """A binary input with a file descriptor; nothing may have been read into a buffer of its own."""

    def fileno(self) -> int: ...


def append_frames(ledger: Submitting, stream: Stream, write_line: Callable[[str], None]) -> int:
    """Log every frame of ``stream`` and answer each with one line, in order; the exit code.

    A frame is u32be length and that many bytes of `Submission.encode`, at most 4 MiB. The lines are
    ``ACK <index> <leaf hash hex>`` for a durable record, a repeat's with its first index, and
    ``REFUSED <ordinal> <error name>`` for one that is not logged, counting frames from 0.
    ``write_line`` must flush. Returns 0; 6 if any frame was refused; 2 if the last frame is torn or
    one is too long, which ends the stream. Storage errors pass through. Source: specs/ledger.md §11."""
    frames = _Frames(stream)
    ordinal, refused = 0, False
    for group in frames.groups():
        for outcome in _submit(ledger, group):
            write_line(_line(outcome, ordinal))
            refused |= not isinstance(outcome, Acknowledgement)
            ordinal += 1
    if frames.is_torn:
        return MalformedRecordError.exit_code
    return 6 if refused else 0


def _submit(ledger: Submitting, group: Sequence[bytes]) -> list[Outcome]:
    decoded = [_decode(frame) for frame in group]
    submissions = [item for item in decoded if isinstance(item, Submission)]
    logged = iter(ledger.submit(submissions) if submissions else [])
    return [next(logged) if isinstance(item, Submission) else item for item in decoded]


def _decode(frame: bytes) -> Submission | CreditLedgerError:
    try:
        return Submission.decode(frame)
    except CreditLedgerError as error:
        return error


def _line(outcome: Outcome, ordinal: int) -> str:
    if isinstance(outcome, Acknowledgement):
        return f"ACK {outcome.index} {outcome.leaf_hash.hex()}"
    return f"REFUSED {ordinal} {type(outcome).__name__}"


class _Frames:
    """Cuts the stream; a group is what can be read without waiting, at least one frame."""

    def __init__(self, stream: Stream) -> None:
        self._descriptor = stream.fileno()
        self._buffer = bytearray()
        self._has_ended = False
        self.is_torn = False
        """The stream ended inside a frame, or announced one that is too long."""

    def groups(self) -> Iterator[list[bytes]]:
        while not (self._has_ended and not self._buffer) and not self.is_torn:
            group = self._whole_frames()
            if group:
                yield group
            elif self._has_ended:
                self.is_torn = bool(self._buffer)
            elif not self.is_torn:
                self._read()

    def _whole_frames(self) -> list[bytes]:
        group: list[bytes] = []
        while len(group) < GROUP_FRAMES_MAX:
            frame = self._cut()
            if frame is not None:
                group.append(frame)
            elif self.is_torn or self._has_ended or not self._is_readable() or not group:
                break
            else:
                self._read()
        return group

    def _cut(self) -> bytes | None:
        if len(self._buffer) < HEADER_SIZE:
            return None
        size = int.from_bytes(self._buffer[:HEADER_SIZE], "big")
        if size > FRAME_BYTES_MAX:
            self.is_torn = True
            return None
        if len(self._buffer) < HEADER_SIZE + size:
            return None
        frame = bytes(self._buffer[HEADER_SIZE : HEADER_SIZE + size])
        del self._buffer[: HEADER_SIZE + size]
        return frame

    def _is_readable(self) -> bool:
        readable, _, _ = select.select([self._descriptor], [], [], 0)
        return bool(readable)

    def _read(self) -> None:
        chunk = os.read(self._descriptor, _READ_SIZE)
        self._has_ended = not chunk
        self._buffer += chunk
