"""A pool whose validators and node share nothing with it but its URL: each party has a folder of its own."""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cli_pools import ask, environment
from creditledger.activations.runners.numerics import FUSED
from creditledger.activations.runners.numpy_llama import NumpyLlama
from creditledger.activations.runners.weights import LoadedModel
from creditledger.minting.minter import Minter
from creditledger.redemption.order import Order
from fakes.tiny_llama import SHAPE, inputs_of, profile_of, tiny_llama
from pool_processes import RunningPool, serving

SECONDS = 90
TINY = """
from pathlib import Path
import creditledger.activations.runners.weights as weights
from creditledger.activations.runners.weights import LoadedModel, SharedWeights, WeightCache
weights.load_model = lambda path: LoadedModel(SharedWeights(WeightCache(Path({folder!r}))))
"""


@dataclass
class FarPool:
    """The pool's folder, its model, and where it is served."""

    folder: Path
    model: LoadedModel
    validators: int
    served: RunningPool = field(init=False)
    started: "list[subprocess.Popen[str]]" = field(default_factory=list)

    @property
    def directory(self) -> Path:
        return self.folder / "pool"

    @property
    def url(self) -> str:
        return self.served.url

    def home(self, name: str) -> Path:
        """A party's own folder, with the pool's policy."""
        home = self.folder / name
        if not home.exists():
            home.mkdir()
            shutil.copy(self.directory / "policy", home / "policy")
        return home

    def key(self, number: int) -> Path:
        return self.folder / f"validator-{number}" / "validator.key"

    def validate(self, number: int, *arguments: object, program: str = "") -> "subprocess.Popen[str]":
        """`validate URL` by validator ``number``, who has nothing but its folder. ``program`` runs first."""
        home = self.home(f"validator-{number}")
        shutil.copy(self.directory / "policy", home / "policy")
        tiny = TINY.format(folder=str(self.folder / "model"))
        start = f"import sys\n{tiny}\n{program}\nfrom creditledger.cli.main import main\nmain()"
        words = ["validate", self.url, "--key", self.key(number), "--interval", 1, "--json", *arguments]
        state = {"XDG_STATE_HOME": str(home / "state"), "CREDITLEDGER_POLICY": str(home / "policy")}
        with (home / "log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-c", start, *map(str, words)],
                stdout=subprocess.PIPE,
                stderr=log,
                env=environment() | state | {"OPENBLAS_NUM_THREADS": "1"},
                cwd=home,
                text=True,
            )
        self.started.append(process)
        return process

    def until(self, what: str, is_so: Callable[[], bool]) -> None:
        """Wait for it."""
        deadline = time.monotonic() + SECONDS
        while not is_so():
            logs = {path.parent.name: path.read_text()[-600:] for path in self.folder.glob("*/log")}
            assert time.monotonic() < deadline, (what, logs)
            time.sleep(0.2)

    def work(self, name: str, *, honest: bool = True) -> list[str]:
        """Order both spans, run them and ship what was minted; the receipts' digests in hex."""
        rows, node = inputs_of(SHAPE, 256, seed=5), self.home("n1")
        ask(
            *("order", self.url, "--model", "tiny", "--plan", self.folder / "plan", "--positions", 256),
            *("--max-price", "10credits", "--key", self.home("alice") / "key", "-o", self.folder / name),
        )
        order = Order.decode((self.folder / name).read_bytes())
        digests = []
        for start, stop in ((0, 2), (2, 4)):
            outputs = NumpyLlama(self.model).run(rows, layer_start=start, layer_stop=stop, numerics=FUSED)
            if not honest and start == 2:
                outputs = inputs_of(SHAPE, 256, seed=6)
            minter = Minter(
                self.url, key=node / "key", model=self.model.description, evidence=node / "evidence"
            )
            with minter.session(order.work_order(start)) as session:
                session.record(inputs=rows, outputs=outputs, positions=range(256))
            minter.close()
            assert not minter.waiting
            digests += [receipt.digest(self.served.ledger_id).hex() for receipt in session.receipts]
            rows = outputs
        ask("confirm", self.url, self.folder / name, "--key", self.home("alice") / "key")
        return digests

    def granted_and_worked(self, name: str, *, honest: bool = True) -> list[str]:
        """`work` as soon as there is something to pay with."""
        self.until("a grant", lambda: ask("balance", self.url, "alice")["available_micro"] > 0)
        return self.work(name, honest=honest)

    def receipt(self, digest: str) -> dict[str, Any]:
        found: dict[str, Any] = self.served.get(f"/v1/receipts/{digest}").json()
        return found


@contextmanager
def far_pool(folder: Path, *, validators: int, quorum: int) -> Iterator[FarPool]:
    """A served pool whose committee's keys lie elsewhere; every receipt is checked."""
    model = tiny_llama(folder / "model")
    pool = FarPool(folder, model, validators)
    members, profiles = [], []
    for number in range(validators):
        pool.key(number).parent.mkdir()
        ask("key", "new", pool.key(number), "--role", "validator")
        members.append(str(pool.key(number)) + ".pub")
    for start, stop in ((0, 2), (2, 4)):
        profile = profile_of(model, layer_start=start, layer_stop=stop)
        (folder / f"{stop}.profile").write_bytes(profile.encode())
        profiles.append(f"{stop}.profile")
    (folder / "pool.toml").write_text(_parameters(model, members, quorum, profiles))
    ask("init", pool.directory, "--origin", "pool.example/far", "--parameters", folder / "pool.toml")
    for name, role in (("alice", "client"), ("n1", "node")):
        ask("key", "new", pool.home(name) / "key", "--role", role)
        ask("register", pool.directory, name, "--key", pool.home(name) / "key")
    ask("grant", pool.directory, "alice", "100credits", "--reason", "seed")
    (folder / "plan").write_text("0:2 n1\n2:4 n1\n")
    with serving(pool.directory, "--interval", 1) as pool.served:
        try:
            yield pool
        finally:
            for process in pool.started:
                process.kill()
                process.communicate()


def _parameters(model: LoadedModel, members: list[str], quorum: int, profiles: list[str]) -> str:
    terms = [f"{name} = {getattr(SHAPE, name)}" for name in ("layers", "hidden", "ff", "heads", "kv_heads")]
    return "\n".join(
        [
            f"profiles = {json.dumps(profiles)}",
            f"[committee]\nmembers = {json.dumps(members)}\nquorum = {quorum}",
            "[rates]\ncheck_floor_ppm = 1_000_000",
            "[vesting]\nrounds = 0\ntime_ms = 0\nvalue = 0",
            f'[[models]]\ndigest = "{model.description.digest.hex()}"\nname = "tiny"',
            *terms,
            f'head_dim = {SHAPE.head_dim}\nmicro_per_tflop = "1000credits"',
        ]
    )


def own_environment(pool: FarPool, home: Path) -> dict[str, str]:
    """Of whoever works from ``home`` in this process."""
    shutil.copy(pool.directory / "policy", home / "policy")
    return {"XDG_STATE_HOME": str(home / "state"), "CREDITLEDGER_POLICY": str(home / "policy")}
