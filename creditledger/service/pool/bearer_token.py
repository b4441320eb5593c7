"""A bearer token as whoever presents it holds it. Its text forms never show the secret.

Source: specs/service.md §4."""

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from creditledger.errors import TokenError

PREFIX: Final = "clt_"
ID_SIZE: Final = 8
SECRET_SIZE: Final = 32
_TEXT: Final = re.compile(rf"{PREFIX}([0-9a-f]{{{2 * ID_SIZE}}})_([0-9a-f]{{{2 * SECRET_SIZE}}})")


@dataclass(frozen=True, slots=True, kw_only=True)
class BearerToken:
    """A name, which may be shown and is looked up by, and a secret, which is shown once."""

    id: bytes
    """8 bytes."""
    secret: bytes = field(repr=False)
    """32 bytes."""

    @classmethod
    def new(cls, *, random_bytes: Callable[[int], bytes]) -> "BearerToken":
        """A fresh one, that nobody accepts yet."""
        return cls(id=random_bytes(ID_SIZE), secret=random_bytes(SECRET_SIZE))

    @classmethod
    def parse(cls, text: str) -> "BearerToken":
        """The inverse of `reveal`. Raises TokenError, which shows nothing of ``text``."""
        found = _TEXT.fullmatch(text)
        if found is None:
            raise TokenError(
                "not a bearer token",
                expected=f"{PREFIX}, {2 * ID_SIZE} hex digits, _, {2 * SECRET_SIZE} hex digits",
                found=f"{len(text)} other characters",
            )
        return cls(id=bytes.fromhex(found[1]), secret=bytes.fromhex(found[2]))

    def reveal(self) -> str:
        """The text to hand over, with the secret in it."""
        return f"{PREFIX}{self.id.hex()}_{self.secret.hex()}"

    def secret_hash(self) -> bytes:
        """SHA-256 of the secret: all that is kept of it. 256 random bits need no slow hash."""
        return hashlib.sha256(self.secret).digest()
