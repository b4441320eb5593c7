"""The text of an OpenAI-compatible answer, whole or streamed. Source: specs/service.md §8."""

from collections.abc import Iterator
from typing import Any, Final

from creditledger.errors import MalformedRecordError, VerificationError
from creditledger.ledger.json_text import read_json

ANSWER_BYTES_MAX: Final = 64 << 20


def text_of(body: bytes, content_type: str) -> str:
    """What ``body`` says in its one choice. Raises VerificationError for another shape."""
    is_stream = content_type.partition(";")[0].strip() == "text/event-stream"
    try:
        parts = _events(body) if is_stream else iter([read_json(body)])
        return "".join(_part(part) for part in parts)
    except (ValueError, TypeError, KeyError, AttributeError, MalformedRecordError) as error:
        raise VerificationError("the answer cannot be read", found=type(error).__name__) from error


def _events(body: bytes) -> Iterator[Any]:
    for event in body.decode().replace("\r\n", "\n").split("\n\n"):
        lines = [line[5:].removeprefix(" ") for line in event.split("\n") if line.startswith("data:")]
        if lines and lines != ["[DONE]"]:
            yield read_json("\n".join(lines).encode())


def _part(part: Any) -> str:
    """The text in one chunk or completion; chunks without a choice, as those of usage, have none."""
    if "error" in part:
        raise ValueError
    texts: list[str] = []
    for choice in part.get("choices", ()):
        if choice.get("index", 0):
            raise ValueError
        said = choice.get("delta") or choice.get("message") or {"content": choice.get("text")}
        texts.append(said.get("content") or "")
    return "".join(texts)
