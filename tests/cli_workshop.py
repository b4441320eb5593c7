"""A pool that lists a tiny model, used through the verbs around work that is really done."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from cli_pools import Said, Stage, ask, cli
from creditledger.activations.model import ModelShape
from creditledger.activations.runners.numerics import FUSED
from creditledger.activations.runners.numpy_llama import NumpyLlama
from creditledger.activations.runners.weights import LoadedModel
from creditledger.minting.minter import Minter
from creditledger.redemption.order import Order
from fakes.tiny_llama import SHAPE, inputs_of, profile_of, tiny_llama


@dataclass(frozen=True, slots=True)
class Workshop:
    """A pool that lists the tiny model, and the means to run it."""

    stage: Stage
    model: LoadedModel

    def work(self, name: str, *, honest: bool = True) -> list[str]:
        """Order both spans, run and log them; the receipts' digests in hex."""
        stage = self.stage
        ask(
            *("order", stage.pool, "--model", "tiny", "--plan", stage / "plan", "--positions", 256),
            *("--max-price", "10credits", "--key", stage / "alice.key", "-o", stage / name),
        )
        order = Order.decode((stage / name).read_bytes())
        rows = inputs_of(SHAPE, 256, seed=5)
        digests = []
        for start, stop in ((0, 2), (2, 4)):
            outputs = NumpyLlama(self.model).run(rows, layer_start=start, layer_stop=stop, numerics=FUSED)
            if not honest and start == 2:
                outputs = inputs_of(SHAPE, 256, seed=6)
            minter = Minter(stage.pool, key=stage / "n1.key", model=self.model.description)
            with minter.session(order.work_order(start)) as session:
                session.record(inputs=rows, outputs=outputs, positions=range(256))
            minter.flush()
            ledger = bytes.fromhex(ask("status", stage.pool)["ledger"])
            digests += [receipt.digest(ledger).hex() for receipt in session.receipts]
            rows = outputs
        return digests

    def validate(self) -> Said:
        key = self.stage.pool / "keys" / "validator-0.key"
        with patch("creditledger.activations.runners.weights.load_model", lambda path: self.model):
            return cli("validate", self.stage.pool, "--key", key, "--once", "--json")


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    return make_workshop(tmp_path_factory.mktemp("workshop"))


def make_workshop(folder: Path, *, shape: ModelShape = SHAPE) -> Workshop:
    """A pool in ``folder`` that lists a model of four layers."""
    model = tiny_llama(folder / "model", shape=shape)
    profiles = []
    for start, stop in ((0, 2), (2, 4)):
        (folder / f"{stop}.profile").write_bytes(
            profile_of(model, layer_start=start, layer_stop=stop).encode()
        )
        profiles.append(f"{stop}.profile")
    terms = [f"{name} = {getattr(shape, name)}" for name in ("layers", "hidden", "ff", "heads", "kv_heads")]
    parameters = [
        f"profiles = {json.dumps(profiles)}",
        "[vesting]\nrounds = 0\ntime_ms = 0\nvalue = 0",
        f'[[models]]\ndigest = "{model.description.digest.hex()}"\nname = "tiny"',
        *terms,
        f'head_dim = {shape.head_dim}\nmicro_per_tflop = "1000credits"',
    ]
    stage = Stage(folder, parameters="\n".join(parameters))
    (folder / "plan").write_text("0:2 n1\n2:4 n1\n")
    return Workshop(stage, model)


def actions(said: Said) -> list[dict[str, Any]]:
    assert said.code == 0, said
    return [json.loads(line) for line in said.out.splitlines()]
