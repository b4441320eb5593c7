"""What is minted travels by itself, evidence first. Source: specs/minting.md §5 and §10."""

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from creditledger.credits import reading
from creditledger.errors import (
    BusyError,
    ConflictError,
    InsufficientCreditError,
    MalformedRecordError,
    SignatureError,
    StorageError,
)
from creditledger.ledger.writer import Acknowledgement, Outcome
from creditledger.minting import shipper as shipper_module
from creditledger.minting.dispatch import Dispatch
from creditledger.minting.evidence_ahead import EvidenceAhead
from creditledger.minting.failures import FailureCount
from creditledger.minting.outbox import Outbox, waiting_in
from creditledger.minting.shipper import Shipper, retry_seconds
from creditledger.minting.shipping import Shipping
from creditledger.minting.shipping_report import ShippingReport
from creditledger.records.entry import Submission
from creditledger.records.receipt import Receipt
from fakes.cast import Papers, ed25519, pool_genesis, pool_parameters
from fakes.tiny_llama import SHAPE, inputs_of
from fakes.working_pool import WorkingPool

PAPERS = Papers(genesis=pool_genesis(pool_parameters()))


def submission(number: int) -> Submission:
    return PAPERS.transfer(ed25519("payer"), ed25519("payee").public_key, number + 1)


class FakeService:
    """Logs in groups, repeats with their first index; what ``answers`` has comes instead, once."""

    def __init__(self) -> None:
        self.logged: list[Submission] = []
        self.groups: list[int] = []
        self.answers: dict[int, Exception] = {}
        self.error: Exception | None = None

    def submit_all(self, submissions: Sequence[Submission]) -> list[Outcome]:
        self.groups.append(len(submissions))
        if self.error is not None:
            raise self.error
        return [self._answer(one) for one in submissions]

    def _answer(self, one: Submission) -> Outcome:
        number = one.record.amount_micro - 1 if hasattr(one.record, "amount_micro") else -1
        if number in self.answers:
            return self.answers.pop(number)  # type: ignore[return-value]
        if one not in self.logged:
            self.logged.append(one)
        return Acknowledgement(index=self.logged.index(one), leaf_hash=bytes(32), repeated=False)


@pytest.fixture
def service() -> FakeService:
    return FakeService()


@pytest.fixture
def outbox(tmp_path: Path) -> Outbox:
    found = Outbox(tmp_path / "outbox")
    for number in range(5):
        found.put(submission(number))
    return found


def test_a_backlog_goes_in_groups_and_in_order(outbox: Outbox, service: FakeService) -> None:
    done = outbox.deliver(service.submit_all, at_once=2)
    assert service.groups == [2, 2, 1]
    assert service.logged == [submission(number) for number in range(5)]
    assert [one.index for one in done.acknowledgements] == list(range(5))
    assert len(outbox) == 0


def test_what_stays_open_amid_a_group_keeps_all_behind_it(outbox: Outbox, service: FakeService) -> None:
    """A refusal behind it may be for its absence, so it is asked again; what was logged is logged once."""
    service.answers = {1: BusyError("later"), 2: InsufficientCreditError("not without the one before")}
    done = outbox.deliver(service.submit_all, at_once=4)
    assert (len(done.acknowledgements), done.refused, len(outbox)) == (1, [], 4)
    assert isinstance(done.stopped_by, BusyError)
    again = outbox.deliver(service.submit_all, at_once=4)
    assert (len(again.acknowledgements), again.refused, len(outbox)) == (4, [], 0)
    assert len(service.logged) == 5


def test_what_the_whole_exchange_fails_with_is_no_refusal(outbox: Outbox, service: FakeService) -> None:
    """A captive portal, an expired token and a lie are no last word on a batch; the log's refusal is."""
    service.error = SignatureError("the service's answer is not JSON")
    assert outbox.deliver(service.submit_all, at_once=4).stopped_by is service.error
    assert len(outbox) == 5
    service.error = None
    service.answers = {0: SignatureError("refused")}
    assert len(outbox.deliver(service.submit_all, at_once=4).refused) == 1


def test_a_group_is_no_longer_than_one_submission_may_be(
    outbox: Outbox, service: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = len(submission(0).encode())
    monkeypatch.setattr("creditledger.minting.outbox.FRAME_BYTES_MAX", 2 * size + 1)
    outbox.deliver(service.submit_all, at_once=64)
    assert service.groups == [2, 2, 1]


def test_an_outbox_takes_no_more_than_it_may_and_drops_nothing(tmp_path: Path, service: FakeService) -> None:
    """Each takes a block of the disk, after a restart as before it."""
    outbox = Outbox(tmp_path / "outbox", bytes_max=2 * 4_096)
    outbox.put(submission(0))
    outbox.put(submission(1))
    again = Outbox(tmp_path / "outbox", bytes_max=2 * 4_096)
    for one in (outbox, again):
        with pytest.raises(StorageError, match="full"):
            one.put(submission(2))
    assert len(again) == 2
    again.deliver(service.submit_all)
    again.put(submission(2))
    assert len(again) == 1


def test_minting_stops_while_the_outbox_is_full_and_goes_on_after(pool: WorkingPool, tmp_path: Path) -> None:
    """What was minted before is all there, no receipt is dropped; a new session is refused, and told why."""

    def away(_: Submission) -> Acknowledgement:
        raise BusyError("away")

    logs: list[Callable[[Submission], Acknowledgement]] = [away]
    minter = pool.minter(
        0,
        outbox=tmp_path / "outbox",
        submit=lambda one: logs[-1](one),
        shipping=Shipping(outbox_bytes_max=8_192),
    )
    rows = inputs_of(SHAPE, 768, seed=5)
    session = minter.session(pool.work_order(pool.order(positions=768), 0))
    for start in (0, 256, 512):
        window = rows[start : start + 256]
        session.record(inputs=window, outputs=window, positions=range(start, start + 256))
        assert len(session.receipts) == min(start // 256 + 1, 2)
        minter.flush()
    assert minter.failures == {"BusyError": 3, "StorageError": 1}
    assert minter.waiting == 2
    other = pool.work_order(pool.order(tag=1), 0)
    with pytest.raises(StorageError, match="full"):
        minter.session(other)
    logs.append(pool.ledger.append)
    minter.flush()
    with pool.ledger.read() as state:
        logged = [reading.receipt_state(state, one.digest(pool.ledger.id)) for one in session.receipts]
    assert len(logged) == 2
    assert all(logged)
    minter.session(other)


class FakePlace:
    """Keeps what it is brought, in order; what it raises it raises until told otherwise."""

    def __init__(self) -> None:
        self.brought: list[tuple[str, bytes, bytes]] = []
        self.error: Exception | None = None

    def put_inputs(self, root: bytes, sealed: bytes) -> None:
        self._take("inputs", root, sealed)

    def put_handover(self, root: bytes, encoded: bytes) -> None:
        self._take("handover", root, encoded)

    def close(self) -> None:
        """Nothing to let go of."""

    def _take(self, kind: str, root: bytes, content: bytes) -> None:
        if self.error is not None:
            raise self.error
        self.brought.append((kind, root, content))


class Line:
    """A node's kept evidence, a place to bring it to, and a log behind it."""

    def __init__(self, pool: WorkingPool, folder: Path) -> None:
        self.minter = pool.minter(
            1, outbox=folder / "outbox", evidence=folder / "evidence", submit=self._keep
        )
        self.before = pool.minter(0, evidence=folder / "before")
        self.minted: list[Submission] = []
        self.place = FakePlace()
        self.order: list[str] = []
        self.ahead = EvidenceAhead(self._log, kept=self.minter._kept, place=self.place)
        receipts = pool.run(pool.order(), minters={0: self.before, 1: self.minter}, flush=False)
        self.receipt: Receipt = receipts[1][0]
        self.minter.keep_handover(self.before.hand_over(receipts[0][0]))
        self.minter.flush()

    def _keep(self, one: Submission) -> Acknowledgement:
        self.minted.append(one)
        return Acknowledgement(index=0, leaf_hash=bytes(32), repeated=False)

    def _log(self, submissions: Sequence[Submission]) -> list[Outcome]:
        self.order.append(f"{len(self.place.brought)} pieces, then {len(submissions)} batches")
        return [Acknowledgement(index=0, leaf_hash=bytes(32), repeated=False) for _ in submissions]


@pytest.fixture
def line(pool: WorkingPool, tmp_path: Path) -> Line:
    return Line(pool, tmp_path)


def test_evidence_goes_ahead_of_its_batch(line: Line) -> None:
    """Else a check drawn at once finds nothing, and no data is a failed check."""
    line.ahead(line.minted)
    root = line.receipt.input_root
    assert [(kind, whose) for kind, whose, _ in line.place.brought] == [("handover", root), ("inputs", root)]
    assert line.place.brought[1][2] == line.minter._kept.sealed(root)
    assert line.order == ["2 pieces, then 1 batches"]
    assert line.ahead.missing == 0


def test_a_batch_waits_for_its_evidence(line: Line) -> None:
    line.place.error = BusyError("away")
    with pytest.raises(BusyError):
        line.ahead(line.minted)
    assert line.order == []
    line.place.error = None
    line.ahead(line.minted)
    assert len(line.order) == 1


def test_evidence_is_brought_once_however_often_the_log_is_away(line: Line) -> None:
    logs: list[Exception | None] = [BusyError("away"), None]

    def log(submissions: Sequence[Submission]) -> list[Outcome]:
        error = logs.pop(0)
        if error is not None:
            raise error
        return line._log(submissions)

    ahead = EvidenceAhead(log, kept=line.minter._kept, place=line.place)
    with pytest.raises(BusyError):
        ahead(line.minted)
    ahead(line.minted)
    assert len(line.place.brought) == 2


@pytest.mark.parametrize("why", ["erased", "taken"])
def test_what_cannot_be_brought_is_counted_and_holds_nothing_up(line: Line, why: str) -> None:
    """The oldest inputs go first when room is short, and a name at the place may be another's by then."""
    if why == "erased":
        line.minter._kept.forget(line.receipt.input_root)
    else:
        line.place.error = ConflictError("something else is there")
    line.ahead(line.minted)
    assert (line.ahead.missing, len(line.order)) == (1, 1)


def test_retries_come_ever_later_and_never_all_at_once() -> None:
    assert [retry_seconds(failed, most=300, chance=1.0) for failed in (1, 2, 3, 9, 10, 10_000)] == [
        1.0, 2.0, 4.0, 256.0, 300.0, 300.0,
    ]  # fmt: skip
    assert retry_seconds(3, most=300, chance=0.0) == 2.0


class Shop:
    """A shipper over a fake service and an outbox on disk."""

    def __init__(self, pool: WorkingPool, folder: Path, service: FakeService) -> None:
        self.folder = folder
        self.service = service
        self.failures = FailureCount()
        self.ended = threading.Event()
        self.followed = 0
        self._pool = pool
        self.shipper = self.new()

    def new(self, **changes: float) -> Shipper:
        outbox = Outbox(self.folder)
        minter = self._pool.minter(0)
        ahead = EvidenceAhead(self.service.submit_all, kept=minter._kept, place=FakePlace())
        self.dispatch = Dispatch(
            outbox,
            ahead,
            at_once=2,
            sign=minter._sign,
            parameters=minter._link.parameters,
            failures=self.failures,
        )
        return Shipper(
            self.dispatch,
            ahead,
            follow=self._follow,
            outbox=self.folder,
            shipping=replace(Shipping(interval_s=60, retry_s_max=0.05, close_s=5), **changes),
            failures=self.failures,
            clock=lambda: 7_000,
            on_end=self.ended.set,
        )

    def _follow(self) -> None:
        self.followed += 1


@pytest.fixture
def shop(pool: WorkingPool, tmp_path: Path, outbox: Outbox, service: FakeService) -> Iterator[Shop]:
    found = Shop(pool, tmp_path / "outbox", service)
    yield found
    if not found.ended.is_set() and found.shipper._thread.ident is not None:
        found.shipper.stop()


def until(is_so: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_what_waits_is_delivered_when_the_service_comes_back(
    shop: Shop, service: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody calls flush; attempts are spaced, and the report says how it went."""
    monkeypatch.setattr(shipper_module, "FIRST_RETRY_SECONDS", 0.02)
    service.error = BusyError("the service is away")
    shop.shipper.start()
    until(lambda: len(service.groups) > 3)
    away = ShippingReport.read(shop.folder)
    assert (away.error, away.since_unix_ms, away.delivered) == ("BusyError", 7_000, 0)
    assert len(waiting_in(shop.folder)) == 5
    service.error = None
    until(lambda: not waiting_in(shop.folder))
    assert service.logged == [submission(number) for number in range(5)]
    assert shop.shipper.stop()
    report = ShippingReport.read(shop.folder)
    assert (report.delivered, report.error, report.last_delivered_unix_ms) == (5, "", 7_000)
    assert [one.index for one in shop.shipper.acknowledged()] == list(range(5))
    assert shop.shipper.acknowledged() == []


def test_it_ends_at_once_and_leaves_the_outbox_to_the_next(shop: Shop, service: FakeService) -> None:
    service.error = BusyError("away")
    shop.shipper.start()
    until(lambda: service.groups)
    with pytest.raises(BusyError, match="another process"):
        shop.new()
    began = time.monotonic()
    assert shop.shipper.stop()
    assert time.monotonic() - began < 2
    assert shop.ended.is_set()
    service.error = None
    again = shop.new()
    again.start()
    until(lambda: not waiting_in(shop.folder))
    assert again.stop()
    assert len(service.logged) == 5


def test_a_service_that_hangs_does_not_hold_up_the_end(shop: Shop, service: FakeService) -> None:
    """The thread goes on by itself; what it delivers then is delivered."""
    hangs, go_on = threading.Event(), threading.Event()
    honest = service.submit_all

    def hang(submissions: Sequence[Submission]) -> list[Outcome]:
        hangs.set()
        go_on.wait(10)
        return honest(submissions)

    service.submit_all = hang  # type: ignore[method-assign]
    shipper = shop.shipper = shop.new(close_s=0.1) if shop.shipper._lock.close() is None else shop.shipper
    shipper.start()
    hangs.wait(10)
    assert not shipper.stop()
    assert not shop.ended.is_set()
    go_on.set()
    until(shop.ended.is_set)
    assert not waiting_in(shop.folder)


def test_it_looks_at_the_terms_now_and_then_where_nothing_waits(
    shop: Shop, service: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shipper_module, "REFRESH_SECONDS", 0.0)
    shop.shipper.start()
    until(lambda: not waiting_in(shop.folder))
    assert shop.followed == 0
    shop.shipper.wake()
    until(lambda: shop.followed)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"delivered": "1"}', "[" * 5_000, "x" * 9_000])
def test_a_report_is_read_as_it_was_kept_or_not_at_all(tmp_path: Path, text: str) -> None:
    assert ShippingReport.read(tmp_path) == ShippingReport()
    report = ShippingReport(delivered=3, error="BusyError", message="away", since_unix_ms=5)
    report.keep(tmp_path)
    assert ShippingReport.read(tmp_path) == report
    assert json.loads((tmp_path / "shipping.json").read_text())["delivered"] == 3
    (tmp_path / "shipping.json").write_text(text)
    with pytest.raises((MalformedRecordError, StorageError)):
        ShippingReport.read(tmp_path)


def test_the_same_error_keeps_the_time_when_it_began() -> None:
    first = ShippingReport().after(
        delivered=0, missing_inputs=0, stopped_by=BusyError("a"), now_unix_ms=1_000
    )
    second = first.after(delivered=2, missing_inputs=1, stopped_by=BusyError("b"), now_unix_ms=2_000)
    assert (second.since_unix_ms, second.message, second.delivered, second.missing_inputs) == (
        1_000,
        "b",
        2,
        1,
    )
    other = second.after(delivered=0, missing_inputs=0, stopped_by=StorageError("c"), now_unix_ms=3_000)
    assert (other.since_unix_ms, other.last_delivered_unix_ms) == (3_000, 2_000)
    well = other.after(delivered=0, missing_inputs=0, stopped_by=None, now_unix_ms=4_000)
    assert (well.error, well.since_unix_ms, well.delivered) == ("", 0, 2)
