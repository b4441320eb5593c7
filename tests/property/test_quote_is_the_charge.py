"""A quote, the hold made of it and the capture of all its time are one amount, whatever the price list."""

from hypothesis import given, settings
from hypothesis import strategies as st

from creditledger.credits import reading
from creditledger.errors import AmountError
from creditledger.quantities import AMOUNT_MAX
from creditledger.records.parameters import HardwarePrice
from creditledger.records.state import HoldStatus
from creditledger.records.transfer import Hold
from creditledger.redemption.quote import make_quote, require_quote_in_force
from fakes.pool import HOUR_MS, Pool

CLASSES = st.from_regex(r"[a-z0-9._-]{1,16}", fullmatch=True).filter(lambda name: name != "job")
PRICE_LISTS = st.dictionaries(CLASSES, st.integers(1, 10**10), min_size=1, max_size=6)


@settings(max_examples=60, deadline=None)
@given(PRICE_LISTS, st.data())
def test_quote_hold_and_capture_of_the_full_time_are_the_same_amount(
    prices: dict[str, int], data: st.DataObject
) -> None:
    """Threat of a second price: the fold takes the quoted amount as hold, and captures all of it, to the
    micro-credit, for GPUs times duration. One micro-credit or one millisecond more is refused."""
    listed = tuple(HardwarePrice(name=name, micro_per_gpu_second=prices[name]) for name in sorted(prices))
    pool = Pool(hardware=listed, levy_ppm=0)
    pool.fund(pool.client, AMOUNT_MAX // 2)
    hardware = data.draw(st.sampled_from(sorted(prices)))
    gpus, duration_ms = data.draw(st.integers(1, 512)), data.draw(st.integers(1, 3 * 10**7))
    terms = {"queue": pool.queue.public_key, "hardware": hardware, "gpus": gpus, "duration_ms": duration_ms}
    digest = pool.ledger_id
    try:
        quote = make_quote(pool.parameters, digest, **terms, now_unix_ms=pool.now, valid_ms=HOUR_MS)  # type: ignore[arg-type]
    except AmountError:
        assert gpus * duration_ms * prices[hardware] < 1_000
        return
    require_quote_in_force(quote, pool.parameters, digest, now_unix_ms=pool.now)
    price = HardwarePrice(name=hardware, micro_per_gpu_second=quote.micro_per_gpu_second)
    held = {"gpus": gpus, "duration_ms": duration_ms, "hardware": price}
    dearer = quote.amount_micro + 1
    pool.refuse(
        pool.papers.voucher_hold(pool.client, pool.queue.public_key, **held, amount_micro=dearer), AmountError
    )
    hold = pool.papers.voucher_hold(
        pool.client, pool.queue.public_key, **held, amount_micro=quote.amount_micro
    )
    opened = pool.submit(hold)
    assert isinstance(hold.record, Hold)
    used_ms = gpus * duration_ms
    pool.submit(pool.papers.capture(pool.queue, hold.record, used_ms, amount_micro=quote.amount_micro))
    found = reading.hold_state(pool.view, opened)
    assert found is not None
    assert found.captured_micro == found.amount_micro == quote.amount_micro
    assert found.status == HoldStatus.CAPTURED
    paid = reading.account_state(pool.view, pool.queue.public_key)
    assert paid is not None
    assert paid.available_micro == quote.amount_micro
