"""Published logs of batches, and what auditing one is measured against, for benchmarks.

``python -m tests.benchmarks.sample_audits POOL NOW`` audits a pool in a process of its own and prints the
entries that it found and the most memory it took, in MiB."""

import sys
from hashlib import sha256
from pathlib import Path
from typing import Final

from creditledger.ledger.audit import audit
from creditledger.ledger.ledger import Acknowledgement
from creditledger.ledger.stored_log import decode_bodies
from creditledger.records.receipt import Receipt
from creditledger.transparency.keys import verify_ed25519

RECEIPTS: Final = 512
"""In a batch."""
BATCHES: Final = 8


def published_pool(path: Path, *, batches: int) -> Path:
    """A pool whose log has so many batches of `RECEIPTS`."""
    from ledger_pools import Work, found

    with found(path) as ledger:
        work = Work(ledger, positions=256 * RECEIPTS * batches)
        work.begin()
        for _ in range(batches):
            (outcome,) = ledger.submit([work.batch(RECEIPTS)])
            if not isinstance(outcome, Acknowledgement):
                raise outcome
        ledger.publish()
    return path


def published_receipts(pool: Path) -> list[bytes]:
    """All receipts' bytes, as they lie in the published bodies."""
    found: list[bytes] = []
    for file in sorted((pool / "public" / "batch").iterdir()):
        found.extend(decode_bodies(file.read_bytes()))
    return [body for body in found if len(body) > 200]


def hash_published(pool: Path) -> None:
    """Read every published file and hash every leaf: no replay can do less."""
    for file in (pool / "public" / "tile").rglob("*"):
        if file.is_file():
            sha256(file.read_bytes()).digest()
    for body in published_receipts(pool):
        sha256(b"\0" + body).digest()


def verify_each(pool: Path, *, count: int) -> None:
    """What each receipt would cost if each bore a signature: decode it, check one."""
    from benchmarks.sample_receipts import NODE

    signature = NODE.sign(b"receipt")
    for body in published_receipts(pool)[:count]:
        Receipt.decode(body)
        verify_ed25519(public_key=NODE.public_key, message=b"receipt", signature=signature)


def main() -> None:
    """Audit, and say what memory that took."""
    pool = Path(sys.argv[1])
    report = audit(pool, now_unix_ms=int(sys.argv[2]))
    if report.error is not None:
        raise report.error
    # Not `getrusage`: it counts what the parent had when it forked.
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    print(report.entries, int(status["VmHWM"].split()[0]) // 1024)


if __name__ == "__main__":
    main()
