"""From an order to vested credits, with a model that really runs: the verbs around a minter's work."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest

from cli_pools import Said, Stage, ask, cli
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
    folder = tmp_path_factory.mktemp("workshop")
    model = tiny_llama(folder / "model")
    profiles = []
    for start, stop in ((0, 2), (2, 4)):
        (folder / f"{stop}.profile").write_bytes(
            profile_of(model, layer_start=start, layer_stop=stop).encode()
        )
        profiles.append(f"{stop}.profile")
    terms = [f"{name} = {getattr(SHAPE, name)}" for name in ("layers", "hidden", "ff", "heads", "kv_heads")]
    parameters = [
        f"profiles = {json.dumps(profiles)}",
        "[vesting]\nrounds = 0\ntime_ms = 0\nvalue = 0",
        f'[[models]]\ndigest = "{model.description.digest.hex()}"\nname = "tiny"',
        *terms,
        f'head_dim = {SHAPE.head_dim}\nmicro_per_tflop = "1000credits"',
    ]
    stage = Stage(folder, parameters="\n".join(parameters))
    (folder / "plan").write_text("0:2 n1\n2:4 n1\n")
    return Workshop(stage, model)


def actions(said: Said) -> list[dict[str, Any]]:
    assert said.code == 0, said
    return [json.loads(line) for line in said.out.splitlines()]


def test_honest_work_is_upheld_settled_and_vests(workshop: Workshop) -> None:
    stage = workshop.stage
    before = stage.balance("alice")
    receipts = workshop.work("job")
    confirmed = ask("confirm", stage.pool, stage / "job", "--key", stage / "alice.key")
    assert [head["positions"] for head in confirmed["heads"]] == [256, 256]
    ask("prove", stage.pool, receipts[0], "-o", stage / "unchecked")
    early = ask("verify", stage / "unchecked", "--policy", stage.policy)
    assert (early["subject"], early["work"], early["delivered"]) == ("receipt", "unchecked", True)
    too_early = cli("verify", stage / "unchecked", "--policy", stage.policy, "--require", "upheld", "--json")
    assert (too_early.code, too_early.answer["error"]) == (1, "PolicyError")
    done = actions(workshop.validate())
    assert {action["action"] for action in done} == {"committed", "revealed"}
    judged = [one for action in done for one in action.get("judgements", [])]
    assert {one["receipt"] for one in judged} == set(receipts)
    assert {one["outcome"] for one in judged} == {"upheld"}
    assert actions(workshop.validate()) == []
    node = stage.balance("n1")
    assert node["verified_micro"] > 0
    assert node["available_micro"] == node["verified_micro"]
    after = stage.balance("alice")
    assert after["held_micro"] == before["held_micro"]
    assert after["available_micro"] < before["available_micro"]
    ask("prove", stage.pool, receipts[0], "-o", stage / "receipt")
    for requirement in ("signed", "logged", "upheld", "vested"):
        proven = ask("verify", stage / "receipt", "--policy", stage.policy, "--require", requirement)
        assert proven["work"] == "upheld"
    assert "work: upheld" in cli("verify", stage / "receipt", "--policy", stage.policy).out.splitlines()
    ask("prove", stage.pool, receipts[0], "--level", "signed", "-o", stage / "signed")
    signed = ask("verify", stage / "signed", "--policy", stage.policy, "--require", "signed")
    assert (signed["size"], signed["time_unix_ms"], signed["reached"]) == (None, None, ["signed"])
    assert cli("verify", stage / "signed", "--policy", stage.policy).code == 1


def test_made_up_work_is_refuted_and_not_paid(workshop: Workshop) -> None:
    stage = workshop.stage
    receipts = workshop.work("lie", honest=False)
    ask("confirm", stage.pool, stage / "lie", "--key", stage / "alice.key")
    judged = {
        one["receipt"]: one["outcome"]
        for action in actions(workshop.validate())
        for one in action.get("judgements", [])
    }
    assert judged == {receipts[0]: "upheld", receipts[1]: "refuted"}
    ask("prove", stage.pool, receipts[1], "-o", stage / "lie bundle")
    proven = ask("verify", stage / "lie bundle", "--policy", stage.policy)
    assert proven["work"] == "refuted"
    assert cli("verify", stage / "lie bundle", "--policy", stage.policy, "--require", "upheld").code == 1
    assert ask("audit", stage.pool)["ok"] is True
    assert ask("fsck", stage.pool)["ok"] is True


def test_compare_judges_a_kernel_as_a_validator_would(workshop: Workshop, tmp_path: Path) -> None:
    runner, rows = NumpyLlama(workshop.model), inputs_of(SHAPE, 300, seed=9)
    span = {"layer_start": 0, "layer_stop": 2}
    arrays = {
        "honest": runner.run(rows, numerics=FUSED, **span),
        "lie": inputs_of(SHAPE, 300, seed=10),
        "reference": runner.reference(rows, **span),
        "yardstick": runner.yardstick(rows, **span),
        "input": (rows.view(np.uint32) >> 16).astype(np.uint16),
    }
    for name, array in arrays.items():
        np.save(tmp_path / f"{name}.npy", array)
    others = [tmp_path / "reference.npy", tmp_path / "yardstick.npy", "--input", tmp_path / "input.npy"]
    profile = ["--profile", workshop.stage / "2.profile"]
    for more in ([], profile):
        upheld = ask("compare", tmp_path / "honest.npy", *others, *more)
        assert (upheld["outcome"], upheld["reason"], upheld["positions"]) == ("upheld", "match", 300)
        assert upheld["ratio"] < upheld["threshold"]
        refuted = ask("compare", tmp_path / "lie.npy", *others, *more)
        assert refuted["outcome"] == "refuted"
    strict = ask("compare", tmp_path / "honest.npy", *others, "--rule", "strict")
    assert strict["threshold"] < upheld["threshold"]
