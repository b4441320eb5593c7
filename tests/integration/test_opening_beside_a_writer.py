"""A reader that opens a ledger while another process writes to it."""

import subprocess
import sys
from pathlib import Path

import pytest

from creditledger.ledger.head import HeadFile
from creditledger.ledger.ledger import Ledger
from creditledger.ledger.operator_keys import OperatorAt
from creditledger.transparency.checkpoint import Checkpoint
from ledger_pools import found

ROOT = Path(__file__).parents[2]
APPENDS = """
import sys
sys.path[:0] = sys.argv[2:]
from ledger_pools import FixedClock, registration
from creditledger.ledger.ledger import Ledger
with Ledger.open(sys.argv[1], clock=FixedClock()) as ledger:
    ledger.append(registration(ledger.id, "late"))
"""


def test_what_is_appended_meanwhile_is_no_rollback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Head and store are two files: between looking at one and at the other, a writer may go on."""
    found(tmp_path / "pool").close()
    read = HeadFile.read

    def read_late(self: HeadFile, operator_at: OperatorAt) -> Checkpoint:
        monkeypatch.setattr(HeadFile, "read", read)
        pool, places = str(tmp_path / "pool"), [str(ROOT), str(ROOT / "tests")]
        subprocess.run([sys.executable, "-c", APPENDS, pool, *places], check=True)
        return read(self, operator_at)

    monkeypatch.setattr(HeadFile, "read", read_late)
    with Ledger.open(tmp_path / "pool", read_only=True) as ledger:
        assert ledger.size == 2
