"""The gate: which request needs which token, and what it does with those that it lets through."""

import asyncio
import base64
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from asgi_exchange import Answered, exchange
from creditledger.ledger.directory import LedgerDirectory
from creditledger.service.pool.appending import TOKEN
from creditledger.service.pool.bearer_token import BearerToken
from creditledger.service.pool.gate import BEARER, Gate
from creditledger.service.pool.gate_settings import GateSettings
from creditledger.service.pool.gate_store import open_gate_store
from creditledger.service.pool.rate_limits import RateLimits
from creditledger.service.pool.tokens import Scope, Tokens
from ledger_pools import FixedClock

HOUR = 3_600_000
READS = (
    "/checkpoint", "/tile/0/000", "/tile/entries/000.p/3", "/batch/" + "ab" * 32, "/policy", "/healthz",
    "/openapi.json", "/v1/accounts/alice", "/v1/receipts/" + "ab" * 32, "/v1/bundles/" + "ab" * 32,
    "/v1/rounds/latest", "/v1/status", "/", "/nodes", "/leaderboard", "/static/htmx.min.js",
    "/docs", "/nowhere",
)  # fmt: skip
TRICKS = (
    "/v1/admissions/", "/v1/admissions/../status", "/v1/admissions/" + "ab" * 31,
    "/v1/admissions/" + "AB" * 32,
    "/v1/admissions//" + "ab" * 32, "/V1/admissions", "/v1/admissions\n", "//v1/admissions", "/v1/evidence",
    "/v1/evidence/", "/v1/evidence/../status", "/v1/evidence/%2e%2e/status", "/v1/evidence/inputs/..",
    "/v1/evidence//status", "/metrics/", "",
)  # fmt: skip


@dataclass(slots=True)
class Inside:
    """What stands behind the gate: answers everything, and remembers what it saw."""

    seen: list[dict[str, Any]] = field(default_factory=list)
    cache_control: bytes = b"public, max-age=31536000, immutable"

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.seen.append(dict(scope))
        headers = [(b"etag", b'"x"'), (b"cache-control", self.cache_control)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"inside"})


class Pool:
    """A gate with its tokens, in front of an `Inside`."""

    def __init__(self, path: Path, settings: bytes = b"") -> None:
        self.clock = FixedClock()
        self.store = open_gate_store(LedgerDirectory(path))
        self.tokens = Tokens(self.store, clock=self.clock)
        self.inside = Inside()
        self.settings = GateSettings.parse(settings)
        limits = RateLimits(self.settings.limits, clock=self.clock)
        self.gate = Gate(self.inside, settings=self.settings, tokens=self.tokens, limits=limits)

    def token(self, *scopes: Scope) -> BearerToken:
        chance = random.Random(repr(scopes))
        uses = int(Scope.JOIN in scopes)
        made, _ = self.tokens.issue(
            name="t", scopes=scopes, valid_ms=HOUR, random_bytes=chance.randbytes, uses=uses
        )
        return made

    def ask(self, method: str, path: str, token: BearerToken | str | None = None) -> Answered:
        text = token.reveal() if isinstance(token, BearerToken) else token
        return exchange(self.gate, method, path, *([("authorization", f"Bearer {text}")] if text else []))


@pytest.fixture
def private(tmp_path: Path) -> Iterator[Pool]:
    pool = Pool(tmp_path, b"[reading]\nprivate = true\n")
    yield pool
    pool.store.close()


@pytest.fixture
def public(tmp_path: Path) -> Iterator[Pool]:
    pool = Pool(tmp_path)
    yield pool
    pool.store.close()


def test_a_private_pool_closes_every_read_path(private: Pool) -> None:
    """Whatever is not named as open is closed, so that a path added later is closed too."""
    reader = private.token(Scope.READ)
    for path in (*READS, *TRICKS):
        for method in ("GET", "HEAD", "OPTIONS"):
            refused = private.ask(method, path)
            assert (refused.status, refused.json["error"]) == (401, "TokenError"), path
            assert refused.header("www-authenticate") == 'Bearer realm="creditledger"'
    assert private.inside.seen == []
    for path in READS:
        assert private.ask("GET", path, reader).body == b"inside"


def test_a_public_pool_is_read_without_a_token(public: Pool) -> None:
    for path in (*READS, "/metrics"):
        assert public.ask("GET", path).status == 200
    assert public.ask("POST", "/v1/records").status == 200


@pytest.mark.parametrize("scope", list(Scope))
def test_a_token_opens_no_more_than_its_scope(private: Pool, scope: Scope) -> None:
    token = private.token(scope)
    paths = (("GET", "/v1/status"), ("GET", "/metrics"), ("GET", "/healthz"), ("POST", "/v1/records"))
    opened = {path for path in paths if private.ask(*path, token).status == 200}
    assert (
        opened
        == {
            Scope.READ: {("GET", "/v1/status"), ("GET", "/healthz")},
            Scope.METRICS: {("GET", "/metrics"), ("GET", "/healthz")},
            Scope.SUBMIT: {("POST", "/v1/records")},
            Scope.JOIN: set(),
        }[scope]
    )
    if scope is not Scope.READ:
        refused = private.ask("GET", "/v1/status", token)
        assert (refused.status, refused.json["error"], refused.json["exit"]) == (403, "RoleError", 6)


def test_a_token_that_is_not_good_is_refused_even_where_none_is_needed(public: Pool) -> None:
    """Else a node whose token has expired would go on as a stranger and not be told."""
    good, revoked = public.token(Scope.READ), public.token(Scope.READ, Scope.SUBMIT)
    assert public.ask("GET", "/checkpoint", revoked).status == 200
    public.tokens.revoke(revoked.id)
    unknown = BearerToken(id=good.id, secret=bytes(32))
    for bad in (revoked, unknown, "clt_x", "x", "clt_" + "0" * 10_000):
        refused = public.ask("GET", "/checkpoint", bad)
        assert (refused.status, refused.json["type"]) == (401, "urn:creditledger:problem:token-error")
    assert public.ask("GET", "/checkpoint", good).status == 200
    public.clock.now += HOUR
    assert public.ask("GET", "/checkpoint", good).status == 401


def test_who_shows_a_token_is_held_to_it(public: Pool) -> None:
    """A token made for reading submits nothing, even where anybody may."""
    assert public.ask("POST", "/v1/records", public.token(Scope.READ)).status == 403
    assert public.ask("POST", "/v1/records", public.token(Scope.SUBMIT)).status == 200


def test_submitting_alone_may_take_a_token(tmp_path: Path) -> None:
    pool = Pool(tmp_path, b"[submitting]\nprivate = true\n[metrics]\nprivate = true\n")
    assert pool.ask("GET", "/v1/status").status == 200
    for method, path, scope in (("POST", "/v1/records", Scope.SUBMIT), ("GET", "/metrics", Scope.METRICS)):
        assert pool.ask(method, path).status == 401
        assert pool.ask(method, path, pool.token(scope)).status == 200
    pool.store.close()


def test_the_desk_and_signed_requests_are_reached_without_a_token(private: Pool) -> None:
    """They look at signatures of their own; nothing else is reached by their names."""
    for method, path in (
        ("POST", "/v1/admissions"),
        ("GET", "/v1/admissions/" + "ab" * 32),
        ("GET", "/v1/evidence/inputs/" + "ab" * 32),
        ("PUT", "/v1/evidence/refutations/" + "ab" * 32),
    ):
        assert private.ask(method, path).status == 200
    assert private.ask("POST", "/v1/admissions", private.token(Scope.JOIN)).status == 200


@pytest.mark.parametrize(
    "headers",
    [
        ["Bearer"],
        ["Bearer "],
        ["Basic !!"],
        ["Basic " + base64.b64encode(b"user").decode()],
        ["Digest clt_x"],
        ["bearer\tclt_x"],
        ["\xff\xfe"],
        [""],
        ["Bearer GOOD", "Bearer GOOD"],
        ["Bearer GOOD" + " " * 600],
    ],
)
def test_an_authorization_that_cannot_be_read_is_refused(private: Pool, headers: list[str]) -> None:
    good = private.token(Scope.READ).reveal()
    given = [("authorization", value.replace("GOOD", good)) for value in headers]
    refused = exchange(private.gate, "GET", "/v1/status", *given)
    assert refused.status == 401
    assert good[21:] not in refused.body.decode()
    assert exchange(private.gate, "GET", "/v1/status", ("authorization", f"bearer  {good}")).status == 200


def test_a_browser_logs_in_and_only_reads(private: Pool) -> None:
    """Basic's password is the token. No form of another site can submit with it."""
    token = private.token(Scope.READ, Scope.SUBMIT).reveal()
    page = ("accept", "text/html,application/xhtml+xml")
    asked = exchange(private.gate, "GET", "/", page)
    assert (asked.status, "Basic" in (asked.header("www-authenticate") or "")) == (401, True)
    basic = ("authorization", "Basic " + base64.b64encode(f"me:{token}".encode()).decode())
    assert exchange(private.gate, "GET", "/", page, basic).status == 200
    assert exchange(private.gate, "POST", "/v1/records", basic).status == 401


def test_nothing_inside_sees_the_secret(private: Pool) -> None:
    """D7: what stands behind cannot log what it does not have; what it has does not print."""
    token = private.token(Scope.READ)
    private.ask("GET", "/v1/status", token)
    (scope,) = private.inside.seen
    assert [name for name, _ in scope["headers"]] == []
    assert (scope[TOKEN], scope[BEARER]) == (token.id.hex(), token)
    assert token.secret.hex() not in repr(scope)
    assert repr(token.secret)[2:-1] not in repr(scope)


def test_who_shows_no_token_has_none(public: Pool) -> None:
    public.ask("GET", "/v1/status")
    (scope,) = public.inside.seen
    assert (scope[TOKEN], scope[BEARER]) == (None, None)


def test_what_a_private_pool_answers_is_kept_by_no_cache_between(private: Pool) -> None:
    reader = private.token(Scope.READ)
    kept = private.ask("GET", "/tile/0/000", reader).header("cache-control")
    assert kept == "private, max-age=31536000, immutable"
    for said, kept in (
        (b"", "private, no-cache"),
        (b"no-cache", "private, no-cache"),
        (b"no-store", "no-store"),
    ):
        private.inside.cache_control = said
        assert private.ask("GET", "/v1/status", reader).header("cache-control") == kept
    assert private.ask("GET", "/v1/status").header("cache-control") == "no-store"


def test_what_a_public_pool_answers_is_left_alone(public: Pool) -> None:
    answered = public.ask("GET", "/tile/0/000")
    assert answered.header("cache-control") == "public, max-age=31536000, immutable"


def test_a_token_has_a_share_of_its_own_and_readers_share_one(tmp_path: Path) -> None:
    """D1: a flood without a token leaves those with one alone, wherever it comes from."""
    pool = Pool(tmp_path, b"[limits]\nrequests_per_minute = 300\nanonymous_per_minute = 300\n")
    member = pool.token(Scope.READ)
    assert [pool.ask("GET", "/checkpoint").status for _ in range(301)] == [200] * 300 + [429]
    bad = pool.ask("GET", "/checkpoint", "clt_nobody")
    assert (bad.status, bad.header("retry-after")) == (429, "1")
    assert [pool.ask("GET", "/checkpoint", member).status for _ in range(301)] == [200] * 300 + [429]
    refused = pool.ask("GET", "/checkpoint", member)
    assert (refused.json["error"], refused.json["exit"]) == ("RateLimitError", 3)
    assert pool.ask("GET", "/checkpoint", pool.token(Scope.READ, Scope.METRICS)).status == 200
    pool.clock.now += 200
    assert pool.ask("GET", "/checkpoint").status == 200
    pool.store.close()


def test_requests_to_join_share_the_strangers_share(tmp_path: Path) -> None:
    """H7: an invited account does not wait behind a flood of uninvited ones."""
    pool = Pool(tmp_path, b"[limits]\nstrangers_per_minute = 1\n")
    asked = [pool.ask("POST", "/v1/admissions").status for _ in range(257)]
    assert asked == [200] * 256 + [429]
    assert pool.ask("POST", "/v1/admissions", pool.token(Scope.JOIN)).status == 200
    assert pool.ask("GET", "/checkpoint").status == 200
    pool.store.close()


def test_addresses_do_not_matter(tmp_path: Path) -> None:
    """Neither the connection's nor one that a header claims."""
    pool = Pool(tmp_path, b"[limits]\nanonymous_per_minute = 1\n")
    for number in range(256):
        forwarded = ("x-forwarded-for", f"10.0.0.{number}")
        assert exchange(pool.gate, "GET", "/checkpoint", forwarded).status == 200
    assert exchange(pool.gate, "GET", "/checkpoint", ("x-forwarded-for", "192.0.2.1")).status == 429
    pool.store.close()


def test_only_http_is_let_through(public: Pool) -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(public.gate({"type": "websocket", "path": "/"}, lambda: asyncio.sleep(0), send))  # type: ignore
    assert (sent, public.inside.seen) == ([{"type": "websocket.close", "code": 1008}], [])
