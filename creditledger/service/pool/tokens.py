"""Bearer tokens as the service keeps them: what each one opens and until when, never the secret.

Source: specs/service.md §4."""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from enum import IntFlag
from hmac import compare_digest
from typing import Final

from creditledger.credits.state import State, StateView, decode_row
from creditledger.errors import MalformedRecordError, RoleError, TokenError, UnknownIdError
from creditledger.ledger.clock import Clock
from creditledger.ledger.store import Store
from creditledger.quantities import Code, Count, Digest, Millisecond, Name, UnixMillisecond
from creditledger.records.record import Fields
from creditledger.service.pool.bearer_token import ID_SIZE, BearerToken

VALID_MS_MAX: Final = 3_660 * 86_400_000
"""Ten years: every token ends one day."""
_TOKEN: Final = b"t/"
_NO_HASH: Final = bytes(32)


class Scope(IntFlag):
    """What a token opens."""

    READ = 1
    SUBMIT = 2
    METRICS = 4
    JOIN = 8
    """It is an invitation."""


class TokenRow(Fields):
    """One token, without its secret."""

    secret_hash: Digest
    scopes: Code
    """A sum of `Scope`."""
    name: Name
    """Whose it is, for the operator."""
    created_unix_ms: UnixMillisecond
    expires_unix_ms: UnixMillisecond
    revoked_unix_ms: UnixMillisecond = 0
    """0 for not revoked."""
    uses: Count = 0
    """How many accounts an invitation admits; else 0."""
    used: Count = 0
    role: Code = 0
    """The role that an invitation is for; 0 for any."""

    def check_rules(self) -> None:
        if not 1 <= self.scopes < 2 * Scope.JOIN or bool(self.scopes & Scope.JOIN) != bool(self.uses):
            raise MalformedRecordError("a token opens nothing, or admits nobody", found=str(self.scopes))
        if not 0 < self.expires_unix_ms - self.created_unix_ms <= VALID_MS_MAX:
            raise MalformedRecordError("a token's time is none", expected=f"1..{VALID_MS_MAX} ms")


@dataclass(frozen=True, slots=True, kw_only=True)
class Permit:
    """What a request may do, by the token that it presents."""

    id: bytes
    """The token's, 8 bytes."""
    scopes: Scope

    def require(self, *scopes: Scope) -> None:
        """One of ``scopes`` is among the permit's. Raises RoleError."""
        if not any(scope in self.scopes for scope in scopes):
            raise RoleError(
                "the token does not open this",
                expected=" or ".join(scope_names(*scopes)),
                found=", ".join(scope_names(*self.scopes)),
            )


class Tokens:
    """The tokens and invitations of one pool, for many threads and processes."""

    __slots__ = ("_clock", "_store")

    def __init__(self, store: Store, *, clock: Clock) -> None:
        """``store``: see `open_gate_store`."""
        self._store = store
        self._clock = clock

    def issue(
        self,
        *,
        name: str,
        scopes: Collection[Scope],
        valid_ms: Millisecond,
        random_bytes: Callable[[int], bytes],
        uses: int = 0,
        role: int = 0,
    ) -> tuple[BearerToken, TokenRow]:
        """Make and keep a token; nobody can show its secret again. ``uses``, ``role``: an invitation's.

        Raises MalformedRecordError, StorageError."""
        token, now = BearerToken.new(random_bytes=random_bytes), self._clock()
        row = TokenRow(
            secret_hash=token.secret_hash(),
            scopes=sum(set(scopes)),
            name=name,
            created_unix_ms=now,
            expires_unix_ms=now + valid_ms,
            uses=uses,
            role=role,
        )
        with self._store.write() as view:
            State(view).put_row(_TOKEN + token.id, row)
        return token, row

    def listed(self) -> list[tuple[bytes, TokenRow]]:
        """Every token ever issued, by id, the oldest first."""
        with self._store.read() as view:
            return sorted(_rows(view), key=lambda pair: (pair[1].created_unix_ms, pair[0]))

    def revoke(self, token_id: bytes) -> TokenRow:
        """End a token now; again is a success. Raises UnknownIdError, StorageError."""
        with self._store.write() as view:
            state = State(view)
            row = state.row(TokenRow, _TOKEN + token_id)
            if row is None:
                raise UnknownIdError("no such token", expected="an id of 16 hex digits", found=token_id.hex())
            if not row.revoked_unix_ms:
                row = row.replace(revoked_unix_ms=max(1, self._clock()))
                state.put_row(_TOKEN + token_id, row)
            return row

    def permit(self, token: BearerToken) -> Permit:
        """What ``token`` opens now. Raises TokenError for one that opens nothing, StorageError."""
        with self._store.read() as view:
            row = checked_row(view, token, now_unix_ms=self._clock())
        return Permit(id=token.id, scopes=Scope(row.scopes))


def checked_row(view: StateView, token: BearerToken, *, now_unix_ms: int) -> TokenRow:
    """The row of a token that is good now, in a transaction of its store. Raises TokenError.

    Why it is not good is said only to whoever has its secret."""
    row = State(view).row(TokenRow, _TOKEN + token.id)
    # Of an unknown id too: the time tells nobody which ids there are.
    is_known = compare_digest(_NO_HASH if row is None else row.secret_hash, token.secret_hash())
    if row is None or not is_known:
        raise TokenError("the token is not known here", found=token.id.hex())
    if row.revoked_unix_ms:
        raise TokenError("the token was revoked", found=f"{token.id.hex()} at {row.revoked_unix_ms}")
    if now_unix_ms >= row.expires_unix_ms:
        raise TokenError("the token has expired", found=f"{token.id.hex()} at {row.expires_unix_ms}")
    return row


def keep_row(view: StateView, token: BearerToken, row: TokenRow) -> None:
    """Replace the row of ``token`` in a transaction of its store."""
    State(view).put_row(_TOKEN + token.id, row)


def scope_names(*scopes: Scope) -> list[str]:
    """As the command line and errors call them."""
    return [str(scope.name).lower() for scope in scopes]


def _rows(view: StateView) -> Iterator[tuple[bytes, TokenRow]]:
    for key, encoded in view.scan(_TOKEN):
        token_id = key[len(_TOKEN) :]
        if len(token_id) == ID_SIZE:
            yield token_id, decode_row(TokenRow, encoded)
