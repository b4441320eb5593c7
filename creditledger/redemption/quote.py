"""What GPU time would cost: the same function that the capture is computed with.

Source: specs/redemption.md §2."""

from creditledger.credits.tariff import gpu_price
from creditledger.errors import AmountError, ExpiredError, UnknownIdError
from creditledger.records.parameters import Parameters
from creditledger.records.transfer import Quote


def make_quote(
    parameters: Parameters,
    ledger_id: bytes,
    *,
    queue: bytes,
    hardware: str,
    gpus: int,
    duration_ms: int,
    now_unix_ms: int,
    valid_ms: int,
) -> Quote:
    """The price of ``gpus`` GPUs of class ``hardware`` for ``duration_ms`` at ``queue``.

    ``parameters``: those in force; ``queue``: an account id, 32 bytes; the quote expires
    ``valid_ms`` after ``now_unix_ms``. Raises UnknownIdError for a class without a price;
    AmountError for no GPU, no time, or a price of 0 or above 2^63-1. Source: specs/redemption.md §2."""
    price = parameters.hardware_price(hardware)
    if price is None:
        raise UnknownIdError(
            "hardware class has no price",
            expected=", ".join(listed.name for listed in parameters.hardware) or "a listed class",
            found=ascii(hardware),
        )
    if gpus < 1 or duration_ms < 1:
        raise AmountError(
            "a quote is for at least one GPU and one millisecond", found=f"{gpus}, {duration_ms}"
        )
    amount = gpu_price(gpus=gpus, duration_ms=duration_ms, micro_per_gpu_second=price.micro_per_gpu_second)
    if amount == 0:
        raise AmountError("so little time has no price", expected="at least 1 micro-credit", found="0")
    return Quote(
        queue=queue,
        hardware=hardware,
        gpus=gpus,
        duration_ms=duration_ms,
        micro_per_gpu_second=price.micro_per_gpu_second,
        amount_micro=amount,
        parameters=parameters.digest(ledger_id),
        expires_unix_ms=now_unix_ms + valid_ms,
    )


def require_quote_in_force(
    quote: Quote, parameters: Parameters, ledger_id: bytes, *, now_unix_ms: int
) -> None:
    """Check that ``quote`` is what `make_quote` would say under the parameters in force, and not expired.

    Raises ExpiredError; UnknownIdError or AmountError like `make_quote`."""
    if now_unix_ms >= quote.expires_unix_ms:
        raise ExpiredError(
            "quote has expired", expected=f"before {quote.expires_unix_ms}", found=str(now_unix_ms)
        )
    again = make_quote(
        parameters,
        ledger_id,
        queue=quote.queue,
        hardware=quote.hardware,
        gpus=quote.gpus,
        duration_ms=quote.duration_ms,
        now_unix_ms=quote.expires_unix_ms,
        valid_ms=0,
    )
    if again != quote:
        raise ExpiredError(
            "quote is not of the parameters in force",
            expected=f"{again.amount_micro} under {again.parameters.hex()[:16]}",
            found=f"{quote.amount_micro} under {quote.parameters.hex()[:16]}",
        )
