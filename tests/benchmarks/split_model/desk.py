"""Where a node in another process has its batches logged: frames in, one line for each out.

The operator's end is `ledger.frames.append_frames`, what ``creditledger append --stdin --ack`` runs.
Source: specs/ledger.md §11."""

import socket
from threading import Thread

from creditledger import errors
from creditledger.errors import CreditLedgerError, StorageError
from creditledger.ledger.frames import HEADER_SIZE, append_frames
from creditledger.ledger.ledger import Ledger
from creditledger.ledger.writer import Acknowledgement
from creditledger.records.entry import Submission


def open_desk(ledger: Ledger, line: socket.socket) -> Thread:
    """Log what comes in on ``line`` until its other end closes it."""

    def answer(text: str) -> None:
        line.sendall(text.encode() + b"\n")

    thread = Thread(target=append_frames, args=(ledger, line, answer), daemon=True)
    thread.start()
    return thread


class DeskLine:
    """A node's end of the line."""

    def __init__(self, line: socket.socket) -> None:
        self._line = line
        self._answers = line.makefile("rb")

    def submit(self, submission: Submission) -> Acknowledgement:
        """Have it logged. Raises what the log refused it with, StorageError where nobody answers."""
        frame = submission.encode()
        try:
            self._line.sendall(len(frame).to_bytes(HEADER_SIZE, "big") + frame)
            words = self._answers.readline().decode().split()
        except OSError as error:
            raise StorageError("nobody is at the desk") from error
        match words:
            case ["ACK", index, leaf_hash]:
                return Acknowledgement(index=int(index), leaf_hash=bytes.fromhex(leaf_hash), repeated=False)
            case ["REFUSED", _, name]:
                raise _refusal(name)("the log refused a batch")
        raise StorageError("the desk has closed")


def _refusal(name: str) -> type[CreditLedgerError]:
    found = getattr(errors, name, None)
    return found if isinstance(found, type) and issubclass(found, CreditLedgerError) else StorageError
