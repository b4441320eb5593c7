"""What validators said, read back from the log and from a journal."""

from collections.abc import Callable
from pathlib import Path

import pytest

from creditledger.errors import IntegrityError, RoleError, StorageError
from creditledger.records.verdict import Outcome, Reason
from creditledger.validation.check_history import measured_verdicts, revealed_verdicts
from creditledger.validation.journal import read_verdicts
from fakes.working_pool import WorkingPool

MakePool = Callable[..., WorkingPool]


def judged(pool: WorkingPool) -> WorkingPool:
    """Node 0 honest, node 1 with int4 weights; both judged by both validators."""
    receipts = pool.run(pool.order(), kernels={1: pool.model.degraded("int4")})
    pool.deliver(receipts)
    pool.check()
    return pool


def test_every_revealed_verdict_names_its_node(pool: WorkingPool) -> None:
    assert list(revealed_verdicts(pool.ledger)) == []
    found = list(revealed_verdicts(judged(pool).ledger))
    assert [verdict.round for verdict in found] == sorted(verdict.round for verdict in found)
    outcomes = {(verdict.node, verdict.outcome, verdict.reason) for verdict in found}
    honest, cheat = (node.public_key for node in pool.nodes)
    assert outcomes == {
        (honest, Outcome.UPHELD, Reason.MATCH),
        (cheat, Outcome.REFUTED, Reason.RATIO),
    }
    assert len(found) == 4


def test_a_journal_has_the_ratios_that_decided(pool: WorkingPool) -> None:
    """Read beside its validator, who has it locked."""
    judged(pool)
    with pool.ledger.read() as state:
        journal = read_verdicts(pool.folder / "journal-0", ledger_id=pool.ledger.id)
        found = list(measured_verdicts(state, journal))
    assert {verdict.revealed for verdict in found} <= set(revealed_verdicts(pool.ledger))
    by_outcome = {verdict.revealed.outcome: verdict for verdict in found}
    assert len(found) == 2
    assert 0.3 < by_outcome[Outcome.UPHELD].ratio < by_outcome[Outcome.UPHELD].threshold
    assert by_outcome[Outcome.REFUTED].ratio > 5 * by_outcome[Outcome.REFUTED].threshold
    assert by_outcome[Outcome.UPHELD].threshold == pytest.approx(1.104, abs=1e-3)


def test_a_journal_of_another_ledger_is_refused(pool: WorkingPool) -> None:
    judged(pool)
    with pytest.raises(RoleError, match="another ledger"):
        list(read_verdicts(pool.folder / "journal-0", ledger_id=bytes(32)))


def test_a_damaged_journal_is_refused(pool: WorkingPool) -> None:
    judged(pool)
    (file,) = (pool.folder / "journal-0").glob("verdicts-*")
    content = bytearray(file.read_bytes())
    content[20] ^= 1
    file.chmod(0o600)
    file.write_bytes(content)
    with pytest.raises(IntegrityError, match="damaged"):
        list(read_verdicts(pool.folder / "journal-0", ledger_id=pool.ledger.id))


def test_no_journal_is_a_storage_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError):
        list(read_verdicts(tmp_path, ledger_id=bytes(32)))
