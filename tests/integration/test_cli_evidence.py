"""A refutation and what it rests on, from the validator's loop to the accused's own check."""

import subprocess
import sys
from pathlib import Path
from unittest.mock import patch

import pytest

from cli_pools import Said, ask, cli, environment, process
from cli_workshop import Workshop, actions, workshop
from creditledger.records.verdict import Outcome, Reason
from creditledger.validation.duties import DutyJudge
from creditledger.validation.judgement import Judgement

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


def test_without_a_model_the_work_stays_unchecked(workshop: Workshop, lie: str) -> None:
    """All but the work is checked, and nothing is said of it."""
    stage = workshop.stage
    ask("evidence", stage.pool, lie, "--key", stage / "n1.key", "-o", stage / "plain.evidence")
    answer = ask("verify", stage / "plain.evidence", "--policy", stage.policy)
    assert (answer["subject"], answer["work"], answer["claimed_outcome"]) == (
        "evidence",
        "unchecked",
        "refuted",
    )
    assert "agrees" not in answer
    assert answer["size"] > 0
    altered = bytearray((stage / "plain.evidence").read_bytes())
    altered[-1] ^= 1
    (stage / "altered.evidence").write_bytes(altered)
    for change in ((), ("--model", stage.folder / "model")):
        said = cli("verify", stage / "altered.evidence", "--policy", stage.policy, "--json", *change)
        assert (said.code, said.answer["error"]) == (1, "OpeningError")
    (stage / "short.evidence").write_bytes(altered[:-1])
    said = cli("verify", stage / "short.evidence", "--policy", stage.policy, "--json")
    assert (said.code, said.answer["error"]) == (1, "MalformedBundleError")


def test_a_false_verdict_is_an_answer_and_exit_1(workshop: Workshop) -> None:
    """A committee that lies about honest work: the accused shows it with what the liars published."""
    stage = workshop.stage
    receipts = workshop.work("framed")
    ask("confirm", stage.pool, stage / "framed", "--key", stage / "alice.key")
    false = Judgement(outcome=Outcome.REFUTED, reason=Reason.TAIL)
    with patch.object(DutyJudge, "judge", lambda self, state, due: dict.fromkeys(due, false)):
        actions(workshop.validate())
    ask("evidence", stage.pool, receipts[1], "--key", stage / "n1.key", "-o", stage / "framed.evidence")
    said = repeat(workshop, stage / "framed.evidence")
    answer = said.answer
    assert (said.code, answer["ok"], answer["agrees"], answer["work"]) == (1, False, False, "upheld")
    assert (answer["claimed_reason"], answer["reason"]) == ("tail", "match")
    assert said.err == "the check does not give this verdict again\n"


def test_only_who_it_is_sealed_to_opens_it(workshop: Workshop, lie: str) -> None:
    """Another node's key, another role's, another receipt, another member: nothing is written."""
    stage = workshop.stage
    stage.add("n2", "node")
    opened = ["evidence", stage.pool, lie, "-o", stage / "no.evidence", "--key"]
    for arguments, code, error in (
        ([*opened, stage / "n2.key"], 1, "OpeningError"),
        ([*opened, stage / "alice.key"], 6, "RoleError"),
        ([*opened, stage / "n1.key", "--member", 1], 6, "UnknownIdError"),
        (["evidence", stage.pool, "ab" * 32, *opened[3:], stage / "n1.key"], 6, "UnknownIdError"),
    ):
        said = cli(*arguments, "--json")
        assert (said.code, said.answer["error"]) == (code, error)
        assert not (stage / "no.evidence").exists()


def test_evidence_of_an_older_checkpoint_is_proven_anew(workshop: Workshop, lie: str) -> None:
    """Opened again after the log has grown, it speaks of the larger tree."""
    stage = workshop.stage
    arguments = ("evidence", stage.pool, lie, "--key", stage / "n1.key", "-o", stage / "later.evidence")
    ask(*arguments)
    before = ask("verify", stage / "later.evidence", "--policy", stage.policy)["size"]
    stage.grant("bob", "1")
    ask(*arguments)
    assert ask("verify", stage / "later.evidence", "--policy", stage.policy)["size"] > before


def test_a_process_verifies_evidence_and_plain_bundles_load_no_arrays(workshop: Workshop, lie: str) -> None:
    stage = workshop.stage
    ask("evidence", stage.pool, lie, "--key", stage / "n1.key", "-o", stage / "p.evidence")
    said = process("verify", stage / "p.evidence", "--policy", stage.policy, "--json")
    assert (said.code, said.answer["work"]) == (0, "unchecked")
    ask("prove", stage.pool, lie, "--level", "logged", "-o", stage / "p.receipt")
    plain = (
        f"from creditledger.cli.main import run; import sys; run(['verify', {str(stage / 'p.receipt')!r}, "
    )
    plain += f"'--policy', {str(stage.policy)!r}]); sys.exit('numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", plain], env=environment(), check=False, timeout=60)
    assert done.returncode == 0
