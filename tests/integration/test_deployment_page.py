"""specs/deployment.md: what an administrator types and copies, tried on this machine."""

import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

from cli_pools import ROOT, ask, environment
from queue_parties import wait_for

PAGE = (ROOT / "specs" / "deployment.md").read_text("utf-8")


def blocks(kind: str) -> list[str]:
    """The blocks whose fence says exactly this."""
    return re.findall(rf"^```{re.escape(kind)}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def the(kind: str) -> str:
    """The only block of its kind."""
    (found,) = blocks(kind)
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the page's shell blocks were typed."""
    where = tmp_path_factory.mktemp("deployed")
    (where / "bin").mkdir()
    command = where / "bin" / "creditledger"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m creditledger "$@"\n')
    command.chmod(0o755)
    (where / "pool.toml").write_text(the("toml pool.toml"))
    path = os.pathsep.join([str(where / "bin"), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", "-eux"],
        input="".join(blocks("shell")),
        cwd=where,
        env=environment() | {"PATH": path, "XDG_STATE_HOME": str(where / "state")},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, (done.stdout, done.stderr)
    return where


def test_the_ceremony_leaves_only_the_servers_own_keys_on_the_server(folder: Path) -> None:
    keys = {path.name for path in (folder / "pool" / "keys").glob("*.key")}
    assert keys == {"operator.key", "log-ml-dsa-44.key", "witness-local.key"}
    assert (folder / "operator-next.key").stat().st_mode & 0o777 == 0o600
    found = ask("status", folder / "pool")
    assert found["size"] >= 1


def test_the_next_operator_key_takes_over_when_it_is_fetched_from_its_drawer(folder: Path) -> None:
    pool, following = folder / "pool", folder / "operator-next.key"
    rotated = ask("rotate", pool, "--key", pool / "keys" / "operator.key", "--next", following)
    assert rotated["index"] >= 1


@pytest.mark.deploy
def test_the_unit_is_one_that_systemd_takes(tmp_path: Path) -> None:
    """And it looks: an option it does not know is found."""
    text = the("ini creditledger.service").replace(
        "/opt/creditledger/bin/creditledger", shutil.which("true") or ""
    )
    assert verified(tmp_path, text) == ""
    assert "a-bit" in verified(tmp_path, text.replace("ProtectSystem=strict", "ProtectSystem=a-bit"))


def verified(folder: Path, text: str) -> str:
    """What systemd has to say about a unit."""
    unit = folder / "creditledger.service"
    unit.write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, timeout=60, check=False
    )
    return done.stdout + done.stderr


@pytest.mark.deploy
def test_the_proxy_passes_on_what_the_service_says(folder: Path, tmp_path: Path) -> None:
    """TLS at the front, the policy behind it; what is for the machine alone stays there."""
    with served(folder / "pool") as address, proxied(tmp_path, address) as (url, trust):
        with httpx2.Client(base_url=url, verify=trust, timeout=20) as client:
            assert client.get("/policy").content == (folder / "pool" / "policy").read_bytes()
            assert client.get("/checkpoint").headers["strict-transport-security"]
            assert client.get("/metrics").status_code == 403
            assert client.post("/v1/records", content=bytes(6 << 20)).status_code == 413
            evidence = client.put(f"/v1/evidence/inputs/{'00' * 32}", content=bytes(6 << 20))
            assert (evidence.status_code, evidence.json()["error"]) == (400, "MalformedRecordError")
            too_much = client.put(f"/v1/evidence/inputs/{'00' * 32}", content=bytes(42 << 20))
            assert (too_much.status_code, too_much.json()["status"]) == (413, 413)
            assert "<h1>" in client.get("/", headers={"accept": "text/html"}).text
            assert client.post("/v1/records", content=b"none").json()["error"]
            assert client.get("/healthz").json()["ok"]
        with pytest.raises(httpx2.ConnectError), httpx2.Client(timeout=20) as stranger:
            stranger.get(f"{url}/policy")


@contextmanager
def served(pool: Path) -> Iterator[str]:
    """`creditledger serve` over ``pool``; its address."""
    command = [sys.executable, "-m", "creditledger", "serve", str(pool), "--listen", "127.0.0.1:0", "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment(), text=True)
    assert process.stdout is not None
    try:
        yield json.loads(process.stdout.readline())["address"]
    finally:
        process.terminate()
        assert process.wait(60) == 0


@contextmanager
def proxied(folder: Path, address: str) -> Iterator[tuple[str, ssl.SSLContext]]:
    """The page's proxy before ``address``; its URL, and what trusts its certificate."""
    key, certificate = folder / "privkey.pem", folder / "fullchain.pem"
    certify = "openssl req -x509 -newkey ed25519 -nodes -days 2 -subj /CN=localhost"
    names = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate]
    subprocess.run([*certify.split(), *names], capture_output=True, check=True)
    port = free_port()
    block = (
        the("nginx creditledger.conf")
        .replace("listen 443", f"listen 127.0.0.1:{port}")
        .replace("/etc/ssl/gpu.example.org", str(folder))
        .replace("127.0.0.1:8700", address)
    )
    paths = "".join(
        f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    file = folder / "nginx.conf"
    file.write_text(
        f"pid {folder}/pid; error_log stderr warn; daemon off; events {{}}\n"
        f"http {{ access_log off; {paths}\n{block}\n}}\n"
    )
    process = subprocess.Popen(["nginx", "-c", str(file)])
    try:
        wait_for(lambda: is_open(port))
        yield f"https://127.0.0.1:{port}", ssl.create_default_context(cafile=str(certificate))
    finally:
        process.terminate()
        process.wait(20)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
