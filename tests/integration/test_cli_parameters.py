"""Looking at a pool's rules before founding it."""

from pathlib import Path

from cli_pools import ask, cli


def test_the_rules_of_a_new_pool_hold_and_broken_ones_are_named(tmp_path: Path) -> None:
    file = tmp_path / "pool.toml"
    file.write_text("")
    found = ask("parameters", "check", file)
    assert found["ok"]
    assert {answer["finding"] for answer in found["answers"]} == {"good", "thin"}
    assert "break-even" in found["answers"][0]["found"]
    file.write_text('[rates]\nalways_check = "204credits"\n')
    refused = cli("parameters", "check", file)
    assert refused.code == 6
    assert "largest receipt" in refused.err
    assert cli("parameters", "check", file, "--receipt", "1credits").code == 6
    file.write_text('[rates]\nalways_check = "203credits"\n')
    assert cli("parameters", "check", file).code == 0
    assert cli("parameters", "check", file, "--colluding", "5").code == 6


def test_a_person_reads_every_answer(tmp_path: Path) -> None:
    file = tmp_path / "pool.toml"
    file.write_text("")
    answers = ask("parameters", "check", file)["answers"]
    shown = cli("parameters", "check", file).out.splitlines()
    assert [line.split()[0] for line in shown] == [answer["finding"] for answer in answers]
    assert all(answer["question"] in line for answer, line in zip(answers, shown, strict=True))
