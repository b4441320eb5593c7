"""What the verbs say is one line, printable, and JSON where it was asked for."""

import json
from pathlib import Path

import pytest

from creditledger.cli.main import run, wants_json
from creditledger.cli.output import emit, emit_rows, fail


def test_fields_are_lines_of_name_and_value(capsys: pytest.CaptureFixture[str]) -> None:
    emit({"work": "upheld", "leaf_hash": b"\1\2", "repeated": False, "round": None}, as_json=False)
    assert capsys.readouterr().out == "work: upheld\nleaf hash: 0102\nrepeated: no\nround: -\n"


def test_json_is_one_line_with_bytes_in_hex(capsys: pytest.CaptureFixture[str]) -> None:
    emit({"id": b"\xff", "file": Path("a b"), "parts": ({"n": b"\0"}, [1, None])}, as_json=True)
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    assert json.loads(out) == {"id": "ff", "file": "a b", "parts": [{"n": "00"}, [1, None]]}


def test_json_has_no_word_for_infinity() -> None:
    with pytest.raises(ValueError, match="Out of range"):
        emit({"ratio": float("inf")}, as_json=True)


def test_rows_are_json_lines_or_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    emit_rows([{"a": 1}, {"a": 2}], as_json=True, title="rows")
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == [{"a": 1}, {"a": 2}]
    emit_rows([{"a": 1}], as_json=False, title="rows")
    assert "rows" in capsys.readouterr().out
    emit_rows([], as_json=False, title="rows")
    assert capsys.readouterr().out == "rows: none\n"


@pytest.mark.parametrize("hostile", ["two\nlines", "\x1b[31mred", "\u2028", "a\rb", "\0"])
def test_a_hostile_name_writes_no_line_of_its_own(hostile: str, capsys: pytest.CaptureFixture[str]) -> None:
    fail("RefusedError", hostile, exit_code=6, as_json=False, found=hostile)
    emit({"name": hostile}, as_json=False)
    said = capsys.readouterr()
    assert said.err[:-1].isprintable()
    assert said.out[:-1].isprintable()
    assert (said.err[-1], said.out[-1]) == ("\n", "\n")


def test_an_error_is_one_line_or_one_object(capsys: pytest.CaptureFixture[str]) -> None:
    given = {"exit_code": 6, "expected": "5", "found": "4"}
    assert fail("AmountError", "too little", as_json=False, **given) == 6
    assert capsys.readouterr().err == "creditledger: too little (expected 5, found 4)\n"
    fail("AmountError", "too little", as_json=True, **given)
    assert json.loads(capsys.readouterr().out) == {
        "error": "AmountError",
        "message": "too little",
        "expected": "5",
        "found": "4",
        "exit": 6,
    }


def test_a_long_message_is_cut(capsys: pytest.CaptureFixture[str]) -> None:
    fail("RefusedError", "x" * 10_000, exit_code=6, as_json=False)
    assert len(capsys.readouterr().err) < 700


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [(["status", "p", "--json"], True), (["run", "p", "--", "tool", "--json"], False), ([], False)],
)
def test_json_is_wanted_only_by_an_argument_of_ours(arguments: list[str], expected: bool) -> None:
    assert wants_json(arguments) is expected


def test_no_verb_at_all_shows_the_verbs(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([]) == 2
    assert run(["--help"]) == 0
    assert "Commands:" in capsys.readouterr().out
