"""Payments that charge nothing: what the real ones would have charged is noted all the same.

Source: specs/redemption.md §10."""

import hashlib

from creditledger.credits.tariff import gpu_price
from creditledger.errors import CreditLedgerError
from creditledger.ledger.clock import Clock
from creditledger.records.transfer import Quote
from creditledger.redemption.ledger_access import LedgerAccess
from creditledger.redemption.queues.slurm.demand import Demand, Unsold
from creditledger.redemption.queues.slurm.payments import Placed, quote_of
from creditledger.redemption.queues.slurm.sales import Sales
from creditledger.redemption.queues.slurm.settings import SlurmSettings
from creditledger.redemption.started_jobs import Stage


class ShadowPayments:
    """Prices from the ledger, and nothing else: no hold, no capture, no key."""

    is_shadow = True

    def __init__(self, access: LedgerAccess, *, settings: SlurmSettings, clock: Clock) -> None:
        """Reads the ledger that ``access`` opens."""
        self._access = access
        self._queue = bytes.fromhex(settings.queue)
        self._clock = clock

    def quote(self, demand: Demand) -> Quote | Unsold:
        """See `Payments.quote`."""
        with self._access.reading() as ledger, ledger.read() as view:
            return quote_of(view, demand, ledger_id=ledger.id, queue=self._queue, now=self._clock())

    def shortfall(self, account: str, quote: Quote) -> str | None:
        """Nothing is missing: everybody can pay nothing."""

    def place(self, account: str, quote: Quote, id: bytes) -> Placed:
        """Only a name for the row."""
        return Placed(hashlib.sha256(b"creditledger/v1/shadow-hold\0" + id).digest(), None)

    def find(self, account: str, id: bytes) -> Placed | None:
        """Nothing is ever logged."""

    def certify(self) -> None:
        """There is nothing to certify."""

    def is_proven(self, hold: bytes) -> bool:
        """There is nothing to prove."""
        return True

    def is_over(self, hold: bytes) -> bool:
        """No hold, no end of it."""
        return False

    def settle(self, sales: Sales) -> dict[bytes, CreditLedgerError]:
        """Note what would have been captured."""
        for sale in sales.unsettled():
            if sale.stage < Stage.ENDED:
                continue
            quote = sale.quote
            price = quote.micro_per_gpu_second
            amount = gpu_price(gpus=1, duration_ms=sale.gpu_ms, micro_per_gpu_second=price)
            amount = min(amount, quote.amount_micro)
            sales.captured(sale.digest, amount_micro=amount, refusal=None)
            sales.settled(sale.digest, released_micro=quote.amount_micro - amount, refusal=None)
        return {}
