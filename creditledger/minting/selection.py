"""Which rows of a forward belong to a session. Source: specs/minting.md §8."""

from collections.abc import Sequence
from itertools import compress
from typing import Any, TypeAlias

from creditledger.errors import ActivationError
from creditledger.minting.rows import OwnedRows, own_rows

Selection: TypeAlias = slice | tuple[int, Any]
"""A slice of one sequence of a ``(batch, positions, hidden)`` stream, or of positions of a packed
``(positions, hidden)`` one; or a sequence's index and its mask, true where a row is no padding."""


class SelectedRows:
    """One session's selection, over all forwards inside one `Minter.rows` block.

    A mask speaks of the sequence's rows from the block's first forward on; those beyond its end are no
    padding: so a prompt's mask does for the tokens decoded after it."""

    __slots__ = ("_index", "_mask", "_seen", "_where")

    def __init__(self, selection: Selection) -> None:
        """Raises ActivationError for anything that selects no rows."""
        self._seen = 0
        self._mask: Sequence[bool] = ()
        if isinstance(selection, tuple) and len(selection) == 2 and type(selection[0]) is int:
            index, self._mask = selection[0], [bool(flag) for flag in _listed(selection[1])]
            selection = slice(index, index + 1)
        if not isinstance(selection, slice):
            raise ActivationError(
                "rows are selected by a slice, or a sequence and its mask", found=repr(selection)[:60]
            )
        self._where = selection
        start, stop = selection.start or 0, selection.stop
        is_one = selection.step is None and start >= 0 and stop == start + 1
        self._index: int = start if is_one else -1
        """Of the one sequence, where that is sure before a stream is seen: one step less a token."""

    def of(self, stream: Any) -> OwnedRows | None:
        """A copy of the session's rows in ``stream``: ``(positions, hidden)``; None if all are padding.

        Raises ActivationError for several sequences, none, or other arrays."""
        is_there = 0 <= self._index < len(stream) and stream.ndim == 3
        chosen = stream[self._index] if is_there else stream[self._where]
        if chosen.ndim == 3:
            if chosen.shape[0] != 1:
                raise ActivationError(
                    "a session has one sequence of a batch", expected="1", found=str(chosen.shape[0])
                )
            chosen = chosen[0]
        if self._seen >= len(self._mask):
            return own_rows(chosen)
        real = self._real(len(chosen))
        return own_rows(_picked(chosen, real)) if real else None

    def passed(self, positions: int) -> None:
        """``positions`` rows of the sequence went through."""
        self._seen += positions

    def _real(self, count: int) -> list[int]:
        """Indexes of the rows of this forward that are no padding."""
        flags = list(self._mask[self._seen : self._seen + count])
        flags += [True] * (count - len(flags))
        return list(compress(range(count), flags))


def positions_of(stream: Any) -> int:
    """Positions of one sequence in ``stream``, padding included."""
    return int(stream.shape[-2])


def _listed(mask: Any) -> Sequence[Any]:
    listed = mask.tolist() if hasattr(mask, "tolist") else list(mask)
    if not all(isinstance(flag, bool | int | float) for flag in listed):
        raise ActivationError("a mask has one flag a row", expected="one dimension")
    return listed


def _picked(rows: Any, indexes: list[int]) -> Any:
    """``rows`` at ascending ``indexes``: a view if they follow one another."""
    first, last = indexes[0], indexes[-1]
    return rows[first : last + 1] if last - first + 1 == len(indexes) else rows[indexes]
