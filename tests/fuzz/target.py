"""What a fuzz target is: seeds, one function to feed bytes to, and what must hold of every input.

An input is read or refused. Read, it is written back byte for byte; refused, the error is one of ours."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from creditledger.errors import CreditLedgerError

INPUT_BYTES_MAX: Final = 64 * 1024
SECONDS_MAX: Final = 0.050
MEMORY_MAX: Final = 64 * 1024 * 1024
"""What one input may cost, whatever it is."""
VECTORS: Final = Path(__file__).parents[1] / "vectors"

Feed = Callable[[bytes], bool]
"""Whether some reader took the input. Anything it raises is a finding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One kind of input from strangers."""

    feed: Feed
    seeds: Callable[[], Sequence[bytes]]
    """Inputs that are read, or nearly."""
    words: Sequence[bytes] = ()
    """Pieces that its grammar is made of."""
    seconds_max: float = SECONDS_MAX


def is_inverse(read: Callable[[Any], Any], write: Callable[[Any], Any], given: Any) -> bool:
    """Whether ``read`` takes ``given``; then ``write`` must give it back."""
    try:
        value = read(given)
    except CreditLedgerError as error:
        return _is_refusal_without_bounds(error)
    written = write(value)
    assert written == given, f"read {given[:80]!r}, written as {written[:80]!r}"
    return True


def _is_refusal_without_bounds(error: CreditLedgerError) -> bool:
    """False; an error that says more than 900 characters is a finding."""
    length = len(str(error)) + len(error.expected) + len(error.found)
    assert length <= 900, f"an error of {length} characters"
    return False


def stored(pattern: str) -> Iterator[Any]:
    """The vectors of this project that match ``pattern``."""
    for path in sorted(VECTORS.glob(pattern)):
        yield json.loads(path.read_text())
