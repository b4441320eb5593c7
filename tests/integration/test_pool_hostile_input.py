"""What strangers send to a pool: typed refusals, at once, and it goes on serving. Threat rows D1, L16."""

import contextlib
import json
import random
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from cli_pools import Stage, content_of
from creditledger.records import canonical
from creditledger.service.pool.request_bounds import BODY_BYTES_MAX, HEADER_BYTES_MAX, URL_BYTES_MAX
from ledger_pools import registration
from pool_processes import MSGPACK, RunningPool, envelope, serving

ANSWER_SECONDS: Final = 0.05
ATTEMPTS: Final = 6
"""The best of so many counts: others use this machine too."""
MEMBERS: Final = {"type", "title", "status", "detail", "error", "expected", "found", "exit"}
Raw = tuple[int, dict[str, str], bytes]


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    return Stage(tmp_path_factory.mktemp("hostile"))


@pytest.fixture(scope="module")
def pool(stage: Stage) -> Iterator[RunningPool]:
    with serving(stage.pool, "--interval", 3600) as started:
        yield started


def request(method: str, path: str, body: bytes = b"", *headers: str, length: int | None = None) -> bytes:
    """A request to the byte."""
    lines = [f"{method} {path} HTTP/1.1", "host: pool", *headers]
    lines.append(f"content-length: {len(body) if length is None else length}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def ask_raw(pool: RunningPool, sent: bytes) -> Raw:
    """Send bytes; status, headers and body of the answer."""
    host, port = pool.address.split(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        with contextlib.suppress(BrokenPipeError):  # refused before all of it was read
            connection.sendall(sent)
        with connection.makefile("rb") as answer:
            status = int(answer.readline().split()[1])
            headers: dict[str, str] = {}
            while line := answer.readline().strip():
                name, _, value = line.decode().partition(":")
                headers[name.lower()] = value.strip()
            return status, headers, answer.read(int(headers.get("content-length", 0)))


def posted(body: bytes, *headers: str, path: str = "/v1/records") -> bytes:
    return request("POST", path, body, f"content-type: {MSGPACK}", *headers)


def hostile(ledger_id: bytes) -> dict[str, bytes]:
    """300 requests that ask for nothing anybody may have."""
    chance = random.Random(6)
    good = envelope([registration(ledger_id, "good")])
    items = canonical.encode([[[1] * 60_000, b"x" * 64], []], most=1 << 22)
    found: dict[str, bytes] = {
        "nothing": posted(b""),
        "an empty list": posted(canonical.encode([])),
        "257 records": posted(canonical.encode([b""] * 257)),
        "numbers": posted(canonical.encode([1, 2, 3])),
        "a list in a list": posted(canonical.encode([[b"x"]])),
        "one record alone": posted(registration(ledger_id, "good").encode()),
        "a promise of 4 GiB": posted(b"\xdd\xff\xff\xff\xff"),
        "a promise of a long string": posted(b"\x91\xc6\xff\xff\xff\xff"),
        "nested for ever": posted(b"\x91" * BODY_BYTES_MAX),
        "four million items": posted(envelope([items] * 60)),
        "longer than may be": posted(bytes(BODY_BYTES_MAX + 1)),
        "announced too long": request("POST", "/v1/records", b"", length=10**15),
        "no type": request("POST", "/v1/records", good),
        "JSON": request("POST", "/v1/records", b"[]", "content-type: application/json"),
        "two types": posted(good, "content-type: text/plain", "idempotency-key: a b"),
        "a key of 65": posted(good, "idempotency-key: " + "k" * 65),
        "two keys": posted(good, "idempotency-key: a", "idempotency-key: b"),
        "a long URL": request("GET", "/" + "u" * URL_BYTES_MAX),
        "a long query": request("GET", "/v1/status?" + "q" * URL_BYTES_MAX),
        "a long header": request("GET", "/checkpoint", b"", "x: " + "h" * HEADER_BYTES_MAX),
        "a flood of headers": request("GET", "/checkpoint", b"", *(f"x{n}: y" for n in range(400))),
        "a flood past the parser": request("GET", "/checkpoint", b"", "x: " + "h" * 100_000),
        "no HTTP": b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n",
        "another protocol": b"GET / SPDY/9\r\n\r\n",
        "two lengths": request("POST", "/v1/records", b"x", "content-length: 2"),
        "a negative length": request("POST", "/v1/records", b"", length=-1),
        "smuggled": b"POST /v1/records HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nZZ\r\n\r\n",
        "a query that is none": request("GET", "/v1/bundles/alice?absent=2"),
        "an absent name": request("GET", "/v1/bundles/alice?absent=1"),
        "hold of a name": posted(good, path="/v1/holds/alice/capture"),
        "capture of nothing": posted(good, path=f"/v1/holds/{'0' * 64}/capture"),
        "release of a registration": posted(
            registration(ledger_id, "good").encode(), path=f"/v1/holds/{'0' * 64}/release"
        ),
    }
    methods = ("PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW", "get")
    for path in ("/v1/records", "/v1/holds", "/checkpoint", "/healthz", "/v1/accounts/alice"):
        found |= {f"{method} {path}": request(method, path) for method in methods}
    for name in ("accounts", "receipts", "bundles"):
        for odd in (
            "0" * 64,
            "F" * 64,
            "%00",
            "%2e%2e",
            "a%2fb",
            "%ff%fe",
            "nobody",
            "'--",
            "{{7*7}}",
            "x" * 300,
        ):
            found[f"{name} {odd}"] = request("GET", f"/v1/{name}/{odd}")
    while len(found) < 300:
        number = len(found)
        match number % 3:
            case 0:
                found[f"noise {number}"] = posted(chance.randbytes(chance.randrange(1, 4_096)))
            case 1:
                found[f"cut {number}"] = posted(good[: chance.randrange(len(good))])
            case _:
                at = chance.randrange(len(good))
                spoiled = good[:at] + bytes([good[at] ^ 1 << chance.randrange(8)]) + good[at + 1 :]
                found[f"flipped {number}"] = posted(spoiled)
    return found


def is_typed(answer: Raw) -> bool:
    """A problem, or outcomes that are all errors."""
    status, headers, body = answer
    if status == 200:
        outcomes = json.loads(body)["outcomes"]
        return all(set(one) == {"error", "message", "expected", "found", "exit"} for one in outcomes)
    if headers["content-type"] != "application/problem+json":
        return False
    problem = json.loads(body)
    kebab = problem["type"].removeprefix("urn:creditledger:problem:")
    return set(problem) == MEMBERS and problem["status"] == status and kebab.islower()


def test_300_hostile_inputs_are_refused_by_type_and_at_once(stage: Stage, pool: RunningPool) -> None:
    """D1. Each within 50 ms, none logged, and the pool serves on."""
    before = content_of(stage.pool)
    cases = hostile(pool.ledger_id)
    assert len(cases) == 300
    late: dict[str, float] = {}
    for name, sent in cases.items():
        best = 1e9
        for _ in range(ATTEMPTS):
            began = time.perf_counter()
            answer = ask_raw(pool, sent)
            best = min(best, time.perf_counter() - began)
            assert answer[0] == 200 or 400 <= answer[0] < 500, (name, answer)
            assert is_typed(answer), (name, answer)
            if best <= ANSWER_SECONDS:
                break
        else:
            late[name] = best
    assert late == {}
    assert content_of(stage.pool) == before
    assert pool.get("/healthz").json()["ok"]
    assert "index" in pool.outcomes([registration(pool.ledger_id, "still-served")])[0]


def test_of_the_same_shapes_the_good_one_is_taken(pool: RunningPool) -> None:
    sent = posted(envelope([registration(pool.ledger_id, "good")]), "idempotency-key: " + "k" * 64)
    status, _, body = ask_raw(pool, sent)
    assert (status, list(json.loads(body)["outcomes"][0])) == (200, ["index", "leaf_hash"])


UPS: Final = (
    "../", "..%2f", "%2e%2e/", "%2e%2e%2f", "..%5c", "..\\", "%252e%252e%252f", "....//", "..;/", ".%00./",
)  # fmt: skip
TARGETS: Final = (
    "keys/operator.key", "policy", "head", "store/data.mdb", "../../../etc/passwd", "checkpoint",
)  # fmt: skip
SPELLINGS: Final = (
    "%30/000.p/{0}", "0/%3000.p/{0}", "0//000.p/{0}", "0/./000.p/{0}", "/0/000.p/{0}", "0/000.p/{0}/",
    "0/000.p/{0}%00", "0/000.p/{0}%20", "0/000.p/{0}.", "00/000.p/{0}", "0/0000.p/{0}", "0/x000/000.p/{0}",
    "0/000.p/0{0}", "0/000.P/{0}", "0/000.p/{0}0", "0/000", "0/000.p/256", "0/000.p/0", "-1/000", "64/000",
    "entries/000.p/-1", "entries/x999/x999/x999/x999/x999/x999/000", "entries/\u0660\u0660\u0660",
    "0/\u0660\u0660\u0660.p/{0}", "", "/", ".", "..", "0", "entries", "0/000.p", "0/000.p/", "~root/.ssh",
    "C:/windows", "file:///etc/passwd", "0/000?x=../../keys", "*", "%", "%zz", "%c0%ae%c0%ae/policy",
)  # fmt: skip
"""Of a tile's path, whose width is put in: none is the one it has."""


def tricks(size: int) -> list[str]:
    """Paths that mean a file outside the tree, or another spelling of one inside."""
    found = [f"/tile/{up * depth}{target}" for up in UPS for target in TARGETS for depth in (1, 2)]
    found += [f"/batch/{up}{target}" for up in UPS for target in TARGETS[:4]]
    found += [f"/tile/{spelling.format(size)}" for spelling in SPELLINGS]
    found += ["/batch/secret", f"/batch/{'0' * 64}", "//checkpoint", "/checkpoint/", "/%63heckpoint/"]
    return [path.encode("utf-8").decode("latin-1") for path in found]


def test_200_tricks_with_paths_lead_nowhere(stage: Stage, pool: RunningPool) -> None:
    """L16: beside each trick stands the file itself, which is served."""
    size = pool.get("/v1/status").json()["published_size"]
    secret = stage.pool / "public" / "batch" / "secret"
    secret.parent.mkdir(exist_ok=True)
    secret.write_bytes(b"secret")
    paths = tricks(size)
    assert len(paths) >= 200
    escapes = {path: answer for path in paths if (answer := ask_raw(pool, request("GET", path)))[0] == 200}
    assert escapes == {}
    secret.unlink()
    status, headers, body = ask_raw(pool, request("GET", f"/tile/0/000.p/{size}"))
    assert (status, len(body)) == (200, 32 * size)
    assert headers["cache-control"] == "public, max-age=31536000, immutable"


def test_the_directory_has_nothing_that_was_not_published(stage: Stage, pool: RunningPool) -> None:
    served = {Path(path) for path in ("checkpoint", "policy")}
    for path in stage.pool.rglob("*"):
        if path.is_file() and (stage.pool / "public") not in path.parents:
            name = path.relative_to(stage.pool)
            status, _, _ = ask_raw(pool, request("GET", f"/{name}"))
            assert (status == 200) == (name in served), name
