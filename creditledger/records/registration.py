"""Who is who: registration and rotation. Source: specs/records.md §7."""

from enum import IntEnum
from typing import Annotated, ClassVar, Final

from creditledger.errors import MalformedRecordError
from creditledger.quantities import (
    AccountId,
    Code,
    Digest,
    Ed25519PublicKey,
    Name,
    octets,
)
from creditledger.records.kinds import Kind
from creditledger.records.record import Record


class Role(IntEnum):
    """What an account may sign besides holds and transfers of its own credits."""

    NODE = 1
    CLIENT = 2
    QUEUE = 3
    OPERATOR = 4
    """The genesis' operator, registered to commit to its next key: it has no credits."""
    LEVY_POOL = 5
    """The system account that levies wait in. Nobody registers it and nobody signs for it."""


_REGISTERED: Final = (Role.NODE, Role.CLIENT, Role.QUEUE, Role.OPERATOR)


class Registration(Record):
    """An account opens under its first key, which signs this."""

    KIND: ClassVar[Kind] = Kind.REGISTRATION

    account: AccountId
    role: Code
    name: Name
    next_key: Digest
    """SHA-256 of the key this account will rotate to; 32 zero bytes if it has none."""
    admission: Annotated[bytes, octets(0, 64)]
    """The operator's signature over `admission_bytes` where the pool admits by approval; else empty."""

    def check_rules(self) -> None:
        if self.role not in _REGISTERED:
            raise MalformedRecordError("role is not a known code", found=str(self.role))
        if len(self.admission) not in (0, 64):
            raise MalformedRecordError("admission is not a signature", expected="0 or 64 bytes")


def admission_bytes(account: bytes, ledger_id: bytes) -> bytes:
    """What the operator signs to admit ``account``. Source: specs/records.md §7."""
    return b"creditledger/v1/admission\0" + ledger_id + account


class Rotation(Record):
    """The account's present key hands over to the key it committed to; both sign."""

    KIND: ClassVar[Kind] = Kind.ROTATION

    account: AccountId
    new_key: Ed25519PublicKey
    next_key: Digest
    consent: Annotated[bytes, octets(64, 64)]
    """The new key's signature over this record with 64 zero bytes in this place."""
