"""What a receipt's sketch commitment opens to. Source: specs/check.md §3 and §9."""

import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from creditledger.activations.sampler import SAMPLER_BYTES, Sampler
from creditledger.activations.sketch import (
    PROJECTIONS,
    Sketch,
    sketch_bytes,
    sketch_commitment,
    verify_sketch,
)
from creditledger.activations.token_check import NOT_SAMPLED
from creditledger.errors import ActivationError, OpeningError
from creditledger.records.receipt import OutputKind, Receipt

_SKETCH_ROW: Final = 2 * PROJECTIONS
_TOKEN_BYTES: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawnTokens:
    """What a node says it drew in one window, and how."""

    sampler: Sampler
    tokens: tuple[int, ...]
    """One a position: the token that follows it, or `NOT_SAMPLED`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedCommitment:
    """The sketch, and the tokens where tokens left the span."""

    sketch: Sketch
    drawn: DrawnTokens | None


def commitment_bytes(sketch: Sketch, drawn: DrawnTokens | None = None) -> bytes:
    """What is committed to: the sketch; for tokens, then u32le each, then the sampler.

    Raises ActivationError for tokens of other positions or beyond u32."""
    encoded = sketch_bytes(sketch)
    if drawn is None:
        return encoded
    if len(drawn.tokens) != len(sketch) or not all(0 <= token <= NOT_SAMPLED for token in drawn.tokens):
        raise ActivationError("tokens do not fit their positions", expected=f"{len(sketch)} of u32")
    return encoded + np.array(drawn.tokens, dtype="<u4").tobytes() + drawn.sampler.encode()


def open_commitment(salt: bytes, encoded: bytes, *, receipt: Receipt) -> OpenedCommitment:
    """What ``receipt`` committed to, if ``salt`` and ``encoded`` are it. Raises OpeningError."""
    if receipt.output_kind != OutputKind.TOKENS:
        sketch = verify_sketch(salt, encoded, commitment=receipt.sketch, positions=receipt.positions)
        return OpenedCommitment(sketch=sketch, drawn=None)
    if len(salt) != 32 or not hmac.compare_digest(sketch_commitment(salt, encoded), receipt.sketch):
        raise OpeningError("opening is not what was committed to", expected=receipt.sketch.hex())
    sketched = _SKETCH_ROW * receipt.positions
    drawn = sketched + _TOKEN_BYTES * receipt.positions
    if len(encoded) != drawn + SAMPLER_BYTES:
        raise OpeningError("opening has another length", expected=f"{drawn + SAMPLER_BYTES} bytes")
    sampler = Sampler.decode(encoded[drawn:])
    if sampler.digest != receipt.sampler:
        raise OpeningError("opening names another sampler", expected=receipt.sampler.hex())
    inner = encoded[:sketched]
    sketch = verify_sketch(
        salt, inner, commitment=sketch_commitment(salt, inner), positions=receipt.positions
    )
    tokens = tuple(int(token) for token in np.frombuffer(encoded[sketched:drawn], dtype="<u4"))
    return OpenedCommitment(sketch=sketch, drawn=DrawnTokens(sampler=sampler, tokens=tokens))


def verify_tokens(salt: bytes, encoded: bytes, *, receipt: Receipt, received: Sequence[int | None]) -> None:
    """For a client: that ``receipt`` commits to the tokens that it ``received``, None inside its prompt.

    Raises OpeningError for another opening, other tokens, or one that is said not to be drawn."""
    opened = open_commitment(salt, encoded, receipt=receipt).drawn
    found = () if opened is None else opened.tokens
    expected = tuple(NOT_SAMPLED if token is None else token for token in received)
    if found != expected:
        raise OpeningError("receipt commits to other tokens than were received")
