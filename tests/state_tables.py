"""State-machine tables of another two-phase ledger, row by row against a ledger of ours.

Posted transfers are transfers; a pending one is a hold at a queue, of a hardware class whose millisecond
costs one micro-credit; posting it is a capture and a release, voiding it a release; a timeout is an expiry.
Every account is a queue, so that anybody may receive either. Unlimited accounts have a credit line.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from creditledger.credits import reading
from creditledger.errors import (
    AmountError,
    ConflictError,
    CreditLedgerError,
    FailedIdError,
    HoldClosedError,
    HoldExpiredError,
    InsufficientCreditError,
    RoleError,
    UnknownIdError,
)
from creditledger.ledger.ledger import Ledger
from creditledger.ledger.writer import Acknowledgement
from creditledger.quantities import AMOUNT_MAX, ZERO_DIGEST
from creditledger.records.entry import Submission
from creditledger.records.parameters import HardwarePrice
from creditledger.records.registration import Role
from creditledger.records.state import AccountState, HoldStatus
from creditledger.records.transfer import Capture, Hold, Release, Transfer
from creditledger.transparency.keys import Ed25519Signer
from fakes.cast import START_MS, Papers, ed25519, fake_id, pool_parameters, real_validator
from fakes.shown_pool import StillClock

UNIT: Final = HardwarePrice(name="unit", micro_per_gpu_second=1_000)
FOREVER_MS: Final = 10**12
_UNLIMITED: Final = 10**15
_LIVE: Final = (HoldStatus.OPEN, HoldStatus.CAPTURED)

WHOLE_TABLES: Final = {
    "linked": "linked chains: a group of submissions stands or falls one by one",
    "failed linked-chains": "linked chains: a group of submissions stands or falls one by one",
    "per-transfer balance": "linked chains: a group of submissions stands or falls one by one",
    "balancing": "balancing: no amount is computed for the payer",
    "imported": "imported events: entry times are the writer's",
    "clos": "closing: of an empty account, by itself and for ever, no flag of a transfer or an account",
}
"""By what the table's name holds: why none of its rows runs."""

_ABOUT_FIELDS: Final = "fields that no record of ours has: user data, ledger, code, timestamp, flags"
NOT_APPLICABLE: Final = {
    "user_data": _ABOUT_FIELDS,
    "ledger": _ABOUT_FIELDS,
    "code": _ABOUT_FIELDS,
    "timestamp": _ABOUT_FIELDS,
    "reserved": _ABOUT_FIELDS,
    "mutually_exclusive": _ABOUT_FIELDS,
    "closing_transfer": _ABOUT_FIELDS,
    "must_not_be_zero": "forbidden ids: every id and key of the right length is one",
    "int_max": "forbidden ids: every id and key of the right length is one",
    "must_be_zero": "accounts are registered empty: a registration names no balance",
    "must_be_different": "a queue may hold at itself; a capture has its own id and names a digest",
    "different_debit_account_id": "ids are scoped to their signer, and a capture names no holder",
    "overflows": "overflows: grants and credit lines together stay an amount, so credit runs out first",
    "exceeds_debits": "no limit on what an account receives",
    "different_amount VOI": "a release names no amount",
    "exceeds_pending VOI": "a release names no amount",
    "amount 0": "a transfer moves more than 0",
    "query": "queries by field: statements and exports show an account's whole history",
    "not_found, then": "an unknown account or hold fails no id: the same would be refused again",
    "exceeds_debits, then": "no limit on what an account receives",
    "different_flags account": _ABOUT_FIELDS,
}
"""By status or form of a row: why it does not run."""

REFUSED: Final[dict[str, tuple[type[CreditLedgerError], ...]]] = {
    "exceeds_credits": (InsufficientCreditError,),
    "id_already_failed": (FailedIdError,),
    "debit_account_not_found": (UnknownIdError,),
    "credit_account_not_found": (UnknownIdError,),
    "pending_transfer_not_found": (UnknownIdError,),
    "pending_transfer_not_pending": (UnknownIdError,),
    "pending_transfer_has_different_credit_account_id": (RoleError,),
    "exceeds_pending_transfer_amount": (AmountError,),
    "pending_transfer_already_posted": (HoldClosedError,),
    "pending_transfer_already_voided": (HoldClosedError,),
    "pending_transfer_expired": (HoldClosedError, HoldExpiredError),
}
"""The refusals of ours for each status of theirs; `exists_with_different_*` is a conflict."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of a table."""

    words: tuple[str, ...]

    @property
    def kind(self) -> str:
        return self.words[0]

    @property
    def status(self) -> str:
        return self.words[-1]

    @property
    def flags(self) -> frozenset[str]:
        return frozenset(self.words[12:21]) - {"_"} if self.kind == "transfer" else frozenset()

    def amount(self, place: int) -> int:
        """A number; ``-N`` counts down from the largest."""
        text = self.words[place]
        if text == "_":
            return 0
        return AMOUNT_MAX + int(text) if text.startswith("-") else int(text)


def rows_of(lines: Sequence[str]) -> list[Row]:
    """The rows of a table, without the ends of its batches: here each row is answered by itself."""
    return [Row(words=tuple(line.split())) for line in lines if not line.startswith("commit ")]


def why_not(row: Row, before: Sequence[Row]) -> str | None:
    """Why the row has no counterpart; None if it runs. ``before``: the table's rows before it."""
    key = _not_applicable(row, before)
    return None if key is None else NOT_APPLICABLE[key]


def _not_applicable(row: Row, before: Sequence[Row]) -> str | None:
    if row.kind.startswith(("get_", "query_")):
        return "query"
    if row.kind == "lookup_transfer":
        return "timestamp" if row.words[2] == "timestamp" else _unmade(row.words[1], before)
    if row.kind == "account":
        if row.status in ("created", "exists"):
            return None
        is_about_flags = row.status == "exists_with_different_flags"
        return "different_flags account" if is_about_flags else _field(row.status)
    if row.kind != "transfer":
        return None
    if "VOI" in row.flags and row.status == "pending_transfer_has_different_amount":
        return "different_amount VOI"
    if "VOI" in row.flags and row.status == "exceeds_pending_transfer_amount":
        return "exceeds_pending VOI"
    if row.flags & {"CDR", "CCR"}:
        return "closing_transfer"
    if row.status == "created" and not row.flags & {"POS", "VOI"} and row.amount(4) == 0:
        return "amount 0"
    if row.flags & {"POS", "VOI"} and _unmade(row.words[5], before) is not None:
        return _unmade(row.words[5], before)
    if row.status == "id_already_failed":
        failed = next(one for one in reversed(before) if one.words[:2] == row.words[:2])
        return None if failed.status == "exceeds_credits" else _after(failed.status)
    return None if row.status in REFUSED or _is_plain(row.status) else _field(row.status)


def _unmade(name: str, before: Sequence[Row]) -> str | None:
    """Why the transfer of this name was not made here, though it was there; None if it was, or in neither."""
    made = [one for one in before if one.words[:2] == ("transfer", name) and one.status == "created"]
    return _not_applicable(made[0], before[: before.index(made[0])]) if made else None


def _after(status: str) -> str:
    return "not_found, then" if status.endswith("not_found") else f"{status}, then"


def _is_plain(status: str) -> bool:
    compared = ("flags", "credit_account_id", "amount", "timeout", "pending_id")
    return status in ("created", "exists", *(f"exists_with_different_{name}" for name in compared))


def _field(status: str) -> str:
    names = [name for name in NOT_APPLICABLE if name in status]
    if not names:
        raise LookupError(f"no reason is known for {status}")
    return names[0]


@dataclass(kw_only=True)
class Bank:
    """One table's ledger."""

    ledger: Ledger
    papers: Papers
    clock: StillClock
    unlimited: int
    """Credit line of an account that may owe."""
    names: frozenset[str]
    """Accounts that ever owe and are not forbidden to."""
    forced: dict[str, tuple[int, int, int, int]] = field(default_factory=dict)
    granted: dict[str, int] = field(default_factory=dict)
    holds: dict[str, Hold] = field(default_factory=dict)
    posted: dict[str, int] = field(default_factory=dict)
    """Amounts by name."""
    made_at: dict[str, int] = field(default_factory=dict)
    failed_by: dict[str, str] = field(default_factory=dict)

    def run(self, row: Row) -> None:
        """Do what the row says and check what it says of it."""
        getattr(self, f"_{row.kind}")(row)

    def _tick(self, row: Row) -> None:
        # A negative one brings their clock to its end, which ours has none of.
        if not row.words[1].startswith("-"):
            self.clock.now += int(row.words[1]) * 1_000
        self.ledger.expire_due()

    def _account(self, row: Row) -> None:
        name = row.words[1]
        made = self.papers.registration(self._key(name), name.lower(), Role.QUEUE)
        self._expect(self._submit(made), row)
        if row.status == "created" and name in self.names and "D<C" not in row.words:
            key = self._key(name).public_key
            self._must(self.papers.credit_line(key, self.unlimited, id=fake_id("line", name)))
            self._certify()

    def _setup(self, row: Row) -> None:
        name = row.words[1]
        forced = (row.amount(2), row.amount(3), row.amount(4), row.amount(5))
        self.forced[name] = forced
        debits_pending, debits_posted, _, credits_posted = forced
        owned = credits_posted - debits_posted - debits_pending
        if name not in self.names and owned > 0:
            key = self._key(name).public_key
            self._must(self.papers.grant(key, owned, id=fake_id("forced", name)))
            self.granted[name] = owned
            self._certify()

    def _transfer(self, row: Row) -> None:
        if row.status == "id_already_failed":
            # Ids are their signer's: the row is run for the account under which the id failed.
            row = Row(words=(*row.words[:2], self.failed_by[row.words[1]], *row.words[3:]))
        made = self._two_phase(row) if row.flags & {"POS", "VOI"} else self._one(row)
        self._expect(self._submit(made[0]), row)
        if row.status in ("created", "exists"):
            for rest in made[1:]:
                self._expect(self._submit(rest), row)
        elif row.status in REFUSED:
            self.failed_by[row.words[1]] = row.words[2]
        if row.status == "created":
            self._keep(row, made[0])

    def _keep(self, row: Row, made: Submission) -> None:
        name, record = row.words[1], made.record
        if isinstance(record, Hold):
            self.holds[name] = record
        self.posted[name] = getattr(record, "amount_micro", 0)

    def _one(self, row: Row) -> list[Submission]:
        _, name, debit, credit = row.words[:4]
        payer, payee, amount = self._key(debit), self._key(credit).public_key, row.amount(4)
        if "PEN" not in row.flags:
            record = Transfer(id=_id(name), payer=payer.public_key, payee=payee, amount_micro=amount)
            return [self.papers.signed(payer, record)]
        timeout_ms = row.amount(9) * 1_000 or FOREVER_MS
        hold = Hold(
            id=_id(name),
            holder=payer.public_key,
            amount_micro=amount,
            job=ZERO_DIGEST,
            queue=payee,
            hardware=UNIT.name,
            gpus=1,
            duration_ms=amount,
            micro_per_gpu_second=UNIT.micro_per_gpu_second,
            expires_unix_ms=self._began(name) + timeout_ms,
        )
        return [self.papers.signed(payer, hold)]

    def _began(self, name: str) -> int:
        """When the transfer was first made: a repeat is of the same record."""
        return self.made_at.get(name, self.clock.now)

    def _two_phase(self, row: Row) -> list[Submission]:
        name, pending = row.words[1], row.words[5]
        hold = self.holds.get(pending if pending.startswith("T") else f"T{pending}")
        digest = fake_id("none", pending) * 2 if hold is None else hold.digest(self.ledger.id)
        if hold is None and pending in self.posted:
            digest = self._digest_of(pending)
        queue = self._queue(row, hold)
        release = Release(id=_id(name), hold=digest, queue=queue.public_key, reason="voided")
        if "VOI" in row.flags:
            return [self.papers.signed(queue, release)]
        amount = row.amount(4)
        if row.words[4] == "-0" and hold is not None:
            amount = hold.amount_micro
        capture = Capture(
            id=_id(name), hold=digest, queue=queue.public_key, gpu_ms=amount, amount_micro=amount
        )
        release = release.replace(id=_id(f"rest of {name}"), reason="posted")
        return [self.papers.signed(queue, record) for record in (capture, release)]

    def _queue(self, row: Row, hold: Hold | None) -> Ed25519Signer:
        """Who posts or voids: the hold's queue, but where the row is about another one."""
        known = [name for name in ("A1", "A2", "A3", "A4", "A5") if self._state(name) is not None]
        if hold is None:
            return self._key(known[-1])
        own = next(name for name in known if self._key(name).public_key == hold.queue)
        if row.status == "pending_transfer_has_different_credit_account_id":
            return self._key(next(name for name in known if name != own))
        return self._key(own)

    def _digest_of(self, name: str) -> bytes:
        for index in range(self.ledger.size):
            record = self.ledger.entry(index).record
            if getattr(record, "id", b"") == _id(name):
                return record.digest(self.ledger.id)
        raise LookupError(name)

    def _lookup_account(self, row: Row) -> None:
        name = row.words[1]
        state = self._state(name)
        if row.words[2] == "_":
            assert state is None, f"{name} is there"
            return
        assert state is not None, f"{name} is not there"
        forced = self.forced.get(name, (0, 0, 0, 0))
        found = tuple(base + more for base, more in zip(forced, self._sums(name), strict=True))
        assert found == tuple(row.amount(at) for at in range(2, 6)), f"found {found}"
        pending, debits, _, credits_ = self._sums(name)
        net = state.available_micro - state.overdrawn_micro - self.granted.get(name, 0)
        assert (state.held_micro, net) == (pending, credits_ - debits - pending), "balances say otherwise"

    def _sums(self, name: str) -> tuple[int, int, int, int]:
        """What the log itself says: debits pending and posted, credits pending and posted."""
        key, sums = self._key(name).public_key, [0, 0, 0, 0]
        with self.ledger.read() as view:
            for index in range(self.ledger.size):
                record = self.ledger.entry(index).record
                if isinstance(record, Transfer):
                    sums[1] += record.amount_micro * (record.payer == key)
                    sums[3] += record.amount_micro * (record.payee == key)
                elif isinstance(record, Hold):
                    state = reading.hold_state(view, record.digest(self.ledger.id))
                    left = state.amount_micro - state.captured_micro if state.status in _LIVE else 0
                    sums[0] += left * (record.holder == key)
                    sums[2] += left * (record.queue == key)
                    sums[1] += state.captured_micro * (record.holder == key)
                    sums[3] += state.captured_micro * (record.queue == key)
        return sums[0], sums[1], sums[2], sums[3]

    def _lookup_transfer(self, row: Row) -> None:
        name, what = row.words[1], row.words[2]
        if what == "exists":
            assert (name in self.posted) == (row.words[3] == "true")
            return
        expected = row.amount(3)
        assert self.posted[name] == expected, f"found {self.posted[name]}"

    def _state(self, name: str) -> AccountState | None:
        with self.ledger.read() as view:
            return reading.account_state(view, self._key(name).public_key)

    def _key(self, name: str) -> Ed25519Signer:
        return ed25519(f"table {name}")

    def _submit(self, submission: Submission) -> Acknowledgement | CreditLedgerError:
        return self.ledger.submit([submission])[0]

    def _must(self, submission: Submission) -> None:
        self.ledger.append(submission)

    def _certify(self) -> None:
        self.ledger.complete_round({0: real_validator(0)})

    def _expect(self, answer: Acknowledgement | CreditLedgerError, row: Row) -> None:
        status = row.status
        if status in ("created", "exists"):
            assert isinstance(answer, Acknowledgement), f"refused: {answer!r}"
            assert answer.repeated == (status == "exists")
            if status == "created" and row.kind == "transfer":
                self.made_at.setdefault(row.words[1], self.clock.now)
        else:
            errors = (ConflictError,) if status.startswith("exists_with") else REFUSED[status]
            assert type(answer) in errors, f"answered {answer!r}"


def _id(name: str) -> bytes:
    return fake_id("table", name)


def open_bank(folder: Path, rows: Sequence[Row]) -> Bank:
    """A ledger for one table, whose rows say who may owe how much."""
    clock = StillClock(START_MS)
    ledger = Ledger.create(
        folder,
        origin="pool.example/table",
        operator=ed25519("operator"),
        parameters=pool_parameters(
            rule_set=4, levy_ppm=0, hardware=(UNIT,), grace_ms=0, clock_tolerance_ms=10**9
        ),
        witness=ed25519("witness"),
        clock=clock,
    )
    created = [row for row in rows if row.kind == "transfer" and row.status == "created"]
    bounded = {row.words[1] for row in rows if row.kind == "account" and "D<C" in row.words}
    is_largest = any(row.words[4] == "-0" and "PEN" in row.flags for row in created)
    owing = {row.words[2] for row in created if row.words[2].startswith("A")} - bounded
    return Bank(
        ledger=ledger,
        papers=Papers(genesis=ledger.genesis),
        clock=clock,
        unlimited=AMOUNT_MAX if is_largest else _UNLIMITED,
        names=frozenset(owing),
    )
