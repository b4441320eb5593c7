"""Evidence over HTTP against a served pool: who may bring and see what, and in which bounds.

Threat rows D1, D3, L16."""

import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx2
import pytest

from cli_pools import Stage, ask
from creditledger.ledger.keyring import load_key
from creditledger.minting.kept_inputs import SEALED_INPUTS_BYTES_MAX
from creditledger.service.signed_request import (
    DIGEST_HEADER,
    NO_BODY,
    REQUEST_HEADER,
    content_digest,
    sign_request,
)
from creditledger.transparency.bls import BlsSigner
from creditledger.transparency.keys import Ed25519Signer
from pool_processes import RunningPool, serving

Signer = Ed25519Signer | BlsSigner


@dataclass
class Desk:
    """A served pool with private reading, and everybody's keys."""

    stage: Stage
    pool: RunningPool
    roots: int = field(default=0)

    def key(self, name: str) -> Ed25519Signer:
        return load_key(self.stage / f"{name}.key").ed25519()

    @property
    def member(self) -> BlsSigner:
        return load_key(self.stage.pool / "keys" / "validator-0.key").bls()

    def root(self) -> str:
        """A root that nothing lies under yet."""
        self.roots += 1
        return sha256(b"root %d" % self.roots).hexdigest()

    def headers(self, signer: Signer, verb: str, path: str, digest: bytes, **changes: Any) -> dict[str, str]:
        said = {
            "ledger_id": self.pool.ledger_id,
            "audience": self.pool.ledger_id,
            "method": verb,
            "target": path,
            "body_digest": digest,
            "expires_unix_ms": time.time_ns() // 1_000_000 + 60_000,
        }
        found = {REQUEST_HEADER: sign_request(signer, **(said | changes))}
        return found | ({DIGEST_HEADER: content_digest(digest)} if verb == "PUT" else {})

    def put(self, signer: Signer, path: str, body: bytes, **changes: Any) -> httpx2.Response:
        path = f"/v1/evidence/{path}"
        headers = self.headers(signer, "PUT", path, sha256(body).digest(), **changes)
        return self.pool.client.put(path, content=body, headers=headers)

    def get(self, signer: Signer, path: str, **changes: Any) -> httpx2.Response:
        path = f"/v1/evidence/{path}"
        return self.pool.client.get(path, headers=self.headers(signer, "GET", path, NO_BODY, **changes))


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    stage = Stage(tmp_path_factory.mktemp("evidence"))
    ask("key", "new", stage / "stranger.key", "--role", "node")
    (stage.pool / "service.toml").write_text("[reading]\nprivate = true\n")
    with serving(stage.pool, "--interval", 1) as pool:
        yield Desk(stage, pool)


def refused(answer: httpx2.Response) -> tuple[int, str]:
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.status_code, answer.json()["error"]


def test_what_a_node_brings_a_member_sees_and_nobody_else(desk: Desk) -> None:
    """Without a token, though the pool is private: the signature opens these paths and no others."""
    root, node = desk.root(), desk.key("n1")
    body = b"sealed" * 1_000_000  # more than the pool takes of any other body
    answer = desk.put(node, f"inputs/{root}", body)
    assert (answer.status_code, answer.json()["bytes"]) == (201, len(body))
    assert desk.put(node, f"inputs/{root}", body).status_code == 200
    shown = desk.get(desk.member, f"inputs/{root}/{node.public_key.hex()}")
    assert (shown.status_code, shown.content) == (200, body)
    assert shown.headers["cache-control"] == "private, no-store"
    assert refused(desk.get(node, f"inputs/{root}/{node.public_key.hex()}")) == (403, "RoleError")
    assert desk.pool.client.get("/checkpoint").status_code == 401


def test_what_was_brought_is_never_replaced(desk: Desk) -> None:
    root, node = desk.root(), desk.key("n1")
    assert desk.put(node, f"handover/{root}", b"one").status_code == 201
    assert refused(desk.put(node, f"handover/{root}", b"two")) == (409, "ConflictError")
    shown = desk.get(desk.member, f"handover/{root}/{node.public_key.hex()}")
    assert shown.content == b"one"


def test_nobody_takes_the_place_of_anothers_inputs(desk: Desk) -> None:
    """A client knows every root of its job, and would rather that nobody could check."""
    root, node, client = desk.root(), desk.key("n1"), desk.key("alice")
    assert desk.put(client, f"inputs/{root}", b"rubbish").status_code == 201
    assert desk.put(node, f"inputs/{root}", b"true").status_code == 201
    assert desk.get(desk.member, f"inputs/{root}/{node.public_key.hex()}").content == b"true"


def test_what_nobodys_name_is_on_is_shown_where_the_account_brought_nothing(desk: Desk) -> None:
    root, node = desk.root(), desk.key("n1")
    (desk.stage.pool / "evidence" / root).write_bytes(b"kept beside the log")
    assert desk.get(desk.member, f"inputs/{root}/{node.public_key.hex()}").content == b"kept beside the log"
    assert desk.put(node, f"inputs/{root}", b"brought").status_code == 201
    assert desk.get(desk.member, f"inputs/{root}/{node.public_key.hex()}").content == b"brought"


@pytest.mark.parametrize(
    ("who", "changes", "wanted"),
    [
        ("stranger", {}, (403, "RoleError")),
        ("gpu", {}, (403, "RoleError")),
        ("n1", {"audience": bytes(32)}, (422, "SignatureError")),
        ("n1", {"ledger_id": bytes(32)}, (422, "SignatureError")),
        ("n1", {"method": "GET"}, (422, "SignatureError")),
        ("n1", {"target": "/v1/evidence/inputs/00"}, (422, "SignatureError")),
        ("n1", {"body_digest": bytes(32)}, (422, "SignatureError")),
        ("n1", {"expires_unix_ms": 1}, (410, "ExpiredError")),
        ("n1", {"expires_unix_ms": 9_999_999_999_999}, (410, "ExpiredError")),
    ],
)
def test_a_request_that_is_not_this_ones_brings_nothing(
    desk: Desk, who: str, changes: dict[str, Any], wanted: tuple[int, str]
) -> None:
    before = sorted(path.name for path in (desk.stage.pool / "evidence").iterdir())
    assert refused(desk.put(desk.key(who), f"inputs/{desk.root()}", b"x", **changes)) == wanted
    assert sorted(path.name for path in (desk.stage.pool / "evidence").iterdir()) == before


def test_other_bytes_than_were_signed_for_are_not_kept(desk: Desk) -> None:
    root, node = desk.root(), desk.key("n1")
    path = f"/v1/evidence/inputs/{root}"
    headers = desk.headers(node, "PUT", path, sha256(b"signed").digest())
    answer = desk.pool.client.put(path, content=b"others", headers=headers)
    assert refused(answer) == (422, "VerificationError")
    assert not list((desk.stage.pool / "evidence").glob(f"*{root}*"))
    assert desk.put(node, f"inputs/{root}", b"signed").status_code == 201


@pytest.mark.parametrize("path", ["sealed", "profile"])
def test_what_comes_another_way_is_not_taken(desk: Desk, path: str) -> None:
    assert desk.put(desk.key("n1"), f"{path}/{desk.root()}", b"x").status_code == 405


def test_only_who_must_check_a_receipt_refutes_it(desk: Desk) -> None:
    name = f"refutations/{desk.root()}-1-0"
    assert refused(desk.put(desk.member, name, b"x")) == (403, "RoleError")
    assert refused(desk.get(desk.key("n1"), name)) == (403, "RoleError")
    assert refused(desk.get(desk.member, name)) == (404, "UnknownIdError")


HEX = "ab" * 32


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "/inputs",
        f"/inputs/{HEX.upper()}",
        f"/inputs/{HEX[:-1]}",
        f"/inputs/{HEX}/",
        f"/inputs//{HEX}",
        f"/inputs/{HEX}?x=1",
        f"/inputs/{HEX[:-2]}%61b",
        f"/inputs/..%2f{HEX}",
        f"/inputs/%2e%2e/{HEX}",
        f"/inputs/{HEX}.handover",
        f"/sealed/{HEX}/{HEX}",
        f"/refutations/{HEX}-01-0",
        f"/refutations/{HEX}-1-0.refutation",
        f"/refutations/{HEX}-9999999999999999999-0",
        f"/other/{HEX}",
    ],
)
def test_a_path_that_is_spelt_another_way_is_nothing(desk: Desk, path: str) -> None:
    """Threat row L16. The same with the right spelling asks for a signature."""
    answer = raw(desk, f"GET /v1/evidence{path} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
    assert answer.startswith((b"HTTP/1.1 404", b"HTTP/1.1 401"))
    right = raw(desk, f"GET /v1/evidence/inputs/{HEX} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
    assert right.startswith(b"HTTP/1.1 400")


def test_a_body_is_refused_before_it_comes(desk: Desk) -> None:
    """Threat row D1: no length, too much, no digest, no signature: each is told without reading on."""
    node, path = desk.key("n1"), f"/v1/evidence/inputs/{desk.root()}"
    digest = sha256(b"x").digest()
    signed = "".join(f"{k}: {v}\r\n" for k, v in desk.headers(node, "PUT", path, digest).items())
    head = f"PUT {path} HTTP/1.1\r\nhost: x\r\n"
    too_much = SEALED_INPUTS_BYTES_MAX + 1
    for sent, status in (
        (f"{head}{signed}transfer-encoding: chunked\r\n\r\n", b"411"),
        (f"{head}{signed}content-length: {too_much}\r\n\r\n", b"413"),
        (f"{head}content-length: 1000\r\n\r\n", b"400"),
        (f"{head}{signed}{signed}content-length: 1000\r\n\r\n", b"400"),
        (f"{head}{signed.replace('sha-256', 'sha-512')}content-length: 1000\r\n\r\n", b"400"),
    ):
        began = time.monotonic()
        assert raw(desk, sent.encode()).startswith(b"HTTP/1.1 " + status), sent
        assert time.monotonic() - began < 5


def raw(desk: Desk, sent: bytes) -> bytes:
    host, port = desk.pool.address.split(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(sent)
        return connection.recv(4_096)


def test_what_was_acknowledged_is_there_after_a_kill(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    with serving(stage.pool) as pool:
        desk = Desk(stage, pool)
        assert desk.put(desk.key("n1"), f"inputs/{HEX}", b"kept").status_code == 201
        pool.process.kill()
        pool.ended()
    with serving(stage.pool) as pool:
        desk = Desk(stage, pool)
        owner = desk.key("n1").public_key.hex()
        assert desk.get(desk.member, f"inputs/{HEX}/{owner}").content == b"kept"
        assert desk.put(desk.key("n1"), f"inputs/{HEX}", b"kept").status_code == 200
