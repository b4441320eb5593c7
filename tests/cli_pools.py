"""Pools made and used through the verbs alone, in this process or in one of its own."""

import contextlib
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

from creditledger.cli.main import run
from creditledger.ledger.failed_ids import FAILED
from creditledger.ledger.lmdb_store import LmdbStore

ROOT = Path(__file__).parents[1]
MODEL_DIGEST = hashlib.sha256(b"a model").hexdigest()
PARAMETERS = f"""
rule_set = 4

[vesting]
rounds = 0
time_ms = 0
value = 0

[[models]]
digest = "{MODEL_DIGEST}"
name = "tiny"
layers = 4
hidden = 64
ff = 128
heads = 4
kv_heads = 2
head_dim = 16
micro_per_tflop = "1credits"

[[hardware]]
name = "cpu"
micro_per_gpu_second = 10_000

[[hardware]]
name = "h100"
micro_per_gpu_second = "1credits"
"""


@dataclass(frozen=True, slots=True)
class Said:
    """What a verb answered."""

    code: int
    out: str
    err: str

    @property
    def answer(self) -> dict[str, Any]:
        """The one JSON object on stdout."""
        (line,) = self.out.splitlines()
        found: dict[str, Any] = json.loads(line)
        return found


def cli(*arguments: object, stdin: bytes | None = None) -> Said:
    """Run a verb in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.ExitStack() as stack:
        if stdin is not None:
            read, write = os.pipe()
            os.write(write, stdin)
            os.close(write)
            stack.enter_context(patch("sys.stdin", stack.enter_context(os.fdopen(read))))
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = run([str(argument) for argument in arguments])
    return Said(code, out.getvalue(), err.getvalue())


def ask(*arguments: object) -> dict[str, Any]:
    """Run a verb that must succeed; its JSON answer."""
    said = cli(*arguments, "--json")
    assert (said.code, said.err) == (0, ""), said
    return said.answer


def environment() -> dict[str, str]:
    """This process's, with the package importable where it is not installed."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}


def process(*arguments: object, stdin: bytes = b"") -> Said:
    """Run a verb in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "creditledger", *map(str, arguments)],
        input=stdin,
        capture_output=True,
        timeout=120,
        check=False,
        env=environment(),
    )
    return Said(done.returncode, done.stdout.decode(), done.stderr.decode())


def content_of(path: Path) -> dict[str, str]:
    """Digests of all that a ledger's directory keeps: the store's keys and values but failed ids, and every
    other file but the notebooks of queues, which are their own."""
    found = {
        str(file.relative_to(path)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(path.rglob("*"))
        if file.is_file() and file.name != "lock" and not {"store", "queues"} & set(file.parts)
    }
    store = LmdbStore(path / "store", read_only=True)
    try:
        hashed = hashlib.sha256()
        with store.read() as view:
            for key, value in view.scan(b""):
                if key.startswith(FAILED):
                    continue
                hashed.update(len(key).to_bytes(4, "big") + key + len(value).to_bytes(4, "big") + value)
    finally:
        store.close()
    return found | {"store": hashed.hexdigest()}


class Stage:
    """A pool with two clients, a node and a queue, and the files that verbs take."""

    def __init__(self, folder: Path, *, parameters: str = PARAMETERS) -> None:
        self.folder = folder
        self.pool = folder / "pool"
        (folder / "pool.toml").write_text(parameters)
        ask("init", self.pool, "--origin", "pool.example/cli", "--parameters", folder / "pool.toml")
        for name, role in (("alice", "client"), ("bob", "client"), ("gpu", "queue"), ("n1", "node")):
            self.add(name, role)
        self.grant("alice", "100credits")

    def __truediv__(self, name: str) -> Path:
        return self.folder / name

    @property
    def policy(self) -> Path:
        return self.pool / "policy"

    def add(self, name: str, role: str) -> None:
        ask("key", "new", self / f"{name}.key", "--role", role)
        ask("register", self.pool, name, "--key", self / f"{name}.key")

    def grant(self, name: str, amount: str, *more: object) -> dict[str, Any]:
        return ask("grant", self.pool, name, amount, "--reason", "seed", *more)

    def quote(self, name: str = "quote", *, seconds: int = 600, valid: int = 900) -> Path:
        arguments = ["--queue", "gpu", "--class", "cpu", "--gpus", 1, "--seconds", seconds, "--valid", valid]
        ask("quote", self.pool, *arguments, "-o", self / name)
        return self / name

    def hold(self, name: str = "voucher", *, seconds: int = 600) -> str:
        """A hold by alice at the queue, its voucher in a file; its digest in hex."""
        quote = self.quote(f"quote-of-{name}", seconds=seconds)
        held = ask("hold", self.pool, quote, "--key", self / "alice.key", "-o", self / name)
        digest: str = held["hold"]
        return digest

    def balance(self, name: str) -> dict[str, Any]:
        return ask("balance", self.pool, name)


def copy_of(pool: Path, target: Path) -> Path:
    """The same ledger in another directory."""
    shutil.copytree(pool, target)
    return target


def frames(payloads: Sequence[bytes]) -> bytes:
    """Frames as `append` reads them."""
    return b"".join(len(payload).to_bytes(4, "big") + payload for payload in payloads)
