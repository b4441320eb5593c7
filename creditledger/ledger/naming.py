"""What people call accounts and records: hex digits or registered names. Source: specs/cli.md §2."""

from typing import TYPE_CHECKING

from creditledger.errors import UnknownIdError

if TYPE_CHECKING:
    from creditledger.credits.state import StateView


def account_id(state: "StateView", text: str) -> bytes:
    """The account that ``text`` names: 64 hex digits, or a registered name. Raises UnknownIdError."""
    from creditledger.credits import reading

    found = as_digest(text)
    if found is not None and reading.account_state(state, found) is not None:
        return found
    named = reading.account_named(state, text)
    # The operator has a name and no account.
    if named is None or reading.account_state(state, named) is None:
        raise UnknownIdError(
            "no such account", expected="a hex id or registered name", found=ascii(text)[:80]
        )
    return named


def as_digest(text: str) -> bytes | None:
    """The 32 bytes that 64 lower-case hex digits spell; None for any other text."""
    if len(text) != 64 or set(text) - set("0123456789abcdef"):
        return None
    return bytes.fromhex(text)
