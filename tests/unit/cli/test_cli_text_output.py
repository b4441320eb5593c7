"""Rows as text: CSV that a spreadsheet reads as it is, and files that are whole or not there."""

import csv
import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from creditledger.cli.text_output import CHUNK_BYTES, write_text
from creditledger.redemption.row_text import csv_text, jsonl_text

CELLS = st.one_of(st.none(), st.integers(), st.binary(max_size=8), st.text(alphabet='az ,";\n', max_size=8))


@given(st.lists(st.fixed_dictionaries({"a": CELLS, "b": CELLS}), max_size=6))
def test_csv_is_read_back(rows: list[dict[str, object]]) -> None:
    text = "".join(csv_text(rows, ("b", "a")))
    shown = [{name: _cell(row[name]) for name in ("b", "a")} for row in rows]
    assert list(csv.DictReader(io.StringIO(text, newline=""))) == shown


def _cell(value: object) -> str:
    if isinstance(value, bytes):
        return value.hex()
    return "" if value is None else str(value)


def test_jsonl_is_an_object_per_line() -> None:
    assert "".join(jsonl_text([{"a": b"\1", "b": None}, {"c": [1]}])) == '{"a":"01","b":null}\n{"c":[1]}\n'


def test_what_is_longer_than_a_chunk_is_written_whole(tmp_path: Path) -> None:
    texts = [str(at % 10) * (CHUNK_BYTES // 3) for at in range(8)]
    write_text(texts, tmp_path / "long")
    assert (tmp_path / "long").read_text() == "".join(texts)


def test_a_text_that_breaks_off_leaves_no_file(tmp_path: Path) -> None:
    def broken() -> Iterator[str]:
        yield "x" * (CHUNK_BYTES + 1)
        raise ValueError("no more")

    (tmp_path / "old").write_text("as it was")
    for name in ("new", "old"):
        with pytest.raises(ValueError, match="no more"):
            write_text(broken(), tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["old"]
    assert (tmp_path / "old").read_text() == "as it was"
