"""JSON that strangers wrote, read within bounds. Source: specs/service.md §3."""

import json
import re
from typing import Any, Final

from creditledger.errors import MalformedRecordError

DEPTH_MAX: Final = 64
BRACKETS_MAX: Final = 65_536

_STRING_OR_BRACKET: Final = re.compile(rb'"(?:[^"\\]+|\\.)*+\\?(?:"|\Z)|[\[\]{}]', re.DOTALL)


def read_json(content: bytes) -> Any:
    """The value that ``content`` spells; an object has each name once.

    How deep Python's own reader can go before it ends the process, nobody knows: that depends on what else
    the process has loaded. So the depth is counted before. Raises MalformedRecordError for what is no JSON in
    UTF-8, or is nested deeper than `DEPTH_MAX`, or has more than `BRACKETS_MAX` brackets."""
    _require_shallow(content)
    try:
        return json.loads(content.decode(), object_pairs_hook=_unique)
    except ValueError as error:
        raise MalformedRecordError("not JSON", expected="JSON in UTF-8", found=type(error).__name__) from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError("a name stands twice")
    return fields


def _require_shallow(content: bytes) -> None:
    if content.count(b"[") + content.count(b"{") <= DEPTH_MAX:
        return
    depth = brackets = 0
    for match in _STRING_OR_BRACKET.finditer(content):
        byte = content[match.start()]
        if byte in b"[{":
            depth, brackets = depth + 1, brackets + 1
        elif byte in b"]}":
            depth -= 1
        if depth > DEPTH_MAX or brackets > BRACKETS_MAX:
            raise MalformedRecordError(
                "JSON is nested too deep, or has too many parts",
                expected=f"depth {DEPTH_MAX}, {BRACKETS_MAX} brackets",
            )
