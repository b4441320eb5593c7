"""A request to join: under which name and role, said by the account's key. Source: specs/service.md §4."""

import json
import re
from dataclasses import dataclass
from typing import Any, Final

from creditledger.errors import MalformedRecordError
from creditledger.ledger.json_text import read_json
from creditledger.quantities import NAME_PATTERN
from creditledger.records.registration import Role
from creditledger.transparency.keys import Ed25519Signer, require_ed25519_public_key, verify_ed25519

REQUEST_BYTES_MAX: Final = 4_096
ROLES: Final = {role.name.lower(): role for role in (Role.NODE, Role.CLIENT, Role.QUEUE)}
_PREFIX: Final = b"creditledger/v1/admission-request\0"
_FIELDS: Final = ("account", "name", "role", "proof")


@dataclass(frozen=True, slots=True, kw_only=True)
class AdmissionRequest:
    """What `POST /v1/admissions` carries."""

    account: bytes
    """32 bytes: the public key that the account opens under."""
    name: str
    role: Role
    proof: bytes
    """64 bytes: the account's signature over `message`."""

    @classmethod
    def signed(cls, signer: Ed25519Signer, *, name: str, role: Role, ledger_id: bytes) -> "AdmissionRequest":
        """The request of whoever holds ``signer``."""
        proof = signer.sign(message(ledger_id, signer.public_key, name=name, role=role))
        return cls(account=signer.public_key, name=name, role=role, proof=proof)

    def require_proof(self, ledger_id: bytes) -> None:
        """The account's key signed this, for this ledger. Raises SignatureError, KeyFormatError."""
        require_ed25519_public_key(self.account)
        signed = message(ledger_id, self.account, name=self.name, role=self.role)
        verify_ed25519(public_key=self.account, message=signed, signature=self.proof)

    def encode(self) -> bytes:
        """The JSON body."""
        fields = {"account": self.account.hex(), "name": self.name, "role": self.role.name.lower()}
        return json.dumps(fields | {"proof": self.proof.hex()}).encode()

    @classmethod
    def decode(cls, content: bytes) -> "AdmissionRequest":
        """The inverse of `encode`, whatever the JSON's spacing. Raises MalformedRecordError."""
        fields = _object(content)
        role = ROLES.get(str(fields["role"]))
        if role is None:
            raise _malformed("role", " or ".join(ROLES))
        if not isinstance(fields["name"], str) or not NAME_PATTERN.fullmatch(fields["name"]):
            raise _malformed("name", "1 to 64 of a-z, 0-9, dot, dash, underscore")
        return cls(
            account=_hex(fields, "account", 32),
            name=fields["name"],
            role=role,
            proof=_hex(fields, "proof", 64),
        )


def message(ledger_id: bytes, account: bytes, *, name: str, role: Role) -> bytes:
    """What the account's key signs: ``prefix || ledger_id || account || role (1 byte) || name``."""
    return _PREFIX + ledger_id + account + bytes([role]) + name.encode("ascii")


def _object(content: bytes) -> dict[str, Any]:
    if len(content) > REQUEST_BYTES_MAX:
        raise MalformedRecordError("the request is too long", expected=f"at most {REQUEST_BYTES_MAX} bytes")
    fields = read_json(content)
    if not isinstance(fields, dict) or set(fields) != set(_FIELDS):
        raise _malformed("body", f"a JSON object with {', '.join(_FIELDS)} and no more")
    return fields


def _hex(fields: dict[str, Any], name: str, size: int) -> bytes:
    value = fields[name]
    if not isinstance(value, str) or not re.fullmatch(f"[0-9a-f]{{{2 * size}}}", value):
        raise _malformed(name, f"{2 * size} lower-case hex digits")
    return bytes.fromhex(value)


def _malformed(what: str, expected: str) -> MalformedRecordError:
    return MalformedRecordError(f"not a request to join: {what}", expected=expected)
