"""The published state-machine tables of another two-phase ledger; every row runs or has its reason."""

import json
from collections import Counter
from pathlib import Path

import pytest

from published_vectors import Tally
from state_tables import NOT_APPLICABLE, WHOLE_TABLES, Bank, Row, open_bank, rows_of, why_not

SUITE = "tigerbeetle state machine"
LEFT_OUT = {
    "queries by field": 275,
    "balancing": 189,
    "linked chains": 120,
    "imported events": 53,
    "closing": 51,
    "fields that no record of ours has": 50,
    "forbidden ids": 12,
    "overflows": 7,
    "accounts are registered empty": 5,
    "an unknown account or hold fails no id": 3,
    "a transfer moves more than 0": 3,
    "a queue may hold at itself; a capture has its own id and names a digest": 2,
    "no limit on what an account receives": 2,
    "ids are scoped to their signer, and a capture names no holder": 2,
    "a release names no amount": 2,
}
"""Rows without a counterpart, by reason."""


def run_table(name: str, rows: list[Row], folder: Path, left_out: Counter[str]) -> int:
    """How many rows ran. A failure names table and row."""
    bank: Bank = open_bank(folder, rows)
    ran = 0
    try:
        for number, row in enumerate(rows):
            reason = why_not(row, rows[:number])
            if reason is not None:
                left_out[reason] += 1
                continue
            try:
                bank.run(row)
            except Exception as error:
                pytest.fail(f"{name}, row {number}: {' '.join(row.words)}: {error!r}")
            ran += 1
    finally:
        bank.ledger.close()
    return ran


def test_every_row_that_has_a_counterpart_gives_its_status(
    vectors: Path, memory_path: Path, ran: Tally
) -> None:
    """Precedence among their own checks aside: ours is specs/credits.md §13."""
    file = vectors / "tigerbeetle-state-machine" / "state_machine_tables.json"
    tables = json.loads(file.read_text("utf-8"))
    count, all_rows, left_out = 0, 0, Counter[str]()
    for name, variants in tables.items():
        whole = next((reason for part, reason in WHOLE_TABLES.items() if part in name), None)
        for number, lines in enumerate(variants):
            rows = rows_of(lines)
            all_rows += len(rows)
            if whole is not None:
                left_out[whole] += len(rows)
                continue
            if not rows:
                continue
            count += run_table(f"{name}/{number}", rows, memory_path / str(all_rows), left_out)
    assert set(left_out) == {*WHOLE_TABLES.values(), *NOT_APPLICABLE.values()}
    assert {reason.partition(":")[0]: count for reason, count in left_out.items()} == LEFT_OUT
    assert count + left_out.total() == all_rows
    ran(SUITE, count, f"{left_out.total()} rows have no counterpart")
