"""Which key speaks for an account at which index, and to which key it will hand over.

An account is named for ever by its first key; later ones stand here and, for readers, in the map.
Source: specs/credits.md §11."""

from typing import Final

from creditledger.credits.state import State
from creditledger.quantities import ZERO_DIGEST
from creditledger.records.registration import Role
from creditledger.records.state import KeyState, account_key, public_key_key

_LATER_KEY: Final = b"a/"
_COMMITMENT: Final = b"C/"


def key_in_force(state: State, account: bytes) -> bytes:
    """The public key that signs for ``account`` now: its first until it rotates. 32 bytes."""
    first = state.entry(KeyState, public_key_key(account))
    if first is not None and not first.until_index:
        return account  # as nearly all, each time that they sign
    return keys_of(state, account)[-1][1]


def key_at(state: State, account: bytes, index: int) -> bytes:
    """The public key that signs, or signed, entry ``index`` for ``account``."""
    return [key for first, key in keys_of(state, account) if first <= index][-1]


def keys_of(state: State, account: bytes) -> list[tuple[int, bytes]]:
    """(first index, key) of every key that ``account`` ever had, oldest first: its own id from 0 on."""
    prefix = _LATER_KEY + account
    later = [(int.from_bytes(row[len(prefix) :], "big"), key) for row, key in state.view.scan(prefix)]
    return [(0, account), *later]


def commitment_of(state: State, account: bytes) -> bytes | None:
    """SHA-256 of the key that ``account`` may hand over to, or None."""
    return state.view.get(_COMMITMENT + account)


def commit_to(state: State, account: bytes, commitment: bytes) -> None:
    """Keep what ``account`` committed to; zero is nothing."""
    if commitment == ZERO_DIGEST:
        state.view.delete(_COMMITMENT + account)
    else:
        state.view.put(_COMMITMENT + account, commitment)


def is_known_key(state: State, key: bytes) -> bool:
    """Whether ``key`` is or was a key, or the id, of any account."""
    return any(state.map_value(row) is not None for row in (public_key_key(key), account_key(key)))


def first_key(state: State, account: bytes, role: Role, index: int) -> None:
    """From entry ``index`` on ``account`` is registered under the key that names it."""
    key = KeyState(key=account, account=account, role=role, from_index=index, until_index=0)
    state.put_entry(public_key_key(account), key)


def hand_over(state: State, account: bytes, new_key: bytes, index: int) -> None:
    """Entry ``index`` was the last that the key in force signed; ``new_key`` signs from the next on."""
    old_key = key_in_force(state, account)
    old = state.entry(KeyState, public_key_key(old_key))
    if old is None:
        raise AssertionError("an account rotates without a key state")
    ended = KeyState(
        key=old.key,
        account=old.account,
        role=old.role,
        from_index=old.from_index,
        until_index=index + 1,
    )
    begun = KeyState(key=new_key, account=account, role=old.role, from_index=index + 1, until_index=0)
    state.put_entry(public_key_key(old_key), ended)
    state.put_entry(public_key_key(new_key), begun)
    state.view.put(_LATER_KEY + account + (index + 1).to_bytes(8, "big"), new_key)
