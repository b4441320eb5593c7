"""Which logs a witness watches, in the text form that witnesses share. Source: specs/log.md §12."""

import re
from dataclasses import dataclass
from typing import Final

from creditledger.errors import MalformedRecordError
from creditledger.transparency.checkpoint import Checkpoint, parse_decimal
from creditledger.transparency.merkle import EMPTY_ROOT
from creditledger.transparency.note import TYPE_ED25519, VerifierKey, parse_verifier_key

LOG_LIST_SIZE_MAX: Final = 10_000_000
HEADER: Final = "logs/v0"
REQUESTS_PER_DAY: Final = 86_400
"""What a log may ask for unless its line says otherwise: one a second."""
_NO_ORIGIN: Final = "none"
_CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchedLog:
    """One log key of the list. A log whose key rotates is listed once per key."""

    vkey: VerifierKey
    """Ed25519 (type 1)."""
    origin: str
    """The key's name, unless the list says another."""
    requests_per_day: int = REQUESTS_PER_DAY
    """At least 1."""
    contact: str = "unknown"
    """For people."""

    def __post_init__(self) -> None:
        if self.vkey.key_type != TYPE_ED25519:
            raise _malformed("log keys of type 1", f"type {self.vkey.key_type}")
        if self.requests_per_day < 1:
            raise _malformed("at least 1 request a day", str(self.requests_per_day)[:40])
        if not self.contact.strip() or _CONTROL.search(self.contact):
            raise _malformed("a contact on one line", ascii(self.contact[:40]))
        Checkpoint(origin=self.origin, size=0, root=EMPTY_ROOT)  # refuses what no checkpoint can name

    def encode(self) -> bytes:
        """The lines of this log."""
        origin = "" if self.origin == self.vkey.name else f"origin {self.origin}\n"
        lines = f"vkey {self.vkey}\n{origin}qpd {self.requests_per_day}\ncontact {self.contact}\n"
        return lines.encode()


def parse_log_list(content: bytes) -> tuple[WatchedLog, ...]:
    """The logs of a list, in its order. Raises MalformedRecordError, KeyFormatError.

    Blank lines and lines that begin with ``#`` are skipped. No key may stand twice."""
    if len(content) > LOG_LIST_SIZE_MAX:
        raise _malformed(f"at most {LOG_LIST_SIZE_MAX} bytes", f"{len(content)} bytes")
    lines = _Lines(content)
    if lines.pop() != HEADER:
        raise _malformed(f"the line {HEADER} first", "another")
    logs: list[WatchedLog] = []
    while lines.left:
        logs.append(_read_log(lines))
    if len({log.vkey for log in logs}) != len(logs):
        raise _malformed("each key once", "a key twice")
    return tuple(logs)


class _Lines:
    """The lines that say something, in turn."""

    __slots__ = ("left",)

    def __init__(self, content: bytes) -> None:
        try:
            text = content.decode()
        except UnicodeDecodeError as error:
            raise _malformed("UTF-8", ascii(content[error.start : error.start + 20])) from error
        stripped = (line.removesuffix("\r").strip(" \t") for line in text.split("\n"))
        self.left = [line for line in stripped if line and not line.startswith("#")][::-1]

    def pop(self) -> str:
        """The next line, or nothing at the end."""
        return self.left.pop() if self.left else ""

    def value(self, keyword: str) -> str:
        """What follows ``keyword`` on the next line, which must begin with it."""
        line = self.pop()
        word, _, value = line.partition(" ")
        if word != keyword or not value.strip(" "):
            raise _malformed(f"{keyword} and its value", ascii(line[:60]))
        return value.strip(" ")


def _read_log(lines: _Lines) -> WatchedLog:
    vkey = parse_verifier_key(lines.value("vkey"))
    has_origin = bool(lines.left) and lines.left[-1].partition(" ")[0] == "origin"
    origin = lines.value("origin") if has_origin else _NO_ORIGIN
    return WatchedLog(
        vkey=vkey,
        origin=vkey.name if origin == _NO_ORIGIN else origin,
        requests_per_day=parse_decimal(lines.value("qpd").encode()),
        contact=lines.value("contact"),
    )


def _malformed(expected: str, found: str) -> MalformedRecordError:
    return MalformedRecordError("not a list of logs", expected=expected, found=found)
