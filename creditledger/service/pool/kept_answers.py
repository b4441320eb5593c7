"""Answers that are kept under a client's key, in the commit that they answer for.

Rows beside the log: ``a`` + place: u64be time, SHA-256 of the request, u16be status, body; ``t`` + u64be time
+ place: the order in which they go; ``n``: u64be rows, u64be bytes. Source: specs/service.md §2."""

import hashlib
from dataclasses import dataclass
from typing import Final

from creditledger.credits.state import StateView
from creditledger.errors import ConflictError

KEPT_MS: Final = 24 * 3_600_000
ROWS_MAX: Final = 65_536
BYTES_MAX: Final = 256 * 1024 * 1024
"""Beyond either, the oldest go first: what they answered for is still logged, and a repeat finds it."""
DROPPED_AT_ONCE: Final = 64
KEY_SIZE_MAX: Final = 64

_ANSWER: Final = b"a"
_ORDER: Final = b"t"
_COUNT: Final = b"n"
_HEAD_SIZE: Final = 8 + 32 + 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What was answered, but for its headers."""

    status: int
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyedRequest:
    """A request under a key: the same key stands for the same method, path and body."""

    place: bytes
    """32 bytes that belong to the key and to whose it is."""
    digest: bytes
    """SHA-256 of method, path and body."""

    @classmethod
    def of(cls, key: bytes, *, token: str, method: str, path: str, body: bytes) -> "KeyedRequest":
        """``token``: the id of the bearer's, or empty."""
        place = hashlib.sha256(len(key).to_bytes(1, "big") + key + token.encode()).digest()
        line = f"{method} {path}\0".encode()
        return cls(place=place, digest=hashlib.sha256(line + body).digest())


def is_key(key: bytes) -> bool:
    """Whether a header's value may be a key: 1 to 64 visible ASCII characters."""
    return 1 <= len(key) <= KEY_SIZE_MAX and all(0x21 <= byte <= 0x7E for byte in key)


def find(kept: StateView, request: KeyedRequest, *, now_unix_ms: int) -> Answer | None:
    """What the request was answered before. Raises ConflictError if the key was another request's."""
    row = kept.get(_ANSWER + request.place)
    if row is None or now_unix_ms >= int.from_bytes(row[:8], "big") + KEPT_MS:
        return None
    if row[8:40] != request.digest:
        raise ConflictError(
            "the idempotency key was used for another request",
            expected=row[8:40].hex(),
            found=request.digest.hex(),
        )
    return Answer(status=int.from_bytes(row[40:_HEAD_SIZE], "big"), body=row[_HEAD_SIZE:])


def keep(kept: StateView, request: KeyedRequest, answer: Answer, *, now_unix_ms: int) -> None:
    """Keep an answer, and let go of some that are too old or too many."""
    _drop(kept, request.place)
    rows, size = _counts(kept)
    head = now_unix_ms.to_bytes(8, "big") + request.digest + answer.status.to_bytes(2, "big")
    kept.put(_ANSWER + request.place, head + answer.body)
    kept.put(_ORDER + head[:8] + request.place, b"")
    _put_counts(kept, rows + 1, size + len(answer.body))
    _make_room(kept, now_unix_ms)


def _make_room(kept: StateView, now_unix_ms: int) -> None:
    leaving: list[bytes] = []
    rows, size = _counts(kept)
    for key, _ in kept.scan(_ORDER):
        is_over = now_unix_ms >= int.from_bytes(key[1:9], "big") + KEPT_MS
        if len(leaving) == DROPPED_AT_ONCE or not (is_over or rows > ROWS_MAX or size > BYTES_MAX):
            break
        leaving.append(key[9:])
        rows, size = rows - 1, size - len(kept.get(_ANSWER + key[9:]) or b"") + _HEAD_SIZE
    for place in leaving:
        _drop(kept, place)


def _drop(kept: StateView, place: bytes) -> None:
    row = kept.get(_ANSWER + place)
    if row is None:
        return
    rows, size = _counts(kept)
    kept.delete(_ANSWER + place)
    kept.delete(_ORDER + row[:8] + place)
    _put_counts(kept, rows - 1, size - len(row) + _HEAD_SIZE)


def _counts(kept: StateView) -> tuple[int, int]:
    row = kept.get(_COUNT) or bytes(16)
    return int.from_bytes(row[:8], "big"), int.from_bytes(row[8:], "big")


def _put_counts(kept: StateView, rows: int, size: int) -> None:
    kept.put(_COUNT, rows.to_bytes(8, "big") + size.to_bytes(8, "big"))
