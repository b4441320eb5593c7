"""What the store alone costs: the rows that the rules change, put into LMDB with checksums and committed.

No ledger with these rows can be faster, whatever its rules are written in."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import lmdb
import pytest

from benchmarks.comparison import Comparison
from benchmarks.sample_holds import GROUP, HoldsAndCaptures, Postgres
from benchmarks.sample_payments import Payments
from benchmarks.test_appending_speed import check_signatures, submit
from creditledger.ledger.ledger import Ledger
from creditledger.ledger.lmdb_rows import checksum
from creditledger.ledger.lmdb_store import LmdbStore
from ledger_pools import found

ROUNDS = 7
Rows = Mapping[bytes, bytes | None]


class Rewriter:
    """Puts groups of rows into an LMDB environment, one group a commit."""

    def __init__(self, path: Path, groups: list[Rows]) -> None:
        path.mkdir()
        self._environment = lmdb.open(str(path), map_size=2**30)
        self._groups = iter(groups)

    def put_next(self) -> None:
        with self._environment.begin(write=True) as transaction:
            for key, value in next(self._groups).items():
                if value is None:
                    transaction.delete(key)
                else:
                    transaction.put(key, value + checksum(key, value))


@pytest.fixture
def committed(monkeypatch: pytest.MonkeyPatch) -> list[Rows]:
    """The rows of each commit, as they come."""
    seen: list[Rows] = []
    real = LmdbStore._commit

    def commit(
        store: LmdbStore, transaction: object, moment: int, changes: dict[bytes, bytes | None]
    ) -> None:
        seen.append(dict(changes))
        real(store, transaction, moment, changes)

    monkeypatch.setattr(LmdbStore, "_commit", commit)
    return seen


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with found(tmp_path / "pool", hardware=(HoldsAndCaptures.hardware,)) as opened:
        yield opened


def test_rows_of_transfers(
    compare: Comparison, ledger: Ledger, committed: list[Rows], tmp_path: Path
) -> None:
    payments = Payments(ledger)
    committed.clear()
    groups = [[payments.next() for _ in range(256)] for _ in range(ROUNDS + 1)]
    for group in groups:
        check_signatures(ledger, group)
        submit(ledger, group)
    rewriter = Rewriter(tmp_path / "rows", committed)
    raw = iter([b"".join(one.encode() for one in group) for group in groups])
    with open(tmp_path / "raw", "ab", buffering=0) as file:

        def append_raw() -> None:
            file.write(next(raw))
            os.fdatasync(file.fileno())

        compare(
            "rows of 256 transfers and nothing else",
            rewriter.put_next,
            against="raw append and fdatasync",
            reference=append_raw,
            items=256,
            goal=None,
            rounds=ROUNDS,
        )


def test_rows_of_holds_and_captures(
    compare: Comparison, ledger: Ledger, committed: list[Rows], tmp_path: Path
) -> None:
    pytest.importorskip("psycopg", reason="psycopg is not installed: extra `bench`")
    work = HoldsAndCaptures(ledger, groups=ROUNDS + 1)
    committed.clear()
    for group in work.groups:
        submit(ledger, group)
    rewriter = Rewriter(tmp_path / "rows", committed)
    with Postgres() as postgres:
        compare(
            f"rows of {GROUP:,} holds and captures and nothing else",
            rewriter.put_next,
            against="PostgreSQL, one call a group",
            reference=lambda: postgres.apply(GROUP),
            items=GROUP,
            goal=None,
            rounds=ROUNDS,
        )
