"""specs/redemption.md §2: a quote is the charge, computed beforehand."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from creditledger.credits.tariff import gpu_price
from creditledger.errors import AmountError, ExpiredError, UnknownIdError
from creditledger.records.parameters import HardwarePrice, Parameters
from creditledger.records.transfer import Quote
from creditledger.redemption.quote import make_quote, require_quote_in_force
from unit.redemption.redeeming_pool import QUEUE, RedeemingPool

LEDGER = bytes(32)
NOW = 1_700_000_000_000


@pytest.fixture(scope="module")
def parameters(pool: RedeemingPool) -> Parameters:
    return pool.parameters()[0]


def quote(
    parameters: Parameters, *, hardware: str = "h100", gpus: int = 2, duration_ms: int = 1_500
) -> Quote:
    return make_quote(
        parameters,
        LEDGER,
        queue=QUEUE.public_key,
        hardware=hardware,
        gpus=gpus,
        duration_ms=duration_ms,
        now_unix_ms=NOW,
        valid_ms=1_000,
    )


def test_a_quote_gives_the_price_in_force(parameters: Parameters) -> None:
    made = quote(parameters)
    assert (made.amount_micro, made.micro_per_gpu_second) == (3_000_000, 1_000_000)
    assert made.parameters == parameters.digest(LEDGER)
    assert made.expires_unix_ms == NOW + 1_000
    assert Quote.decode(made.encode()) == made


@given(st.integers(1, 10**9), st.integers(1, 1_000), st.integers(1, 10**9))
def test_a_job_that_uses_all_of_it_is_charged_the_quote(
    parameters: Parameters, price: int, gpus: int, duration_ms: int
) -> None:
    """Quote == charge: the same function, whether by GPUs and time or by GPU-milliseconds."""
    listed = parameters.replace(hardware=(HardwarePrice(name="x", micro_per_gpu_second=price),))
    charge = gpu_price(gpus=1, duration_ms=gpus * duration_ms, micro_per_gpu_second=price)
    if charge == 0:
        with pytest.raises(AmountError):
            quote(listed, hardware="x", gpus=gpus, duration_ms=duration_ms)
    else:
        assert quote(listed, hardware="x", gpus=gpus, duration_ms=duration_ms).amount_micro == charge


def test_unlisted_hardware_has_no_price(parameters: Parameters) -> None:
    with pytest.raises(UnknownIdError):
        quote(parameters, hardware="abacus")


@pytest.mark.parametrize(("gpus", "duration_ms"), [(0, 1), (1, 0), (-1, -1), (2**40, 2**40)])
def test_no_gpus_no_time_or_too_much_of_both_is_refused(
    parameters: Parameters, gpus: int, duration_ms: int
) -> None:
    with pytest.raises(AmountError):
        quote(parameters, gpus=gpus, duration_ms=duration_ms)


def test_a_quote_holds_until_it_expires(parameters: Parameters) -> None:
    require_quote_in_force(quote(parameters), parameters, LEDGER, now_unix_ms=NOW + 999)
    with pytest.raises(ExpiredError):
        require_quote_in_force(quote(parameters), parameters, LEDGER, now_unix_ms=NOW + 1_000)


@pytest.mark.parametrize(
    "change", [{"amount_micro": 1}, {"micro_per_gpu_second": 1}, {"gpus": 3}, {"parameters": bytes(32)}]
)
def test_a_quote_that_was_changed_is_refused(parameters: Parameters, change: dict[str, Any]) -> None:
    forged = quote(parameters).replace(**change)
    with pytest.raises(ExpiredError):
        require_quote_in_force(forged, parameters, LEDGER, now_unix_ms=NOW)


def test_a_quote_dies_with_its_prices(parameters: Parameters) -> None:
    """New parameters, even with the same price, want a new quote."""
    later = parameters.replace(sequence=1)
    with pytest.raises(ExpiredError):
        require_quote_in_force(quote(parameters), later, LEDGER, now_unix_ms=NOW)
