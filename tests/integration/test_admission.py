"""Joining a pool that admits by approval: a real ledger, a real server, the operator at another process."""

import io
import json
import logging
import socket
import stat
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import httpx2
import pytest

from cli_pools import Said, ask, process
from creditledger.cli.joining import admission_at, token_in
from creditledger.errors import (
    BusyError,
    ConflictError,
    CreditLedgerError,
    MalformedRecordError,
    RateLimitError,
    RefusedError,
    SignatureError,
    TokenError,
    VerificationError,
)
from creditledger.ledger.ledger import Ledger
from creditledger.quantities import ZERO_DIGEST
from creditledger.records.registration import Registration, Role
from creditledger.service.http_server import HttpServer, address_of, listening_socket
from creditledger.service.pool.gatehouse import Gatehouse
from creditledger.service.pool.pool_server import PoolServer, pool_app
from ledger_pools import signed, signer
from pool_processes import envelope, packed, serving


@dataclass(slots=True)
class Joining:
    """A served pool, and those who want to join it."""

    directory: Path
    ledger: Ledger
    url: str

    def ask(self, key: str, *, invite: Path | None = None, role: Role = Role.NODE, name: str = "") -> bytes:
        return admission_at(
            self.url,
            signer(key),
            name=name or key,
            role=role,
            ledger_id=self.ledger.id,
            operator=self.ledger.operator_signer().public_key,
            invite=invite,
        )

    def register(self, key: str, admission: bytes, *, role: Role = Role.NODE, token: str = "") -> int:
        """The status of the registration."""
        record = Registration(
            account=signer(key).public_key, role=role, name=key, next_key=ZERO_DIGEST, admission=admission
        )
        body = envelope([signed(self.ledger.id, record, signer(key))])
        headers = packed({"authorization": f"Bearer {token}"} if token else {})
        answered = httpx2.post(f"{self.url}/v1/records", content=body, headers=headers)
        if answered.status_code != 200:
            return answered.status_code
        return 422 if "error" in answered.json()["outcomes"][0] else 200

    def status(self, path: str, token: str = "") -> int:
        headers = {"authorization": f"Bearer {token}"} if token else {}
        return httpx2.get(f"{self.url}{path}", headers=headers).status_code

    def operator(self, *arguments: object) -> Said:
        """A verb, in a process of its own, while the pool is served."""
        verb, *rest = arguments
        return process(verb, self.directory, *rest, "--json")


@contextmanager
def served(directory: Path, settings: str, *, admission: str = "approval") -> Iterator[Joining]:
    parameters = directory.with_suffix(".toml")
    parameters.write_text(f'admission = "{admission}"\n[levy]\nppm = 0\n')
    ask("init", directory, "--origin", "pool.example/joining", "--parameters", parameters)
    (directory / "service.toml").write_text(settings)
    ready, listening = threading.Event(), listening_socket("127.0.0.1", 0)
    with Ledger.open(directory) as ledger, Gatehouse(ledger) as gatehouse:
        pool = PoolServer(ledger)
        app = pool_app(
            pool,
            more=gatehouse.routes,
            middleware=[gatehouse.middleware],
            submission_filter=gatehouse.submissions,
        )
        server = HttpServer(app, on_ready=ready.set)
        url = f"http://{address_of(listening)}"
        thread = threading.Thread(target=server.serve_on, args=(listening,))
        thread.start()
        assert ready.wait(30)
        try:
            with pool:
                yield Joining(directory, ledger, url)
        finally:
            server.stop()
            thread.join(30)
            assert not thread.is_alive()


@pytest.fixture(scope="module")
def approving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Joining]:
    folder = tmp_path_factory.mktemp("approving")
    with served(folder / "pool", '[admission]\npolicy = "approval"\n') as pool:
        yield pool


def invitation(pool: Joining, file: Path, *more: object) -> dict[str, Any]:
    said = pool.operator("invite", "-o", file, *more)
    assert said.code == 0, said
    return said.answer


def test_from_asking_to_registered(approving: Joining) -> None:
    """Waiting, the operator's word, the admission, the ledger's entry; and nothing of it before its time."""
    pool = approving
    assert pool.register("ann", b"") == 422
    for _ in range(2):
        with pytest.raises(BusyError, match="not decided yet"):
            pool.ask("ann")
    (waiting,) = [pool.operator("admissions").answer]
    assert (waiting["name"], waiting["role"], waiting["state"]) == ("ann", "node", "waiting")
    admitted = pool.operator("admit", "ann").answer
    assert (admitted["account"], admitted["state"]) == (signer("ann").public_key.hex(), "admitted")
    assert pool.operator("admissions").out == ""
    admission = pool.ask("ann")
    assert pool.register("ben", admission) == 422
    assert pool.register("ann", admission, role=Role.CLIENT) == 422  # it was admitted as a node
    assert pool.register("ann", admission) == 200
    with pytest.raises(ConflictError, match="registered already"):
        pool.ask("ann")
    listed = pool.operator("admissions", "--all").answer
    assert (listed["state"], pool.operator("balance", "ann").answer["role"]) == ("registered", "node")


def test_an_invitation_in_a_file(approving: Joining, tmp_path: Path) -> None:
    pool, file = approving, tmp_path / "invitation"
    made = invitation(pool, file, "--uses", 2, "--role", "client", "--valid", "1h", "--name", "for-cat")
    assert (made["scopes"], made["uses"], made["used"], made["role"]) == (["join"], 2, 0, "client")
    assert made["expires_unix_ms"] - made["created_unix_ms"] == 3_600_000
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    with pytest.raises(RefusedError, match="another role"):
        pool.ask("cat", invite=file, role=Role.NODE)
    admission = pool.ask("cat", invite=file, role=Role.CLIENT)
    assert pool.ask("cat", invite=file, role=Role.CLIENT) == admission
    assert pool.register("cat", admission, role=Role.CLIENT) == 200
    pool.ask("dan", invite=file, role=Role.CLIENT)
    with pytest.raises(TokenError, match="used up"):
        pool.ask("eve", invite=file, role=Role.CLIENT)
    (row,) = [row for row in _rows(pool) if row["name"] == "for-cat"]
    assert (row["used"], row["id"]) == (2, made["id"])


def _rows(pool: Joining) -> list[dict[str, Any]]:
    return [json.loads(line) for line in process("token", "list", pool.directory, "--json").out.splitlines()]


def test_one_use_for_ten_who_race(approving: Joining, tmp_path: Path) -> None:
    """Over the wire, from threads of their own: nine are told that it is used up."""
    file = tmp_path / "one"
    invitation(approving, file)

    def join(number: int) -> str:
        try:
            return approving.ask(f"racer{number}", invite=file).hex()
        except TokenError as error:
            return str(error)

    with ThreadPoolExecutor(10) as threads:
        said = list(threads.map(join, range(10)))
    assert sorted(map(len, said))[-1] == 128
    assert sum(len(text) == 128 for text in said) == 1
    assert sum("used up" in text for text in said) == 9


def test_an_invitation_that_was_revoked_or_is_none(approving: Joining, tmp_path: Path) -> None:
    made = invitation(approving, tmp_path / "revoked")
    revoked = process("token", "revoke", approving.directory, made["id"], "--json").answer
    assert revoked["revoked_unix_ms"] >= revoked["created_unix_ms"]
    with pytest.raises(TokenError, match="revoked"):
        approving.ask("fay", invite=tmp_path / "revoked")
    plain = process("token", "new", approving.directory, "-o", tmp_path / "plain", "--json").answer
    assert plain["scopes"] == ["read", "submit"]
    with pytest.raises(RefusedError, match="does not open"):
        approving.ask("fay", invite=tmp_path / "plain")
    for content in (b"", b"clt_", b"\xff", b"x" * 257):
        (tmp_path / "bad").write_bytes(content)
        with pytest.raises((TokenError, MalformedRecordError)):
            token_in(tmp_path / "bad")
    with pytest.raises(click.UsageError):
        token_in(tmp_path / "nowhere")


def test_whom_the_operator_refuses(approving: Joining) -> None:
    with pytest.raises(BusyError):
        approving.ask("gus")
    account = signer("gus").public_key.hex()
    assert approving.operator("admit", account, "--refuse").answer["state"] == "refused"
    with pytest.raises(RefusedError, match="has refused"):
        approving.ask("gus")
    assert httpx2.get(f"{approving.url}/v1/admissions/{account}").json() == {
        "account": account,
        "state": "refused",
    }
    nobody = httpx2.get(f"{approving.url}/v1/admissions/{'ab' * 32}")
    assert (nobody.status_code, nobody.json()["error"]) == (404, "UnknownIdError")


def test_what_is_no_request_is_refused_and_nothing_is_kept(approving: Joining) -> None:
    before = approving.operator("admissions", "--all").out
    for body, status in ((b"", 400), (b"{}", 400), (b"x" * 4_097, 400)):
        answered = httpx2.post(f"{approving.url}/v1/admissions", content=body)
        assert (answered.status_code, answered.headers["content-type"]) == (
            status,
            "application/problem+json",
        )
    assert httpx2.put(f"{approving.url}/v1/admissions").status_code == 405
    assert approving.operator("admissions", "--all").out == before


def test_a_private_pool_from_outside_and_inside(tmp_path: Path) -> None:
    """Nothing is read without a token; an invitation may open reading beside joining."""
    said = io.StringIO()
    handler = logging.StreamHandler(said)
    logging.getLogger().addHandler(handler)
    level = logging.getLogger().level
    logging.getLogger().setLevel(logging.DEBUG)
    settings = '[admission]\npolicy = "invite"\n[reading]\nprivate = true\n'
    with redirect_stdout(said), redirect_stderr(said), served(tmp_path / "pool", settings) as pool:
        file = tmp_path / "invitation"
        made = invitation(pool, file, "--scope", "read", "--scope", "submit")
        text = file.read_text().strip()
        with pytest.raises(TokenError, match="by invitation"):
            pool.ask("ann")
        assert pool.status("/v1/status") == 401
        assert pool.status("/v1/status", text) == 200
        admission = pool.ask("ann", invite=file)
        assert pool.register("ann", admission) == 401
        assert pool.register("ann", admission, token=text) == 200
        process("token", "revoke", pool.directory, made["id"])
        assert pool.status("/v1/status", text) == 401
    logging.getLogger().removeHandler(handler)
    logging.getLogger().setLevel(level)
    secret = text.rpartition("_")[2]
    files = [path for path in (tmp_path / "pool").rglob("*") if path.is_file()]
    assert any(made["id"].encode() in bytes(path.name, "ascii") or path.name == "data.mdb" for path in files)
    for content in (said.getvalue().encode(), *(path.read_bytes() for path in files)):
        assert secret.encode() not in content
        assert bytes.fromhex(secret) not in content


def test_an_open_pool_admits_whoever_asks(tmp_path: Path) -> None:
    with served(tmp_path / "pool", "", admission="open") as pool:
        assert pool.ask("ann") == b""
        assert pool.register("ann", b"") == 200


def test_a_service_stricter_than_its_ledger_does_not_start(tmp_path: Path) -> None:
    pool = served(tmp_path / "pool", '[admission]\npolicy = "invite"\n', admission="open")
    with pytest.raises(MalformedRecordError, match="stricter"), pool:
        pass


def test_the_servers_own_process_lets_in_by_token(tmp_path: Path) -> None:
    """D7: and nothing that it says, events and metrics included, has the secret in it."""
    pool = tmp_path / "pool"
    ask("init", pool, "--origin", "pool.example/process")
    (pool / "service.toml").write_text("[reading]\nprivate = true\n")
    token = ask("token", "new", pool, "--scope", "read", "--scope", "metrics")["token"]
    held = {"authorization": f"Bearer {token}"}
    with serving(pool) as running:
        paths = ("/checkpoint", "/policy", "/v1/status", "/openapi.json", "/healthz", "/metrics")
        assert [running.get(path).status_code for path in paths] == [401] * len(paths)
        told = [running.get(path, **held) for path in paths]
        assert [answer.status_code for answer in told] == [200] * len(paths)
        kept = [answer.headers["cache-control"] for answer in told]
        assert all("private" in one or one == "no-store" for one in kept)
        refused = running.client.post("/v1/records", content=b"", headers=packed(held))
        assert (refused.status_code, refused.json()["error"]) == (403, "RoleError")
        code, said = running.end()
    assert code == 0
    secret = token.rpartition("_")[2]
    assert all(secret not in text for text in (said, *(answer.text for answer in told)))


def test_a_bad_service_toml_does_not_start(tmp_path: Path) -> None:
    pool = tmp_path / "pool"
    ask("init", pool, "--origin", "pool.example/process")
    (pool / "service.toml").write_text("[reading]\nprivat = true\n")
    said = process("serve", pool, "--listen", "127.0.0.1:0", "--json")
    assert (said.code, said.answer["error"]) == (2, "MalformedRecordError")


@contextmanager
def saying(answer: bytes) -> Iterator[str]:
    """The URL of a server that says ``answer`` once, whatever it is asked."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def say() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(65_536)
                connection.sendall(answer)

        thread = threading.Thread(target=say)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        thread.join(10)


def _http(status: int, body: str) -> bytes:
    return f"HTTP/1.1 {status} x\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n{body}".encode()


def _admitted(**changes: str) -> bytes:
    """An answer that admits ann, but for ``changes``."""
    said = {"account": signer("ann").public_key.hex(), "state": "admitted", "admission": ""} | changes
    return _http(200, json.dumps(said))


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (_admitted(admission="00" * 64), SignatureError),
        (_admitted(admission="00"), SignatureError),
        (_admitted(admission="x"), SignatureError),
        (_admitted(account="ab" * 32), VerificationError),
        (_admitted(state="king"), VerificationError),
        (_http(200, "[]"), VerificationError),
        (_http(200, "x" * 20_000), VerificationError),
        (_http(302, ""), RefusedError),
        (_http(500, ""), BusyError),
        (_http(503, '{"error": "StorageError", "detail": "x"}'), BusyError),
        (_http(429, '{"error": "RateLimitError", "detail": "x"}'), RateLimitError),
        (_http(422, '{"error": "IntegrityError", "detail": "x"}'), RefusedError),
        (_http(422, '{"error": "__name__"}'), RefusedError),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nx", BusyError),
        (b"nonsense", BusyError),
    ],
)  # fmt: skip
def test_a_service_that_lies_gets_nobody_registered(answer: bytes, error: type[CreditLedgerError]) -> None:
    """An admission is believed by the operator's signature alone."""
    with saying(answer) as url, pytest.raises(CreditLedgerError) as caught:
        admission_at(
            url,
            signer("ann"),
            name="ann",
            role=Role.NODE,
            ledger_id=bytes(32),
            operator=signer("operator").public_key,
            invite=None,
        )
    assert type(caught.value) is error


def test_a_service_that_is_away_is_busy() -> None:
    with pytest.raises(BusyError, match="cannot be reached"):
        admission_at(
            "http://127.0.0.1:9",
            signer("ann"),
            name="ann",
            role=Role.NODE,
            ledger_id=bytes(32),
            operator=bytes(32),
            invite=None,
        )
