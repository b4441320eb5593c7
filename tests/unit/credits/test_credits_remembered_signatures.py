"""What the fold's verifier remembers: signatures that held, and nothing that did not."""

import pytest

from creditledger.credits import context
from creditledger.credits.context import TransparencyVerifier
from creditledger.errors import SignatureError
from creditledger.transparency.keys import Ed25519Signer

SIGNER = Ed25519Signer(b"s" * 32)
MESSAGE = b"message" * 20


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The messages whose signatures were checked anew."""
    seen: list[bytes] = []
    real = context.verify_ed25519

    def counted(*, public_key: bytes, message: bytes, signature: bytes) -> None:
        seen.append(message)
        real(public_key=public_key, message=message, signature=signature)

    monkeypatch.setattr(context, "verify_ed25519", counted)
    return seen


def test_what_held_is_checked_once(asked: list[bytes]) -> None:
    verifier, signature = TransparencyVerifier(), SIGNER.sign(MESSAGE)
    for _ in range(3):
        verifier.ed25519(SIGNER.public_key, MESSAGE, signature)
    assert asked == [MESSAGE]


def test_nothing_near_it_is_taken_for_it(asked: list[bytes]) -> None:
    verifier, signature = TransparencyVerifier(), SIGNER.sign(MESSAGE)
    verifier.ed25519(SIGNER.public_key, MESSAGE, signature)
    other = Ed25519Signer(b"o" * 32).public_key
    near = [
        (SIGNER.public_key, MESSAGE + b"x", signature),
        (SIGNER.public_key, MESSAGE, signature[:-1] + bytes([signature[-1] ^ 1])),
        (other, MESSAGE, signature),
        (SIGNER.public_key + signature[:1], MESSAGE, signature[1:]),
        (SIGNER.public_key, MESSAGE[32:], signature + MESSAGE[:32]),
    ]
    for key, message, spoilt in near * 2:
        with pytest.raises(SignatureError):
            verifier.ed25519(key, message, spoilt)


def test_it_forgets_rather_than_grows(asked: list[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(context, "REMEMBERED_MAX", 4)
    verifier = TransparencyVerifier()
    for number in (0, 1, 2, 3, 4, 4, 0):
        message = bytes([number])
        verifier.ed25519(SIGNER.public_key, message, SIGNER.sign(message))
    assert asked == [bytes([number]) for number in (0, 1, 2, 3, 4, 0)]
