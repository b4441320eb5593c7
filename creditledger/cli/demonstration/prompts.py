"""What the client asks: passages of real English prose, told apart by the seed."""

from collections.abc import Callable

from creditledger.activations.runners.span_calibration import reference_text
from creditledger.activations.runners.weights import LoadedModel
from creditledger.cli.demonstration.chance import number_below


def prompt_tokens(model: LoadedModel, count: int, *, draw: Callable[[int], bytes]) -> list[int]:
    """``count`` tokens from a place in the reference text that ``draw`` picks."""
    text = reference_text()
    start = number_below(draw, len(text) - 12 * count)
    return model.encode(text[start : start + 12 * count])[:count]
