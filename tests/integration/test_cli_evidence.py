"""A refutation and what it rests on, from the validator's loop to the accused's own check."""

from pathlib import Path
from unittest.mock import patch

import pytest

from cli_pools import Said, ask, cli
from cli_workshop import Workshop, actions, workshop

__all__ = ["workshop"]


@pytest.fixture(scope="module")
def lie(workshop: Workshop) -> str:
    """The digest of a receipt that its validator refuted."""
    stage = workshop.stage
    receipts = workshop.work("lie", honest=False)
    ask("confirm", stage.pool, stage / "lie", "--key", stage / "alice.key")
    actions(workshop.validate())
    return receipts[1]


def repeat(workshop: Workshop, bundle: Path, *more: object) -> Said:
    """`verify --model`, with the model that the pool lists."""
    arguments = (bundle, "--policy", workshop.stage.policy, "--json", *more)
    with patch("creditledger.activations.runners.weights.load_model", lambda path: workshop.model):
        return cli("verify", *arguments, "--model", workshop.stage.folder / "model")


def test_the_accused_and_a_member_repeat_the_check(workshop: Workshop, lie: str) -> None:
    """Both open the same evidence with their key files, and the verdict comes out again."""
    stage = workshop.stage
    for name, key in (("node", stage / "n1.key"), ("member", stage.pool / "keys" / "validator-0.key")):
        opened = ask("evidence", stage.pool, lie, "--key", key, "-o", stage / f"{name}.evidence")
        assert (opened["receipt"], opened["member"], opened["outcome"]) == (lie, 0, "refuted")
        assert (stage / f"{name}.evidence").stat().st_mode & 0o777 == 0o600
        said = repeat(workshop, stage / f"{name}.evidence")
        answer = said.answer
        assert (said.code, answer["work"], answer["agrees"], answer["ok"]) == (0, "refuted", True, True)
        assert (answer["claimed_outcome"], answer["claimed_reason"]) == ("refuted", "ratio")
        assert (answer["outcome"], answer["reason"], answer["id"]) == ("refuted", "ratio", lie)
        assert answer["ratio"] > answer["threshold"] > 1
        assert answer["tail"] > 0
        assert answer["resolution"] > 20
    assert (stage / "node.evidence").read_bytes() == (stage / "member.evidence").read_bytes()
