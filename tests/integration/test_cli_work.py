"""From an order to vested credits, with a model that really runs: the verbs around a minter's work."""

from pathlib import Path

import numpy as np

from cli_pools import ask, cli
from cli_workshop import Workshop, actions, workshop
from creditledger.activations.runners.numerics import FUSED
from creditledger.activations.runners.numpy_llama import NumpyLlama
from fakes.tiny_llama import SHAPE, inputs_of

__all__ = ["workshop"]


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
