"""What a stranger shows buys time only if it is good, here and now. Source: specs/redemption.md §4."""

import threading
from collections.abc import Iterator

import pytest

from creditledger.adapters import voucher_desk
from creditledger.adapters.voucher_desk import VoucherDesk
from creditledger.redemption.voucher import Voucher
from unit.redemption.redeeming_pool import OTHER_QUEUE, QUEUE, RedeemingPool


class Desk:
    """A desk with a clock and a record of used holds that tests move."""

    def __init__(self, pool: RedeemingPool, queue: bytes) -> None:
        self.now = pool.clock()
        self.spent: set[bytes] = set()
        self.desk = VoucherDesk(
            pool.policy(), queue=queue, is_spent=self.spent.__contains__, clock=lambda: self.now
        )

    def admits(self, encoded: object) -> bool:
        """Once it was proved or turned away."""
        self.desk.admitted(encoded)
        self.desk.settle()
        return self.desk.admitted(encoded) is not None


@pytest.fixture
def made() -> Iterator[list[Desk]]:
    desks: list[Desk] = []
    yield desks
    for one in desks:
        one.desk.close()


@pytest.fixture(scope="module")
def voucher(pool: RedeemingPool) -> bytes:
    return pool.voucher()


def desk_of(pool: RedeemingPool, made: list[Desk], queue: bytes = QUEUE.public_key) -> Desk:
    made.append(Desk(pool, queue))
    return made[-1]


def test_a_voucher_is_admitted_once_it_is_proved(
    pool: RedeemingPool, voucher: bytes, made: list[Desk]
) -> None:
    """Not before: a stranger's bytes must not hold up the server."""
    desk = desk_of(pool, made)
    assert desk.desk.admitted(voucher) is None
    desk.desk.settle()
    found = desk.desk.admitted(voucher)
    assert found is not None
    assert found.digest == Voucher.load(voucher).prove(pool.policy()).digest


def test_a_foreign_voucher_is_not_admitted(pool: RedeemingPool, voucher: bytes, made: list[Desk]) -> None:
    assert desk_of(pool, made).admits(voucher)
    assert not desk_of(pool, made, OTHER_QUEUE.public_key).admits(voucher)


def test_a_forged_voucher_is_not_admitted(pool: RedeemingPool, voucher: bytes, made: list[Desk]) -> None:
    desk = desk_of(pool, made)
    for at in (len(voucher) // 4, len(voucher) // 2, len(voucher) - 1):
        forged = bytearray(voucher)
        forged[at] ^= 1
        assert not desk.admits(bytes(forged))
    for other in (None, "text", b"", b"\0", 5, bytes(100_000)):
        assert not desk.admits(other)
    assert desk.admits(voucher)


def test_an_expired_or_used_one_is_not_admitted_any_more(
    pool: RedeemingPool, voucher: bytes, made: list[Desk]
) -> None:
    desk = desk_of(pool, made)
    assert desk.admits(voucher)
    hold = Voucher.load(voucher).prove(pool.policy())
    desk.now = hold.hold.expires_unix_ms - 1
    assert desk.admits(voucher)
    desk.now += 1
    assert not desk.admits(voucher)
    desk.now -= 1
    desk.spent.add(hold.digest)
    assert not desk.admits(voucher)


def test_a_record_that_cannot_be_read_gives_nothing_away(
    pool: RedeemingPool, voucher: bytes, made: list[Desk]
) -> None:
    desk = desk_of(pool, made)
    assert desk.admits(voucher)
    desk.desk._is_spent = {}.__getitem__
    assert not desk.admits(voucher)


def test_a_flood_of_vouchers_takes_bounded_room(
    pool: RedeemingPool, voucher: bytes, made: list[Desk], monkeypatch: pytest.MonkeyPatch
) -> None:
    """While one is being proved no more than a few wait, and only so many are remembered."""
    monkeypatch.setattr(voucher_desk, "WAITING_MAX", 2)
    monkeypatch.setattr(voucher_desk, "KNOWN_MAX", 3)
    desk, go_on = desk_of(pool, made), threading.Event()
    desk.desk._prover.submit(go_on.wait, 10)
    for number in range(20):
        assert desk.desk.admitted(b"junk %d" % number) is None
    assert len(desk.desk._waiting) == 2
    go_on.set()
    for number in range(8):
        assert not desk.admits(b"more %d" % number)
    assert len(desk.desk._known) == 3
    assert desk.admits(voucher)
