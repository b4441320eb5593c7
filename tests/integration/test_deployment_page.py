"""specs/deployment.md: what an administrator types and copies, tried on this machine."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cli_pools import ROOT, ask, environment

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
