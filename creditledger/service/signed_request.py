"""A request signed by whoever asks, and a link signed by whoever may look.

Source: specs/service.md §5."""

import base64
import re
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from creditledger.errors import ExpiredError, MalformedRecordError
from creditledger.transparency import bls
from creditledger.transparency.bls import BlsSigner, verify_bls
from creditledger.transparency.keys import Ed25519Signer, verify_ed25519

REQUEST_HEADER: Final = "creditledger-request"
DIGEST_HEADER: Final = "content-digest"
REQUEST_AHEAD_MS_MAX: Final = 300_000
LINK_AHEAD_MS_MAX: Final = 7 * 86_400_000
NO_BODY: Final = sha256(b"").digest()

_REQUEST_PREFIX: Final = b"creditledger/v1/request\0"
_LINK_PREFIX: Final = b"creditledger/v1/page-link\0"
_ED25519: Final = r"([0-9a-f]{64}) ([1-9][0-9]{0,15}) ([0-9a-f]{128})"
_BLS: Final = r"([0-9a-f]{96}) ([1-9][0-9]{0,15}) ([0-9a-f]{192})"
_HEADER: Final = re.compile(f"v1 (?:{_ED25519}|{_BLS})")
_LINK: Final = re.compile(_ED25519)
_DIGEST: Final = re.compile(r"sha-256=:([A-Za-z0-9+/]{43}=):")
_LINK_FIELDS: Final = ("key", "expires", "signature")


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestSignature:
    """What the header of a signed request says; nothing of it is believed before `require`."""

    key: bytes
    """32 bytes, an account's Ed25519 key, or 48, a committee member's BLS key."""
    expires_unix_ms: int
    signature: bytes

    @classmethod
    def read(cls, header: str) -> "RequestSignature":
        """The header's value, parsed. Raises MalformedRecordError."""
        match = _HEADER.fullmatch(header)
        if match is None:
            raise MalformedRecordError(
                "not a signed request", expected="v1 KEY EXPIRES SIGNATURE", found=f"{len(header)} characters"
            )
        key, expires, signature = (group for group in match.groups() if group is not None)
        return cls(key=bytes.fromhex(key), expires_unix_ms=int(expires), signature=bytes.fromhex(signature))

    def require(
        self,
        *,
        ledger_id: bytes,
        audience: bytes,
        method: str,
        target: str,
        body_digest: bytes,
        now_unix_ms: int,
    ) -> None:
        """The key signed this very request, to this audience, and its time has not passed.

        Whether the key may ask is the caller's question, and comes first: a BLS signature costs
        milliseconds. Raises ExpiredError, SignatureError."""
        _require_time(self.expires_unix_ms, now_unix_ms=now_unix_ms, ahead_ms_max=REQUEST_AHEAD_MS_MAX)
        signed = _request_message(
            ledger_id, audience, self.expires_unix_ms, method=method, target=target, body_digest=body_digest
        )
        verify = verify_bls if len(self.key) == bls.PUBLIC_KEY_SIZE else verify_ed25519
        verify(public_key=self.key, message=signed, signature=self.signature)


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkSignature:
    """What a signed link's query says; nothing of it is believed before `require`."""

    key: bytes
    """32 bytes: an account's Ed25519 key."""
    expires_unix_ms: int
    signature: bytes

    @classmethod
    def read(cls, query: str) -> "LinkSignature | None":
        """The signature in a query string, or None if there is no trace of one.

        Raises MalformedRecordError for a part of one, or one that is written another way."""
        pairs = [part.partition("=")[::2] for part in query.split("&")]
        found = [(name, value) for name, value in pairs if name in _LINK_FIELDS]
        if not found:
            return None
        fields = dict(found)
        match = _LINK.fullmatch(" ".join(fields.get(name, "") for name in _LINK_FIELDS))
        if match is None or len(found) != len(_LINK_FIELDS):
            raise MalformedRecordError("not a signed link", expected="key, expires and signature, once each")
        key, expires, signature = match.groups()
        return cls(key=bytes.fromhex(key), expires_unix_ms=int(expires), signature=bytes.fromhex(signature))

    def require(self, *, ledger_id: bytes, target: str, now_unix_ms: int) -> None:
        """The key signed a link to this path, and its time has not passed.

        Raises ExpiredError, SignatureError."""
        _require_time(self.expires_unix_ms, now_unix_ms=now_unix_ms, ahead_ms_max=LINK_AHEAD_MS_MAX)
        signed = _link_message(ledger_id, self.expires_unix_ms, target)
        verify_ed25519(public_key=self.key, message=signed, signature=self.signature)


def sign_request(
    signer: Ed25519Signer | BlsSigner,
    *,
    ledger_id: bytes,
    audience: bytes,
    method: str,
    target: str,
    body_digest: bytes = NO_BODY,
    expires_unix_ms: int,
) -> str:
    """The value of `REQUEST_HEADER`. ``audience``: 32 bytes, who is asked: the ledger's id for a
    pool's server, the account's for a node's own. ``target``: path and query as they are sent."""
    message = _request_message(
        ledger_id, audience, expires_unix_ms, method=method, target=target, body_digest=body_digest
    )
    return f"v1 {signer.public_key.hex()} {expires_unix_ms} {signer.sign(message).hex()}"


def content_digest(digest: bytes) -> str:
    """The value of `DIGEST_HEADER` for a body with this SHA-256: it says, before the body comes, what the
    signature covers. Source: specs/service.md §6.1."""
    return f"sha-256=:{base64.b64encode(digest).decode()}:"


def read_content_digest(header: str) -> bytes:
    """The inverse of `content_digest`. Raises MalformedRecordError."""
    match = _DIGEST.fullmatch(header)
    digest = b"" if match is None else base64.b64decode(match[1])
    if content_digest(digest) != header:
        raise MalformedRecordError(
            "not a digest of a body", expected="sha-256=:BASE64:", found=f"{len(header)} characters"
        )
    return digest


def sign_link(signer: Ed25519Signer, *, ledger_id: bytes, target: str, expires_unix_ms: int) -> str:
    """``target``, a path without a query, with what opens it to whoever has the link."""
    signature = signer.sign(_link_message(ledger_id, expires_unix_ms, target)).hex()
    return f"{target}?key={signer.public_key.hex()}&expires={expires_unix_ms}&signature={signature}"


def _request_message(
    ledger_id: bytes, audience: bytes, expires_unix_ms: int, *, method: str, target: str, body_digest: bytes
) -> bytes:
    fixed = ledger_id + audience + expires_unix_ms.to_bytes(8, "big") + body_digest
    return _REQUEST_PREFIX + fixed + f"{method} {target}".encode()


def _link_message(ledger_id: bytes, expires_unix_ms: int, target: str) -> bytes:
    return _LINK_PREFIX + ledger_id + expires_unix_ms.to_bytes(8, "big") + target.encode()


def _require_time(expires_unix_ms: int, *, now_unix_ms: int, ahead_ms_max: int) -> None:
    if not now_unix_ms < expires_unix_ms <= now_unix_ms + ahead_ms_max:
        raise ExpiredError(
            "the signature's time has passed, or is too far ahead",
            expected=f"{now_unix_ms + 1} to {now_unix_ms + ahead_ms_max}",
            found=str(expires_unix_ms),
        )
