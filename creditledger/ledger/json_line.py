"""Answers as JSON: what the verbs and the service say. Source: specs/cli.md §1."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def as_line(answer: Mapping[str, Any]) -> str:
    """One JSON object on one line. Raises ValueError for a number that JSON has no word for."""
    return json.dumps(plain(answer), separators=(",", ":"), allow_nan=False)


def plain(value: Any) -> Any:
    """``value`` as JSON types: bytes as hex, paths as text, mappings and sequences all the way down."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value
