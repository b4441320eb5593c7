"""What both ends of an ordered request agree on: paths, headers, and how its tokens are drawn.

Client and server read the same request, so both know the sampler that the receipts must name.
Source: specs/service.md §8."""

from collections.abc import Mapping
from typing import Any, Final

from creditledger.activations.sampler import TEMPERATURE_MILLI_MAX, Sampler
from creditledger.errors import RefusedError

PATHS: Final = ("/v1/chat/completions", "/v1/completions")
ORDER: Final = "creditledger-order"
"""A `WorkOrder`, in base64."""
SEED: Final = "creditledger-seed"
"""32 bytes in hex, which seed the draws."""
RECEIPTS: Final = "creditledger-receipts"
"""Of an answer: where its receipts are found."""
RECEIPTS_PATH: Final = "/creditledger/receipts/"
DEFAULT_TEMPERATURE: Final = 1.0
"""What the interface says of a request that names none."""

_PLAIN: Final[Mapping[str, tuple[object, ...]]] = {
    "best_of": (None, 1),
    "frequency_penalty": (None, 0),
    "generation_config": (None,),
    "logit_bias": (None, {}),
    "min_p": (None, 0),
    "n": (None, 1),
    "presence_penalty": (None, 0),
    "repetition_penalty": (None, 1),
    "response_format": (None, {"type": "text"}),
    "suffix": (None, ""),
    "tools": (None, []),
    "top_k": (None, 0, -1),
    "top_p": (None, 1),
}
"""Fields that change which tokens are drawn, how many answers there are, or what text stands for the
tokens: each with the values that change nothing."""


def sampler_of(request: Mapping[str, Any], seed: bytes) -> Sampler:
    """The sampler that ``request`` asks for: greedy at temperature 0, else seeded by ``seed`` (32 bytes).

    The request's own ``seed`` counts for nothing. Raises RefusedError for settings that no sampler of
    specs/check.md §9 has, ActivationError for a seed that is none."""
    for field, plain in _PLAIN.items():
        if request.get(field) not in plain:
            raise RefusedError(
                "no receipt can stand for draws under this setting",
                expected=f"{field} {plain[-1]!r} or none",
                found=f"{field} {ascii(request[field])[:80]}",
            )
    milli = _milli(request.get("temperature"))
    return Sampler.seeded(seed, temperature_milli=milli) if milli else Sampler.greedy()


def _milli(temperature: object) -> int:
    asked = DEFAULT_TEMPERATURE if temperature is None else temperature
    if isinstance(asked, int | float) and 0 <= asked <= TEMPERATURE_MILLI_MAX / 1000:
        milli = round(asked * 1000)
        if abs(asked * 1000 - milli) < 1e-6:
            return milli
    raise RefusedError(
        "temperature is not one that a receipt can name",
        expected="0 to 100, in thousandths",
        found=ascii(asked)[:40],
    )
