"""Tokens and invitations: what is good, until when, how often, and that no secret is kept or shown."""

import hashlib
import random
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from creditledger.errors import (
    CreditLedgerError,
    MalformedRecordError,
    RoleError,
    TokenError,
    UnknownIdError,
)
from creditledger.ledger.directory import LedgerDirectory
from creditledger.ledger.lmdb_store import LmdbStore
from creditledger.records.registration import Role
from creditledger.service.pool.bearer_token import BearerToken
from creditledger.service.pool.gate_store import open_gate_store
from creditledger.service.pool.invitations import redeem
from creditledger.service.pool.tokens import VALID_MS_MAX, Scope, Tokens
from ledger_pools import START_MS, FixedClock

HOUR = 3_600_000
CHANCE = random.Random(6)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LmdbStore]:
    opened = open_gate_store(LedgerDirectory(tmp_path))
    yield opened
    opened.close()


def issue(tokens: Tokens, *scopes: Scope, valid_ms: int = HOUR, uses: int = 0, role: int = 0) -> BearerToken:
    token, _ = tokens.issue(
        name="t", scopes=scopes, valid_ms=valid_ms, random_bytes=CHANCE.randbytes, uses=uses, role=role
    )
    return token


def test_a_token_opens_what_it_was_made_for(store: LmdbStore) -> None:
    tokens = Tokens(store, clock=FixedClock())
    permit = tokens.permit(issue(tokens, Scope.READ, Scope.METRICS))
    permit.require(Scope.READ)
    permit.require(Scope.SUBMIT, Scope.METRICS)
    with pytest.raises(RoleError, match="does not open this"):
        permit.require(Scope.SUBMIT)


def test_a_token_is_its_text_and_nothing_else_is() -> None:
    token = BearerToken.new(random_bytes=CHANCE.randbytes)
    text = token.reveal()
    assert BearerToken.parse(text) == token
    for other in (text[:-1], text + "0", text.upper(), " " + text, text + "\n", "", "clt_", text[1:]):
        with pytest.raises(TokenError) as caught:
            BearerToken.parse(other)
        assert token.secret.hex()[:40] not in f"{caught.value} {caught.value.expected} {caught.value.found}"


def test_neither_repr_nor_store_shows_a_secret(store: LmdbStore, tmp_path: Path) -> None:
    """D7: the canary is the secret; it is looked for in every form, in every file."""
    tokens = Tokens(store, clock=FixedClock())
    token = issue(tokens, Scope.READ)
    shown = f"{token!r} {token} {tokens.permit(token)!r} {tokens.listed()!r} {[token]}"
    for secret in (token.secret.hex(), repr(token.secret)[2:-1]):
        assert secret not in shown
    files = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert any(token.secret_hash() in content for content in files)
    assert not any(token.secret in content or token.secret.hex().encode() in content for content in files)
    assert token.secret_hash() == hashlib.sha256(token.secret).digest()


def test_a_token_ends_at_its_time(store: LmdbStore) -> None:
    clock = FixedClock()
    tokens = Tokens(store, clock=clock)
    token = issue(tokens, Scope.READ)
    clock.now = START_MS + HOUR - 1
    tokens.permit(token)
    clock.now += 1
    with pytest.raises(TokenError, match="expired"):
        tokens.permit(token)


def test_a_token_is_revoked_at_once_and_for_ever(store: LmdbStore) -> None:
    clock = FixedClock()
    tokens = Tokens(store, clock=clock)
    token, other = issue(tokens, Scope.READ), issue(tokens, Scope.READ)
    first = tokens.revoke(token.id)
    clock.now += 5
    assert tokens.revoke(token.id) == first
    assert first.revoked_unix_ms == START_MS
    with pytest.raises(TokenError, match="revoked"):
        tokens.permit(token)
    tokens.permit(other)
    with pytest.raises(UnknownIdError):
        tokens.revoke(bytes(8))


def test_a_stranger_is_not_told_why(store: LmdbStore) -> None:
    """D8: an id is no secret; whoever has only that learns nothing of what became of the token."""
    clock = FixedClock()
    tokens = Tokens(store, clock=clock)
    revoked, expired = issue(tokens, Scope.READ), issue(tokens, Scope.READ, valid_ms=1)
    tokens.revoke(revoked.id)
    clock.now += 1
    said = set()
    for token_id in (revoked.id, expired.id, b"nobody's"):
        with pytest.raises(TokenError) as caught:
            tokens.permit(BearerToken(id=token_id, secret=bytes(32)))
        said.add(str(caught.value))
    assert said == {"the token is not known here"}
    # The row that stands in for an unknown id has a hash that no secret is known for.
    assert hashlib.sha256(bytes(32)).digest() != bytes(32)


def test_one_wrong_bit_is_another_token(store: LmdbStore) -> None:
    tokens = Tokens(store, clock=FixedClock())
    token = issue(tokens, Scope.READ)
    for place in range(0, 256, 17):
        secret = (int.from_bytes(token.secret, "big") ^ 1 << place).to_bytes(32, "big")
        with pytest.raises(TokenError):
            tokens.permit(BearerToken(id=token.id, secret=secret))
    tokens.permit(token)


@pytest.mark.parametrize(
    ("scopes", "valid_ms", "uses"),
    [((), HOUR, 0), ((Scope.JOIN,), HOUR, 0), ((Scope.READ,), HOUR, 1), ((Scope.READ,), 0, 0),
     ((Scope.READ,), VALID_MS_MAX + 1, 0)],
)  # fmt: skip
def test_a_token_for_nothing_or_without_an_end_is_not_made(
    store: LmdbStore, scopes: tuple[Scope, ...], valid_ms: int, uses: int
) -> None:
    tokens = Tokens(store, clock=FixedClock())
    with pytest.raises(MalformedRecordError):
        issue(tokens, *scopes, valid_ms=valid_ms, uses=uses)
    assert tokens.listed() == []
    issue(tokens, Scope.READ, valid_ms=VALID_MS_MAX)


def test_tokens_outlive_the_process_and_two_may_have_the_store_open(tmp_path: Path) -> None:
    directory = LedgerDirectory(tmp_path)
    first = open_gate_store(directory)
    token = issue(Tokens(first, clock=FixedClock()), Scope.READ)
    first.close()
    again = open_gate_store(directory)
    assert Tokens(again, clock=FixedClock()).permit(token).id == token.id
    again.close()
    assert (tmp_path / "service").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "service" / "store" / "data.mdb").stat().st_mode & 0o077 == 0


def take(store: LmdbStore, token: BearerToken, role: Role = Role.NODE, now: int = START_MS) -> None:
    with store.write() as view:
        redeem(view, token, role=role, now_unix_ms=now)


def test_an_invitation_admits_so_many(store: LmdbStore) -> None:
    tokens = Tokens(store, clock=FixedClock())
    token = issue(tokens, Scope.JOIN, uses=2)
    take(store, token)
    take(store, token, Role.CLIENT)
    with pytest.raises(TokenError, match="used up"):
        take(store, token)
    ((_, row),) = tokens.listed()
    assert (row.used, row.uses) == (2, 2)


def test_an_invitation_is_for_its_role(store: LmdbStore) -> None:
    token = issue(Tokens(store, clock=FixedClock()), Scope.JOIN, uses=1, role=Role.NODE)
    with pytest.raises(RoleError, match="another role"):
        take(store, token, Role.QUEUE)
    take(store, token, Role.NODE)


def test_an_invitation_ends_as_a_token_does(store: LmdbStore) -> None:
    tokens = Tokens(store, clock=FixedClock())
    token, revoked = (issue(tokens, Scope.JOIN, uses=9) for _ in range(2))
    tokens.revoke(revoked.id)
    plain = issue(tokens, Scope.READ, Scope.SUBMIT)
    for bad, now in ((token, START_MS + HOUR), (revoked, START_MS), (plain, START_MS)):
        with pytest.raises((TokenError, RoleError)):
            take(store, bad, now=now)
    take(store, token, now=START_MS + HOUR - 1)


def test_uses_that_race_are_counted(store: LmdbStore) -> None:
    """Sixteen at once for five uses: five, and no more."""
    tokens = Tokens(store, clock=FixedClock())
    token = issue(tokens, Scope.JOIN, uses=5)
    begin, outcomes = threading.Barrier(16), []

    def race() -> None:
        begin.wait()
        try:
            take(store, token)
            outcomes.append(True)
        except CreditLedgerError:
            outcomes.append(False)

    threads = [threading.Thread(target=race) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (outcomes.count(True), len(outcomes)) == (5, 16)
    assert tokens.listed()[0][1].used == 5
