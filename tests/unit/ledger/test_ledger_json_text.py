"""JSON that strangers wrote: what is read, and what must not end the process. Threats: D1."""

import subprocess
import sys
import time

import pytest

from creditledger.errors import MalformedRecordError
from creditledger.ledger.json_text import BRACKETS_MAX, DEPTH_MAX, read_json


@pytest.mark.parametrize(
    ("content", "value"),
    [
        (b"7", 7),
        (b' {"a": [1, {"b": null}]} ', {"a": [1, {"b": None}]}),
        (b"[" * DEPTH_MAX + b"]" * DEPTH_MAX, None),
        (b"[" + b",".join([b"[]"] * (BRACKETS_MAX - 1)) + b"]", [[]] * (BRACKETS_MAX - 1)),
        (b'"' + b"[" * 100_000 + b'"', "[" * 100_000),
        (b'["\\"' + b"{" * 1000 + b'\\\\"]', ['"' + "{" * 1000 + "\\"]),
    ],
)
def test_what_is_json_is_read(content: bytes, value: object) -> None:
    found = read_json(content)
    assert value is None or found == value


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[1,]",
        b"\xff",
        b'{"a": 1, "a": 2}',
        b"[" * (DEPTH_MAX + 1) + b"]" * (DEPTH_MAX + 1),
        b"[" + b",".join([b"[]"] * BRACKETS_MAX) + b"]",
        b'{"a":' * 100_000,
        b'["\\"]' + b"[" * 100_000,
        b'[""' + b"[" * 100_000,
        (b"[" * 70) + b'"' + b'\\"' * 1_000_000,
    ],
)
def test_what_is_not_is_refused_in_no_time(content: bytes) -> None:
    began = time.monotonic()
    with pytest.raises(MalformedRecordError):
        read_json(content)
    assert time.monotonic() - began < 1


def test_no_depth_ends_the_process() -> None:
    """Some packages raise Python's own limit, and its reader then runs out of stack."""
    program = (
        "import sys; sys.setrecursionlimit(10**6)\n"
        "from creditledger.ledger.json_text import read_json\n"
        "try: read_json(b'[' * 1_000_000)\n"
        "except ValueError: pass\n"
        "except Exception as error: print(type(error).__name__)"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout == "MalformedRecordError\n"
