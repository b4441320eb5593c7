"""Key files: one key, one role, one ledger. Source: specs/ledger.md §8."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Final

from creditledger.errors import KeyFormatError, MalformedRecordError, RoleError, StorageError
from creditledger.ledger.directory import (
    disk_errors,
    is_there,
    read_file,
    replace_file,
    sync_directory,
    write_new,
)
from creditledger.ledger.json_text import read_json
from creditledger.records.parameters import Genesis, Member
from creditledger.transparency.bls import BlsSigner, key_from_seed
from creditledger.transparency.cosignature import MlDsaCosignatureSigner
from creditledger.transparency.keys import Ed25519Signer
from creditledger.transparency.note import ML_DSA_44_PUBLIC_KEY_SIZE

SECRET_SIZE: Final = 32
FILE_BYTES_MAX: Final = 4_096


class KeyRole(StrEnum):
    """What a key may be used for."""

    NODE = "node"
    CLIENT = "client"
    QUEUE = "queue"
    OPERATOR = "operator"
    WITNESS = "witness"
    VALIDATOR = "validator"
    LOG = "log"
    """The log's second key, which signs its checkpoints with ML-DSA-44."""
    COSIGNER = "cosigner"
    """A witness's second key, which cosigns with ML-DSA-44."""


_ML_DSA: Final = frozenset({KeyRole.LOG, KeyRole.COSIGNER})
_OTHER_SECRETS: Final[Mapping[KeyRole, str]] = {
    KeyRole.VALIDATOR: "bls",
    **dict.fromkeys(_ML_DSA, "ml_dsa_44"),
}
"""What the secret of a role is called in its file, where it is no Ed25519 seed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyFile:
    """A private key with its role, and the ledger it belongs to. Its text form never shows secrets."""

    role: KeyRole
    secret: bytes
    """32 bytes: an Ed25519 seed, a validator's BLS secret, or an ML-DSA-44 seed."""
    audit_secret: bytes = b""
    """A validator's X25519 secret, 32 bytes; else empty."""
    ledger_id: bytes | None = None
    """32 bytes, or None as long as the key belongs to no ledger."""

    def __post_init__(self) -> None:
        audit_size = SECRET_SIZE if self.role is KeyRole.VALIDATOR else 0
        if len(self.secret) != SECRET_SIZE or len(self.audit_secret) != audit_size:
            raise KeyFormatError(f"{self.role} key has another length", expected="32 bytes per secret")
        if self.ledger_id is not None and len(self.ledger_id) != SECRET_SIZE:
            raise KeyFormatError("ledger id has another length", expected="32 bytes")

    @classmethod
    def new(cls, role: KeyRole, *, random_bytes: Callable[[int], bytes]) -> "KeyFile":
        """A fresh key that belongs to no ledger yet."""
        seed = random_bytes(SECRET_SIZE)
        if role is KeyRole.VALIDATOR:
            return cls(role=role, secret=key_from_seed(seed), audit_secret=random_bytes(SECRET_SIZE))
        return cls(role=role, secret=seed)

    def ed25519(self) -> Ed25519Signer:
        """The signer. Raises RoleError for a validator's key and the second of a log or witness."""
        if self.role in _OTHER_SECRETS:
            raise RoleError(
                f"a {self.role} key is of another kind", expected="an Ed25519 key", found=self.role
            )
        return Ed25519Signer(self.secret)

    def ml_dsa(self, name: str) -> MlDsaCosignatureSigner:
        """The signer of the log (by its origin) or witness called ``name``. Else raises RoleError."""
        if self.role not in _ML_DSA:
            raise RoleError("not an ML-DSA-44 key", expected=", ".join(sorted(_ML_DSA)), found=self.role)
        return MlDsaCosignatureSigner(name, self.secret)

    def bls(self) -> BlsSigner:
        """The validator's signer. Raises RoleError for any other key."""
        if self.role is not KeyRole.VALIDATOR:
            raise RoleError("not a validator's key", expected=KeyRole.VALIDATOR, found=self.role)
        return BlsSigner(self.secret)

    def audit_public_key(self) -> bytes:
        """The X25519 key to seal a validator's sketches to: 32 bytes; empty for other roles."""
        from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

        if not self.audit_secret:
            return b""
        return X25519PrivateKey.from_private_bytes(self.audit_secret).public_key().public_bytes_raw()

    def public(self) -> "PublicKeyFile":
        """What others may know of it. For a validator this proves possession, which takes a second."""
        if self.role in _ML_DSA:
            return PublicKeyFile(role=self.role, public=self.ml_dsa("log").vkey.public_key)
        if self.role is not KeyRole.VALIDATOR:
            return PublicKeyFile(role=self.role, public=self.ed25519().public_key)
        signer = self.bls()
        return PublicKeyFile(
            role=self.role,
            public=signer.public_key,
            proof_of_possession=signer.proof_of_possession(),
            audit_key=self.audit_public_key(),
        )

    def encode(self) -> bytes:
        """The file's JSON."""
        fields: dict[str, object] = {"creditledger_key": 1, "role": self.role.value}
        fields[_OTHER_SECRETS.get(self.role, "ed25519")] = self.secret.hex()
        if self.role is KeyRole.VALIDATOR:
            fields["x25519"] = self.audit_secret.hex()
        fields["ledger"] = None if self.ledger_id is None else self.ledger_id.hex()
        return _json(fields)

    @classmethod
    def decode(cls, content: bytes) -> "KeyFile":
        """The inverse of `encode`. Raises KeyFormatError; the message shows no secret."""
        fields = _object(content, "creditledger_key")
        role = _role(fields)
        name = _OTHER_SECRETS.get(role, "ed25519")
        audit = {"x25519"} if role is KeyRole.VALIDATOR else set()
        _require_names(fields, {"creditledger_key", "role", "ledger", name} | audit)
        ledger = fields["ledger"]
        return cls(
            role=role,
            secret=_hex(fields, name, 32),
            audit_secret=_hex(fields, "x25519", 32) if role is KeyRole.VALIDATOR else b"",
            ledger_id=None if ledger is None else _hex(fields, "ledger", 32),
        )

    def __repr__(self) -> str:
        return f"KeyFile(role={self.role.value!r}, secret=<redacted>)"


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicKeyFile:
    """The public side of a key, to hand to whoever lists it."""

    role: KeyRole
    public: bytes
    """32 bytes Ed25519, 48 bytes BLS for a validator, 1,312 bytes ML-DSA-44 for a log or cosigner."""
    proof_of_possession: bytes = b""
    """A validator's: 96 bytes."""
    audit_key: bytes = b""
    """A validator's: 32 bytes X25519."""

    def encode(self) -> bytes:
        """The file's JSON."""
        fields = {"creditledger_public_key": 1, "role": self.role.value, "public": self.public.hex()}
        if self.role is KeyRole.VALIDATOR:
            fields |= {
                "proof_of_possession": self.proof_of_possession.hex(),
                "audit_key": self.audit_key.hex(),
            }
        return _json(fields)

    @classmethod
    def decode(cls, content: bytes) -> "PublicKeyFile":
        """The inverse of `encode`. Raises KeyFormatError. No proof is checked here."""
        fields = _object(content, "creditledger_public_key")
        role = _role(fields)
        if role is not KeyRole.VALIDATOR:
            _require_names(fields, {"creditledger_public_key", "role", "public"})
            size = ML_DSA_44_PUBLIC_KEY_SIZE if role in _ML_DSA else 32
            return cls(role=role, public=_hex(fields, "public", size))
        _require_names(
            fields, {"creditledger_public_key", "role", "public", "proof_of_possession", "audit_key"}
        )
        return cls(
            role=role,
            public=_hex(fields, "public", 48),
            proof_of_possession=_hex(fields, "proof_of_possession", 96),
            audit_key=_hex(fields, "audit_key", 32),
        )


def save_key(path: Path, key: KeyFile) -> None:
    """Write a new key file, mode 0600. Raises StorageError, also if there is a file already."""
    if path.exists():
        raise StorageError("key file exists", expected="a new path", found=str(path)[-100:])
    with disk_errors(path):
        write_new(path, key.encode(), mode=0o600)
        sync_directory(path.parent)


def save_public_key(path: Path, key: PublicKeyFile) -> None:
    """Write a new public key file. Raises StorageError, also if there is a file already."""
    if path.exists():
        raise StorageError("key file exists", expected="a new path", found=str(path)[-100:])
    with disk_errors(path):
        write_new(path, key.encode())
        sync_directory(path.parent)


def load_public_key(path: Path, *, role: KeyRole) -> PublicKeyFile:
    """The public key in ``path``. Raises StorageError, KeyFormatError; RoleError for another role."""
    key = PublicKeyFile.decode(read_file(path, what="key file", most=FILE_BYTES_MAX))
    if key.role is not role:
        raise RoleError("key has another role", expected=role.value, found=key.role.value)
    return key


def load_key(path: Path, *, roles: tuple[KeyRole, ...] = (), ledger_id: bytes | None = None) -> KeyFile:
    """The key in ``path``, if it is of one of ``roles`` (any, if none) and not of another ledger.

    Raises StorageError, KeyFormatError, RoleError."""
    key = KeyFile.decode(read_file(path, what="key file", most=FILE_BYTES_MAX))
    if roles and key.role not in roles:
        raise RoleError(
            "key has another role", expected=" or ".join(role.value for role in roles), found=key.role.value
        )
    if ledger_id is not None and key.ledger_id not in (None, ledger_id):
        raise RoleError(
            "key belongs to another ledger", expected=ledger_id.hex(), found=(key.ledger_id or b"").hex()
        )
    return key


def load_public_side(path: Path) -> tuple[bytes, bytes | None]:
    """The public key in a private or public key file, of any role, and the ledger it is bound to, if any.

    No possession is proven. Raises StorageError, KeyFormatError."""
    content = read_file(path, what="key file", most=FILE_BYTES_MAX)
    if '"creditledger_public_key"' in content.decode("utf-8", "replace"):
        return PublicKeyFile.decode(content).public, None
    key = KeyFile.decode(content)
    if key.role is KeyRole.VALIDATOR:
        return key.bls().public_key, key.ledger_id
    return key.public().public, key.ledger_id


def ed25519_in(path: Path, role: KeyRole, genesis: Genesis) -> Ed25519Signer | None:
    """The signer in ``path``, if there is such a file. Raises as `load_key`."""
    if not is_there(path):
        return None
    return load_key(path, roles=(role,), ledger_id=genesis.ledger_id).ed25519()


def ml_dsa_in(path: Path, genesis: Genesis) -> MlDsaCosignatureSigner | None:
    """The log's second signer in ``path``, if there is such a file. Raises as `load_key`."""
    if not is_there(path):
        return None
    return load_key(path, roles=(KeyRole.LOG,), ledger_id=genesis.ledger_id).ml_dsa(genesis.origin)


def bls_signers_in(folder: Path, committee: Sequence[Member], *, ledger_id: bytes) -> dict[int, BlsSigner]:
    """Signers of the members whose ``validator-*.key`` lies in ``folder``, by index. Raises as `load_key`."""
    with disk_errors(folder):
        files = sorted(folder.glob("validator-*.key"))
    keys = [load_key(path, roles=(KeyRole.VALIDATOR,), ledger_id=ledger_id).bls() for path in files]
    by_key = {signer.public_key: signer for signer in keys}
    found = {index: by_key.get(member.bls_key) for index, member in enumerate(committee)}
    return {index: signer for index, signer in found.items() if signer is not None}


def bind_key(path: Path, *, ledger_id: bytes) -> KeyFile:
    """Write into the key file that it belongs to ``ledger_id``, once; again is a success.

    Raises RoleError if it belongs to another."""
    key = load_key(path, ledger_id=ledger_id)
    bound = replace(key, ledger_id=ledger_id)
    if bound != key:
        replace_file(path, bound.encode(), mode=0o600)
    return bound


def _json(fields: Mapping[str, object]) -> bytes:
    return json.dumps(fields, indent=2).encode() + b"\n"


def _object(content: bytes, mark: str) -> dict[str, object]:
    try:
        fields = read_json(content)
    except MalformedRecordError:
        raise KeyFormatError("not a key file", expected="a JSON object") from None
    if not isinstance(fields, dict) or type(fields.get(mark)) is not int or fields[mark] != 1:
        raise KeyFormatError("not a key file", expected=f'a JSON object with "{mark}": 1')
    return fields


def _role(fields: Mapping[str, object]) -> KeyRole:
    try:
        return KeyRole(str(fields.get("role")))
    except ValueError:
        raise KeyFormatError(
            "key file has an unknown role", expected=", ".join(KeyRole), found=ascii(fields.get("role"))[:40]
        ) from None


def _require_names(fields: Mapping[str, object], names: set[str]) -> None:
    if set(fields) != names:
        raise KeyFormatError(
            "key file has other fields", expected=", ".join(sorted(names)), found=ascii(sorted(fields))[:150]
        )


def _hex(fields: Mapping[str, object], name: str, size: int) -> bytes:
    value = fields[name]
    if not isinstance(value, str) or not re.fullmatch(f"[0-9a-f]{{{2 * size}}}", value):
        raise KeyFormatError(f"{name} is not lower-case hex", expected=f"{size} bytes")
    return bytes.fromhex(value)
