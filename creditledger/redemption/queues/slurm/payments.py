"""Where the credits for Slurm's jobs come from, and where they go: holds, proofs, captures.

Source: specs/redemption.md §10."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from creditledger.credits import reading
from creditledger.credits.state import StateView
from creditledger.errors import AmountError, BusyError, CreditLedgerError, UnknownIdError
from creditledger.ledger.clock import Clock
from creditledger.ledger.ledger import Ledger
from creditledger.records.registration import Role
from creditledger.records.state import HoldStatus
from creditledger.records.transfer import Hold, Quote
from creditledger.redemption.ledger_access import LedgerAccess
from creditledger.redemption.queues.slurm.demand import Demand, Unsold
from creditledger.redemption.queues.slurm.sales import Sales
from creditledger.redemption.queues.slurm.settings import SlurmSettings
from creditledger.redemption.queues.slurm.shortfall import shortfall_of
from creditledger.redemption.quote import make_quote
from creditledger.redemption.reconciler import Observer, Reconciler
from creditledger.redemption.voucher import Voucher
from creditledger.redemption.wallet import QUOTE_VALID_MS, Wallet
from creditledger.transparency.bls import BlsBackend
from creditledger.transparency.keys import Ed25519Signer
from creditledger.transparency.trust_policy import TrustPolicy


@dataclass(frozen=True, slots=True)
class Placed:
    """A hold, and its record where there is a ledger."""

    digest: bytes
    record: Hold | None


class Payments(Protocol):
    """What the reconciler asks of the ledger. Every method raises BusyError, StorageError."""

    @property
    def is_shadow(self) -> bool:
        """Whether nothing is really charged."""

    def quote(self, demand: Demand) -> Quote | Unsold:
        """The price in force."""

    def shortfall(self, account: str, quote: Quote) -> str | None:
        """Why this Slurm account cannot pay that now; None if it can."""

    def place(self, account: str, quote: Quote, id: bytes) -> Placed:
        """Hold it. A repeat is a success. Raises RefusedError."""

    def find(self, account: str, id: bytes) -> Placed | None:
        """The hold that was logged under this id."""

    def certify(self) -> None:
        """Bring what was placed under a certified round, if that can be done here."""

    def is_proven(self, hold: bytes) -> bool:
        """Whether the hold is proven to be open, under a certified round and the queue's own policy."""

    def is_over(self, hold: bytes) -> bool:
        """Whether the ledger has ended the hold."""

    def settle(self, sales: Sales) -> dict[bytes, CreditLedgerError]:
        """Capture what ended attempts used, release the rest; the errors of those that stay due, by hold."""


class LedgerPayments:
    """Payments by delegated holds: the queue's machine key spends for the accounts that let it."""

    is_shadow = False

    def __init__(
        self,
        access: LedgerAccess,
        *,
        settings: SlurmSettings,
        policy: TrustPolicy,
        key: Ed25519Signer,
        spender: Ed25519Signer,
        sales: Sales,
        clock: Clock,
        certify: Callable[[Ledger], None],
        observe: Observer = lambda step, hold: None,
        backend: BlsBackend | None = None,
    ) -> None:
        """``key``: the queue's; ``spender``: the machine's, which accounts delegate to; ``certify``: closes
        a round where the validators' keys are at hand. Raises UnknownIdError, RoleError."""
        self._access = access
        self._settings = settings
        self._policy = policy
        self._spender = spender
        self._clock = clock
        self._certify = certify
        self._backend = backend
        self._queue = bytes.fromhex(settings.queue)
        with access.reading() as ledger:
            self._ledger_id = ledger.id
        self._reconciler = Reconciler(
            sales, access=access, key=key, ledger_id=self._ledger_id, observe=observe, account=self._queue
        )

    def quote(self, demand: Demand) -> Quote | Unsold:
        """See `Payments.quote`."""
        with self._access.reading() as ledger, ledger.read() as view:
            return quote_of(view, demand, ledger_id=self._ledger_id, queue=self._queue, now=self._clock())

    def shortfall(self, account: str, quote: Quote) -> str | None:
        """See `Payments.shortfall`."""
        name = self._settings.ledger_name(account)
        with self._access.reading() as ledger, ledger.read() as view:
            holder = account_in(view, name)
            if holder is None:
                return f"the pool has no account {name}"
            return shortfall_of(
                view,
                name=name,
                holder=holder,
                delegate=self._spender.public_key,
                queue=self._queue,
                amount_micro=quote.amount_micro,
                now=self._clock(),
            )

    def place(self, account: str, quote: Quote, id: bytes) -> Placed:
        """See `Payments.place`."""
        with self._access.writing() as ledger:
            held = self._wallet(ledger, account).hold(quote, id, start_within_ms=self._start_within_ms)
        return Placed(held.digest, held.hold)

    def find(self, account: str, id: bytes) -> Placed | None:
        """See `Payments.find`."""
        with self._access.reading() as ledger, ledger.read() as view:
            digest = reading.id_digest(view, self._spender.public_key, id)
            record = None if digest is None else reading.hold_body(view, digest)
        return None if digest is None else Placed(digest, record)

    def certify(self) -> None:
        """See `Payments.certify`."""
        with self._access.writing() as ledger:
            self._certify(ledger)

    def is_proven(self, hold: bytes) -> bool:
        """See `Payments.is_proven`. Raises VerificationError for a ledger that proves something else."""
        try:
            with self._access.reading() as ledger:
                encoded = Wallet(ledger, key=self._spender).voucher(hold)
        except BusyError:
            return False
        voucher = Voucher.load(encoded)
        voucher.verify(self._policy, queue=self._queue, now_unix_ms=self._clock(), backend=self._backend)
        return True

    def is_over(self, hold: bytes) -> bool:
        """See `Payments.is_over`."""
        with self._access.reading() as ledger, ledger.read() as view:
            state = reading.hold_state(view, hold)
        return state is not None and state.status not in (HoldStatus.OPEN, HoldStatus.CAPTURED)

    def settle(self, sales: Sales) -> dict[bytes, CreditLedgerError]:
        """See `Payments.settle`."""
        return self._reconciler.push_due()

    @property
    def _start_within_ms(self) -> int:
        return self._settings.start_within_ms + self._settings.settle_within_ms

    def _wallet(self, ledger: Ledger, account: str) -> Wallet:
        with ledger.read() as view:
            holder = account_in(view, self._settings.ledger_name(account))
        if holder is None:
            raise UnknownIdError("the pool has no such account", found=ascii(account)[:80])
        return Wallet(ledger, key=self._spender, account=holder, clock=self._clock)


def quote_of(view: StateView, demand: Demand, *, ledger_id: bytes, queue: bytes, now: int) -> Quote | Unsold:
    """What ``demand`` costs at ``queue`` under the parameters in force."""
    try:
        return make_quote(
            reading.parameters_in_force(view),
            ledger_id,
            queue=queue,
            hardware=demand.hardware,
            gpus=demand.gpus,
            duration_ms=demand.duration_ms,
            now_unix_ms=now,
            valid_ms=QUOTE_VALID_MS,
        )
    except UnknownIdError:
        return Unsold(f"the pool has no price for class {demand.hardware}")
    except AmountError as error:
        return Unsold(f"it cannot be priced: {error}")


def account_in(view: StateView, name: str) -> bytes | None:
    """The client account of this registered name or id in hex, or None."""
    try:
        found: bytes | None = bytes.fromhex(name) if len(name) == 64 else None
    except ValueError:
        found = None
    if found is None or reading.account_state(view, found) is None:
        found = reading.account_named(view, name)
    state = None if found is None else reading.account_state(view, found)
    return None if state is None or state.role != Role.CLIENT else found
