"""Who may join: by invitation, by the operator's word, or anybody, as the pool's settings say.

An admission is the operator's signature over the account; it is made anew whenever it is asked for, with the
key in force. Source: specs/service.md §4."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from creditledger.credits import reading
from creditledger.credits.state import State, StateView, decode_row
from creditledger.errors import BusyError, ConflictError, RefusedError, TokenError, UnknownIdError
from creditledger.ledger.clock import Clock
from creditledger.ledger.ledger import Ledger
from creditledger.ledger.store import Store
from creditledger.quantities import AccountId, Code, Name, UnixMillisecond
from creditledger.records.parameters import Admission
from creditledger.records.record import Fields
from creditledger.records.registration import Role, admission_bytes
from creditledger.service.pool.admission_request import AdmissionRequest
from creditledger.service.pool.bearer_token import BearerToken
from creditledger.service.pool.gate_settings import AdmissionPolicy
from creditledger.service.pool.invitations import redeem

WAITING_MAX: Final = 1_000
"""More do not wait for the operator at one time; an invitation needs no waiting."""
WAITING_MS: Final = 30 * 86_400_000
"""Whom nobody admitted by then gives up the place, once it is wanted."""
_APPLICANT: Final = b"a/"


class Standing(IntEnum):
    """How far an applicant has come."""

    WAITING = 1
    ADMITTED = 2
    REFUSED = 3
    REGISTERED = 4
    """The ledger has the account."""


class ApplicantRow(Fields):
    """An account that asked to join, under which name and in which role."""

    account: AccountId
    name: Name
    role: Code
    standing: Code
    asked_unix_ms: UnixMillisecond
    decided_unix_ms: UnixMillisecond = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Where an applicant stands, and with what it may register."""

    account: bytes
    standing: Standing
    admission: bytes = b""
    """64 bytes for `Registration.admission` once admitted; empty also where the ledger asks for none."""


class AdmissionDesk:
    """Admits accounts to one open ledger, for many threads and processes."""

    __slots__ = ("_applicants", "_clock", "_ledger", "_policy", "_store")

    def __init__(self, ledger: Ledger, store: Store, *, policy: AdmissionPolicy, clock: Clock) -> None:
        """``ledger``: with the operator's key at hand."""
        self._ledger = ledger
        self._store = store
        self._policy = policy
        self._clock = clock
        self._applicants = Applicants(store, clock=clock)

    def apply(self, request: AdmissionRequest, invitation: BearerToken | None) -> Answer:
        """Admit the account, or have it wait for the operator. The same again is a success and takes no
        second use of the invitation; another name or role is asked for anew.

        Raises SignatureError, KeyFormatError; ConflictError for an account or name that is registered;
        TokenError, RoleError for the invitation; RefusedError for whom the operator has refused; BusyError
        where too many wait."""
        request.require_proof(self._ledger.id)
        with self._ledger.read() as state:
            _require_free(state, request)
            is_open = reading.parameters_in_force(state).admission == Admission.OPEN
        if is_open:
            return Answer(account=request.account, standing=Standing.ADMITTED)
        if self._policy is not AdmissionPolicy.OPEN:
            standing = self._standing(request, invitation)
            if standing is not Standing.ADMITTED:
                return Answer(account=request.account, standing=standing)
        return self._admitted(request.account)

    def look_up(self, account: bytes) -> Answer:
        """Where an applicant stands now. Raises UnknownIdError for whom nobody knows."""
        with self._ledger.read() as state:
            if reading.account_state(state, account) is not None:
                return Answer(account=account, standing=Standing.REGISTERED)
        row = self._applicants.row(account)
        if row is None:
            raise UnknownIdError("this account has not asked to join", found=account.hex())
        if row.standing != Standing.ADMITTED:
            return Answer(account=account, standing=Standing(row.standing))
        return self._admitted(account)

    def require_as_admitted(self, account: bytes, *, name: str, role: int) -> None:
        """An account registers as what it was admitted as: the operator's signature covers neither name nor
        role. Raises ConflictError; nothing for whom this desk does not know."""
        row = self._applicants.row(account)
        if row is not None and row.standing == Standing.ADMITTED and not _is_admitted_as(row, name, role):
            raise ConflictError(
                "the account was admitted as another",
                expected=f"{row.name} ({Role(row.role).name.lower()})",
                found=f"{name} ({Role(role).name.lower()})",
            )

    def _standing(self, request: AdmissionRequest, invitation: BearerToken | None) -> Standing:
        now = self._clock()
        with self._store.write() as view:
            before = _row(view, request.account)
            if before is not None and _is_admitted_as(before, request.name, request.role):
                return Standing.ADMITTED
            if invitation is not None:
                redeem(view, invitation, role=request.role, now_unix_ms=now)
            elif self._policy is AdmissionPolicy.INVITE:
                raise TokenError("the pool admits by invitation", expected="an invitation as bearer token")
            elif before is not None and before.standing == Standing.REFUSED:
                raise RefusedError("the operator has refused this account", found=request.account.hex())
            elif before is None:
                _make_room(view, now)
            standing = Standing.WAITING if invitation is None else Standing.ADMITTED
            _put(view, _applicant(request, standing, before, now))
        return standing

    def _admitted(self, account: bytes) -> Answer:
        with self._ledger.read() as state:
            is_open = reading.parameters_in_force(state).admission == Admission.OPEN
        message = admission_bytes(account, self._ledger.id)
        admission = b"" if is_open else self._ledger.operator_signer().sign(message)
        return Answer(account=account, standing=Standing.ADMITTED, admission=admission)


class Applicants:
    """Who asked to join, as the operator sees it. For many threads and processes."""

    __slots__ = ("_clock", "_store")

    def __init__(self, store: Store, *, clock: Clock) -> None:
        """``store``: see `open_gate_store`."""
        self._store = store
        self._clock = clock

    def row(self, account: bytes) -> ApplicantRow | None:
        """The applicant with this account id, or None."""
        with self._store.read() as view:
            return _row(view, account)

    def listed(self) -> list[ApplicantRow]:
        """Everybody who asked, the first first."""
        with self._store.read() as view:
            return sorted(_rows(view), key=lambda row: (row.asked_unix_ms, row.account))

    def decide(self, account: bytes, standing: Standing) -> ApplicantRow:
        """Admit or refuse an applicant; the same again is a success. Raises UnknownIdError, StorageError."""
        with self._store.write() as view:
            row = _row(view, account)
            if row is None:
                raise UnknownIdError("this account has not asked to join", found=account.hex())
            if row.standing != standing:
                row = row.replace(standing=standing, decided_unix_ms=self._clock())
                _put(view, row)
            return row


def _require_free(state: StateView, request: AdmissionRequest) -> None:
    if reading.account_state(state, request.account) is not None:
        raise ConflictError("account is registered already", found=request.account.hex())
    if reading.account_named(state, request.name) is not None:
        raise ConflictError("name is taken", expected="a free name", found=request.name)


def _applicant(
    request: AdmissionRequest, standing: Standing, before: ApplicantRow | None, now: int
) -> ApplicantRow:
    return ApplicantRow(
        account=request.account,
        name=request.name,
        role=request.role,
        standing=standing,
        asked_unix_ms=now if before is None else before.asked_unix_ms,
        decided_unix_ms=now if standing is Standing.ADMITTED else 0,
    )


def _make_room(view: StateView, now: int) -> None:
    """There is a place for one more who waits. Raises BusyError."""
    waiting = [row for row in _rows(view) if row.standing == Standing.WAITING]
    if len(waiting) < WAITING_MAX:
        return
    late = [row for row in waiting if row.asked_unix_ms + WAITING_MS <= now]
    if not late:
        raise BusyError("too many wait to be admitted", expected=f"at most {WAITING_MAX}, or an invitation")
    for row in late:
        view.delete(_APPLICANT + row.account)


def _is_admitted_as(row: ApplicantRow, name: str, role: int) -> bool:
    return (row.standing, row.name, row.role) == (Standing.ADMITTED, name, role)


def _row(view: StateView, account: bytes) -> ApplicantRow | None:
    return State(view).row(ApplicantRow, _APPLICANT + account)


def _put(view: StateView, row: ApplicantRow) -> None:
    State(view).put_row(_APPLICANT + row.account, row)


def _rows(view: StateView) -> Iterator[ApplicantRow]:
    for _, encoded in view.scan(_APPLICANT):
        yield decode_row(ApplicantRow, encoded)
