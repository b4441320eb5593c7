"""A process to be killed: appends frames from stdin, prints each line as soon as it is true."""

import sys
from pathlib import Path

from creditledger.ledger.frames import append_frames
from creditledger.ledger.ledger import Ledger


def write_line(line: str) -> None:
    """Out of this process at once: what stays in a buffer was never acknowledged."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    with Ledger.open(Path(sys.argv[1])) as ledger:
        write_line("READY")
        code = append_frames(ledger, sys.stdin.buffer.raw, write_line)
    sys.exit(code)
