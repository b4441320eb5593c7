"""What a store promises: ordered bytes, one writer, all or nothing. Source: specs/ledger.md §2."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Final, Protocol, runtime_checkable

from creditledger.credits.state import StateView, prepare_view, update_view
from creditledger.errors import StorageError

KEY_BYTES_MAX: Final = 400
"""The longest key a store must take; the longest that is written is far shorter."""


class Store(Protocol):
    """An ordered map from byte keys (1 to 400 bytes, ascending by byte value) to byte values.

    A transaction is entered and left by one thread. Whatever a store raises is a `StorageError`,
    or an `IntegrityError` for a value that is not the one that was written."""

    def read(self) -> AbstractContextManager[StateView]:
        """A view of one moment: no later commit shows in it. Its `put` and `delete` raise."""

    def write(self) -> AbstractContextManager[StateView]:
        """The one writer's view, which sees its own changes.

        Left cleanly, all changes are durable together; left by an exception, none is. A store that
        is full keeps its old state. After a failed commit nobody knows which state the disk has:
        the store is poisoned, and all it does until it is opened anew is to raise StorageError."""

    def close(self) -> None:
        """Let go of the files; a second call does nothing."""


class GuessedWrongError(StorageError):
    """A transaction that took rows to be absent met one that is there: nothing changed, do it again."""


@runtime_checkable
class GuessingStore(Store, Protocol):
    """A store that is far away: it asks once for all that a transaction wanted to know."""

    def write_guessing(self) -> AbstractContextManager[StateView]:
        """As `write`, but what was not read before is taken to be absent until the transaction ends.

        Raises GuessedWrongError where that was wrong: a plain `write` then knows better."""

    def confirm_guesses(self) -> None:
        """Ask now, before anything is done that no transaction undoes. Raises as leaving does."""


class Prefixed:
    """A `StateView` of the keys of another that begin with ``prefix``, named without it."""

    __slots__ = ("_base", "_prefix")

    def __init__(self, base: StateView, prefix: bytes) -> None:
        self._base = base
        self._prefix = prefix

    def get(self, key: bytes) -> bytes | None:
        return self._base.get(self._prefix + key)

    def put(self, key: bytes, value: bytes) -> None:
        self._base.put(self._prefix + key, value)

    def delete(self, key: bytes) -> None:
        self._base.delete(self._prefix + key)

    def prepare(self, keys: Collection[bytes]) -> None:
        prepare_view(self._base, [self._prefix + key for key in keys])

    def update(self, changes: Mapping[bytes, bytes | None]) -> None:
        prefix = self._prefix
        update_view(self._base, {prefix + key: value for key, value in changes.items()})

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        cut = len(self._prefix)
        for key, value in self._base.scan(self._prefix + prefix):
            yield key[cut:], value


class ReadOnly:
    """A `StateView` that refuses to be changed."""

    __slots__ = ("_base",)

    def __init__(self, base: StateView) -> None:
        self._base = base

    def get(self, key: bytes) -> bytes | None:
        return self._base.get(key)

    def prepare(self, keys: Collection[bytes]) -> None:
        prepare_view(self._base, keys)

    def put(self, key: bytes, value: bytes) -> None:
        raise _read_only(key)

    def delete(self, key: bytes) -> None:
        raise _read_only(key)

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        return self._base.scan(prefix)


class LedgerStore(Store, Protocol):
    """A store that a ledger is kept in."""

    def reopen(self) -> None:
        """Open it anew after a failure, as a new process would. Raises as opening does."""


def require_key(key: bytes) -> bytes:
    """``key`` if every store can hold it. Raises StorageError."""
    if not 1 <= len(key) <= KEY_BYTES_MAX:
        raise StorageError(
            "key has another length", expected=f"1..{KEY_BYTES_MAX} bytes", found=f"{len(key)} bytes"
        )
    return key


def _read_only(key: bytes) -> StorageError:
    return StorageError("this view is for reading", expected="a write transaction", found=key[:40].hex())
