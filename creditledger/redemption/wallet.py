"""What a client does: order and confirm work, hold credits for GPU time, pass credits on.

Source: specs/redemption.md §3 and §4."""

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, Final

from creditledger.credits import reading
from creditledger.credits.state import StateView
from creditledger.errors import (
    BusyError,
    CreditLedgerError,
    OpeningError,
    UnknownIdError,
)
from creditledger.ledger.clock import Clock, system_clock
from creditledger.ledger.keyring import KeyRole, load_key
from creditledger.ledger.ledger import Ledger
from creditledger.ledger.opening import Place
from creditledger.ledger.prove import prover
from creditledger.ledger.stored_log import StoredLog
from creditledger.ledger.writer import Acknowledgement
from creditledger.quantities import ZERO_DIGEST
from creditledger.records.entry import Entry, Submission
from creditledger.records.job import Job, PlanSpan
from creditledger.records.receipt import Delivery, Receipt
from creditledger.records.record import Record
from creditledger.records.state import AccountState
from creditledger.records.transfer import DelegatedHold, Hold, Quote, Transfer
from creditledger.redemption.client_id import new_client_id
from creditledger.redemption.confirmation import Chains, confirm_receipts
from creditledger.redemption.ledger_access import LedgerAccess
from creditledger.redemption.order import Order
from creditledger.redemption.position import Position, position_of
from creditledger.redemption.quote import make_quote, require_quote_in_force
from creditledger.redemption.signed_quote import SignedQuote, verify_quote
from creditledger.redemption.statement import StatementLine, statement
from creditledger.transparency.keys import Ed25519Signer

JOB_HARDWARE: Final = "job"
JOB_VALID_MS: Final = 24 * 3_600_000
"""How long a job may take to be done and delivered, unless the client says otherwise."""
QUOTE_VALID_MS: Final = 600_000
"""How long a quote may be taken up, unless the client says otherwise."""
START_WITHIN_MS: Final = 24 * 3_600_000
"""How long after its quote's end a voucher may still be started, unless the client says otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldVoucher:
    """A hold in the log, and the way to its proof."""

    digest: bytes
    """The hold's id, 32 bytes."""
    hold: Hold
    acknowledgement: Acknowledgement
    prove: Callable[[], bytes]

    @property
    def voucher(self) -> bytes:
        """The hold's bundle: what a queue takes. Raises BusyError until a certified round covers it."""
        return self.prove()


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """A countersignature in the log."""

    delivery: Delivery
    acknowledgement: Acknowledgement
    refused: tuple[Receipt, ...]
    """Receipts it leaves out because their outputs are not what was received."""


class Wallet:
    """One account's key at one ledger. Every call is one durable commit or a typed refusal."""

    def __init__(
        self,
        ledger: Ledger | Place,
        *,
        key: Ed25519Signer | str | PathLike[str],
        account: bytes | str | None = None,
        clock: Clock = system_clock,
        random_bytes: Callable[[int], bytes] = os.urandom,
    ) -> None:
        """``ledger``: open, or its directory or URL; ``key``: a signer, or a key file of any account's role.
        ``account``: whose credits `hold` spends, as the key's delegate: its id (32 bytes) or name; by default
        the key's own.

        Raises KeyFormatError, RoleError (for a retired key too), UnknownIdError, StorageError."""
        self._access = LedgerAccess(ledger, clock=clock)
        self._clock = clock
        self._random_bytes = random_bytes
        with self._access.reading() as opened, opened.read() as view:
            self.ledger_id = opened.id
            self._key = key if isinstance(key, Ed25519Signer) else _load(Path(key), self.ledger_id)
            self.account = reading.account_of_key(view, self._key.public_key)
            """Whose the key is, 32 bytes: an account, or the key itself."""
            self.holder = self.account if account is None else _account(view, account)
            """Whose credits `hold` spends, 32 bytes."""

    def order(
        self,
        model: bytes,
        plan: Sequence[PlanSpan],
        max_positions: int,
        max_price: int,
        expires_unix_ms: int | None = None,
    ) -> Order:
        """Log a job with its bound, and the hold that covers it. ``max_price`` in micro-credits.

        Keep the order: its secret is nowhere else. Raises MalformedRecordError for a plan that does not
        join, InsufficientCreditError, and what else the rules refuse; a job whose hold is refused costs
        nothing, since no node starts on it. Source: specs/redemption.md §3."""
        expires = self._clock() + JOB_VALID_MS if expires_unix_ms is None else expires_unix_ms
        with self._access.writing() as ledger:
            with ledger.read() as view:
                parameters = reading.parameters_digest(view)
            job = Job(
                id=self._new_id(),
                client=self.account,
                model=model,
                plan=tuple(plan),
                max_positions=max_positions,
                max_price_micro=max_price,
                hold_id=self._new_id(),
                parameters=parameters,
                expires_unix_ms=expires,
            )
            order = Order(job=job, secret=self._random_bytes(32))
            answers = ledger.submit([self._sign(job), self._sign(_job_hold(job, self.ledger_id))])
        _require_all(answers)
        return order

    def confirm(
        self,
        order: Order,
        outputs: Mapping[int, Any] | None = None,
        *,
        closes: bool = True,
        checked: Collection[bytes] | None = None,
    ) -> Delivered:
        """Countersign the receipts whose outputs are what was received, and close the job.

        ``outputs``: rows per boundary, see `confirm_receipts`; None countersigns all that is logged.
        ``checked``: digests of the receipts whose tokens were held against what was received; no other is
        countersigned then.
        Raises UnknownIdError for another ledger's job, BusyError while no receipt, or not all ``checked``
        are logged, OpeningError if not one receipt fits, ActivationError, and what the rules refuse."""
        job = order.job.digest(self.ledger_id)
        with self._access.writing() as ledger:
            chains = _logged_chains(ledger, order.job, job)
            _require_logged(chains, checked or (), ledger.id)
            found = confirm_receipts(
                order.job,
                chains,
                secret=order.secret,
                ledger_id=self.ledger_id,
                outputs=outputs,
                checked=checked,
            )
            if not found.heads:
                raise OpeningError(
                    "no receipt has the outputs that were received", found=f"{len(found.refused)}"
                )
            delivery = Delivery(client=self.account, job=job, heads=found.heads, closes=int(closes))
            acknowledgement = ledger.append(self._sign(delivery))
        return Delivered(delivery=delivery, acknowledgement=acknowledgement, refused=found.refused)

    def quote(
        self,
        queue: bytes | str,
        *,
        hardware: str,
        gpus: int,
        duration_ms: int,
        valid_ms: int = QUOTE_VALID_MS,
    ) -> Quote:
        """What GPU time costs under the parameters in force: see `make_quote`.

        ``queue``: its account id, 32 bytes, or its registered name. Raises UnknownIdError, AmountError."""
        with self._access.reading() as ledger, ledger.read() as view:
            account = queue if isinstance(queue, bytes) else reading.account_named(view, queue)
            parameters = reading.parameters_in_force(view)
        if account is None:
            raise UnknownIdError("no account has this name", found=ascii(queue)[:80])
        return make_quote(
            parameters,
            self.ledger_id,
            queue=account,
            hardware=hardware,
            gpus=gpus,
            duration_ms=duration_ms,
            now_unix_ms=self._clock(),
            valid_ms=valid_ms,
        )

    def hold(
        self,
        quote: Quote | SignedQuote,
        id: bytes | None = None,
        *,
        start_within_ms: int = START_WITHIN_MS,
    ) -> HeldVoucher:
        """Set the quoted credits aside for the quoted queue.

        The hold expires ``start_within_ms`` and its own duration after the quote, so that the same ``id`` (16
        bytes) and quote give the same record: a repeat is a success. Raises SignatureError for a signed quote
        that its queue did not sign with the key in force, ExpiredError for a quote that is
        too old or not of the parameters in force, InsufficientCreditError, LimitError where a delegation or a
        budget is used up, and what else the rules refuse. Source: specs/redemption.md §4."""
        asked = quote.quote if isinstance(quote, SignedQuote) else quote
        hold = _voucher_hold(
            asked,
            id=self._new_id() if id is None else id,
            holder=self.holder,
            delegate=self.account,
            expires_unix_ms=asked.expires_unix_ms + asked.duration_ms + start_within_ms,
        )
        digest = hold.digest(self.ledger_id)
        with self._access.writing() as ledger:
            with ledger.read() as view:
                if reading.consumed_index(view, digest) is None:
                    if isinstance(quote, SignedQuote):
                        verify_quote(quote, view, self.ledger_id)
                    parameters = reading.parameters_in_force(view)
                    require_quote_in_force(asked, parameters, self.ledger_id, now_unix_ms=self._clock())
            acknowledgement = ledger.append(self._sign(hold))
        return HeldVoucher(
            digest=digest, hold=hold, acknowledgement=acknowledgement, prove=lambda: self.voucher(digest)
        )

    def voucher(self, hold: bytes) -> bytes:
        """The bundle of a logged hold (32-byte digest) under the latest certified round.

        Raises UnknownIdError; BusyError until a certified round covers it."""
        with self._access.reading() as ledger, prover(ledger) as prove:
            return prove.hold(hold)

    def transfer(self, payee: bytes, amount: int, id: bytes | None = None) -> Acknowledgement:
        """Pass micro-credits on to another account (32-byte id). The same ``id`` again is a success.

        Raises RefusedError where the pool does not allow it, InsufficientCreditError, UnknownIdError."""
        transfer = Transfer(
            id=self._new_id() if id is None else id, payer=self.account, payee=payee, amount_micro=amount
        )
        with self._access.writing() as ledger:
            return ledger.append(self._sign(transfer))

    def balance(self) -> AccountState:
        """The holder's credits as of the last entry. Raises UnknownIdError before registration."""
        with self._access.reading() as ledger, ledger.read() as view:
            found = reading.account_state(view, self.holder)
        if found is None:
            raise UnknownIdError("account is not registered", found=self.holder.hex())
        return found

    def position(self) -> Position:
        """The holder's credits with what is held, unvested and budgeted of them: see `position_of`."""
        with self._access.reading() as ledger, ledger.read() as view:
            return position_of(view, self.holder, now_unix_ms=self._clock())

    def statement(self, account: bytes | None = None) -> list[StatementLine]:
        """What moved the credits of ``account``, by default the holder's: see `statement.statement`."""
        with self._access.reading() as ledger:
            return statement(ledger, self.holder if account is None else account)

    def _sign(self, record: Record) -> Submission:
        return Submission(record=record, signature=self._key.sign(record.signing_bytes(self.ledger_id)))

    def _new_id(self) -> bytes:
        return new_client_id(now_unix_ms=self._clock(), random_bytes=self._random_bytes)


def _account(view: StateView, account: bytes | str) -> bytes:
    found = account if isinstance(account, bytes) else reading.account_named(view, account)
    if found is None or reading.account_state(view, found) is None:
        raise UnknownIdError("no such account to spend for", found=ascii(account)[:80])
    return found


def _voucher_hold(quote: Quote, *, id: bytes, holder: bytes, delegate: bytes, expires_unix_ms: int) -> Hold:
    """The hold that a quote offers; a delegate's, where ``delegate`` is not the holder."""
    fields: dict[str, Any] = {
        "id": id,
        "holder": holder,
        "amount_micro": quote.amount_micro,
        "job": ZERO_DIGEST,
        "queue": quote.queue,
        "hardware": quote.hardware,
        "gpus": quote.gpus,
        "duration_ms": quote.duration_ms,
        "micro_per_gpu_second": quote.micro_per_gpu_second,
        "expires_unix_ms": expires_unix_ms,
    }
    return Hold(**fields) if delegate == holder else DelegatedHold(**fields, delegate=delegate)


def _job_hold(job: Job, ledger_id: bytes) -> Hold:
    return Hold(
        id=job.hold_id,
        holder=job.client,
        amount_micro=job.max_price_micro,
        job=job.digest(ledger_id),
        queue=ZERO_DIGEST,
        hardware=JOB_HARDWARE,
        gpus=0,
        duration_ms=0,
        micro_per_gpu_second=0,
        expires_unix_ms=job.expires_unix_ms,
    )


def _logged_chains(ledger: Ledger, body: Job, job: bytes) -> Chains:
    """The job's receipts in the log, per span and by window."""
    with ledger.snapshot() as snapshot:
        if reading.job_body(snapshot.state, job) is None:
            raise UnknownIdError("no such job in this ledger", found=job.hex())
        chains: dict[int, list[Receipt]] = {}
        for span in body.plan:
            digests = [digest for _, digest in reading.job_receipts(snapshot.state, job, span.layer_start)]
            states = [reading.receipt_state(snapshot.state, digest) for digest in digests]
            batches = sorted({state.batch_index for state in states if state is not None})
            found = _receipts_in(snapshot.log, batches, ledger.id)
            chains[span.layer_start] = [found[digest] for digest in digests if digest in found]
    if not any(chains.values()):
        raise BusyError("no receipt of this job is logged yet", expected="at least one", found="none")
    return chains


def _require_logged(chains: Chains, checked: Collection[bytes], ledger_id: bytes) -> None:
    logged = {receipt.digest(ledger_id) for chain in chains.values() for receipt in chain}
    waiting = [digest for digest in checked if digest not in logged]
    if waiting:
        raise BusyError("receipts of this job are not logged yet", found=f"{len(waiting)} of {len(checked)}")


def _receipts_in(log: StoredLog, batches: Sequence[int], ledger_id: bytes) -> dict[bytes, Receipt]:
    records = [Entry.decode(log.entry_bytes(index)).record for index in batches]
    receipts = [receipt for record in records for receipt in Receipt.decode_all(log.bodies(record))]
    return {receipt.digest(ledger_id): receipt for receipt in receipts}


def _require_all(answers: Sequence[Acknowledgement | CreditLedgerError]) -> None:
    for answer in answers:
        if isinstance(answer, CreditLedgerError):
            raise answer


def _load(path: Path, ledger_id: bytes) -> Ed25519Signer:
    roles = (KeyRole.CLIENT, KeyRole.NODE, KeyRole.QUEUE)
    return load_key(path, roles=roles, ledger_id=ledger_id).ed25519()
