"""The operator's canaries on disk: planted before a round, opened when judged, before anything is paid."""

from pathlib import Path

import pytest

from creditledger.credits import reading
from creditledger.credits.canary_rules import CanaryCounts
from creditledger.errors import ConflictError, RefusedError, UnknownIdError
from creditledger.ledger.canaries import Canaries, require_logged
from creditledger.records.receipt import Receipt
from creditledger.records.state import ReceiptState
from creditledger.records.verdict import Outcome
from fakes.committee import fake_digest
from fakes.shown_pool import ShownPool


class Planted:
    """A pool with one job, delivered and not in a round yet."""

    def __init__(self, folder: Path) -> None:
        self.pool = ShownPool(folder / "ledger", rule_set=3, vesting_ms=0)
        self.folder = self.pool.ledger.directory.canaries
        self.canaries = Canaries(self.folder)
        self.salts = iter(fake_digest("salt", number) for number in range(9))
        self.receipt = self.work("first")

    def work(self, tag: str) -> bytes:
        job = self.pool.order(tag, self.pool.node)
        chain: list[Receipt] = self.pool.work(job)[0]
        self.pool.deliver(chain)
        return chain[0].digest(self.pool.ledger.id)

    def plant(self, receipt: bytes) -> None:
        self.canaries.plant(self.pool.ledger, receipt, random_bytes=lambda count: next(self.salts)[:count])

    def open(self) -> int:
        with self.pool.ledger.read() as state:
            return len(self.canaries.open_judged(self.pool.ledger, state))

    def counts(self) -> CanaryCounts:
        with self.pool.ledger.read() as state:
            return reading.canary_counts(state)

    def state(self, receipt: bytes) -> ReceiptState:
        with self.pool.ledger.read() as state:
            found = reading.receipt_state(state, receipt)
        assert found is not None
        return found


@pytest.fixture
def planted(tmp_path: Path) -> Planted:
    return Planted(tmp_path)


def test_settling_opens_canaries_first_so_that_none_is_paid(planted: Planted) -> None:
    honest = planted.work("honest")
    planted.plant(planted.receipt)
    planted.canaries.plant_nothing(planted.pool.ledger, random_bytes=lambda count: bytes(count))
    assert planted.open() == 0
    planted.pool.certify()
    planted.pool.judge()
    assert len(planted.pool.ledger.settle_due()) == 2
    assert planted.state(planted.receipt).outcome == Outcome.REFUTED
    assert planted.state(honest).outcome == Outcome.UPHELD
    assert planted.counts() == CanaryCounts(committed=2, opened=1)
    assert list(planted.folder.iterdir()) == []
    with planted.pool.ledger.read() as state:
        paid = reading.lot_state(state, planted.state(planted.receipt).job, 0)
        assert paid is None
        assert reading.lot_state(state, planted.state(honest).job, 0) is not None


def test_the_salt_is_kept_before_the_log_says_anything(planted: Planted) -> None:
    """A commitment whose salt is lost could never be opened."""

    class Full:
        def append(self, submission: object) -> object:
            raise AssertionError("nothing was signed")

        def sign(self, record: object) -> object:
            assert [path.name for path in planted.folder.iterdir()] == [planted.receipt.hex()]
            raise RefusedError("stopped here")

    with pytest.raises(RefusedError, match="stopped here"):
        planted.canaries.plant(Full(), planted.receipt, random_bytes=lambda count: bytes(count))  # type: ignore[arg-type]
    assert (planted.folder / planted.receipt.hex()).stat().st_mode & 0o777 == 0o600


def test_a_receipt_is_planted_once(planted: Planted) -> None:
    planted.plant(planted.receipt)
    with pytest.raises(ConflictError, match="planted before"):
        planted.plant(planted.receipt)


def test_what_is_in_a_round_can_be_no_canary_any_more(planted: Planted) -> None:
    with planted.pool.ledger.read() as state:
        require_logged(state, planted.receipt)
        with pytest.raises(UnknownIdError, match="no such receipt"):
            require_logged(state, bytes(32))
    planted.pool.certify()
    with planted.pool.ledger.read() as state, pytest.raises(RefusedError, match="in a round"):
        require_logged(state, planted.receipt)


def test_one_planted_too_late_is_forgotten_and_does_not_stop_the_others(planted: Planted) -> None:
    planted.pool.certify()
    planted.plant(planted.receipt)
    planted.pool.judge()
    assert planted.open() == 0
    assert list(planted.folder.iterdir()) == []
    assert len(planted.pool.ledger.settle_due()) == 1
