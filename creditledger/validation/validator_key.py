"""A validator's two keys: one certifies, one opens what was sealed. Source: specs/validation.md §1."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from creditledger.activations.sealing import AuditKey
from creditledger.errors import RoleError
from creditledger.ledger.keyring import KeyFile, KeyRole, load_key
from creditledger.records.parameters import Member
from creditledger.transparency.bls import BlsSigner


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidatorKey:
    """Both keys of one committee member."""

    bls: BlsSigner
    audit: AuditKey

    @classmethod
    def of_file(cls, key: KeyFile) -> "ValidatorKey":
        """The keys in a validator's key file. Raises RoleError for another role's."""
        return cls(bls=key.bls(), audit=AuditKey(key.audit_secret))

    @classmethod
    def load(cls, path: Path, *, ledger_id: bytes | None = None) -> "ValidatorKey":
        """The keys in the file at ``path``. Raises StorageError, KeyFormatError, RoleError."""
        return cls.of_file(load_key(path, roles=(KeyRole.VALIDATOR,), ledger_id=ledger_id))

    def member_index(self, committee: Sequence[Member]) -> int | None:
        """This key's seat on a committee, or None. Raises RoleError if the seat has another audit key."""
        for index, member in enumerate(committee):
            if member.bls_key == self.bls.public_key:
                if member.audit_key != self.audit.public_key:
                    raise RoleError(
                        "the committee lists another audit key for this validator",
                        expected=member.audit_key.hex(),
                        found=self.audit.public_key.hex(),
                    )
                return index
        return None
