"""The sender's word for what it handed to the next span. Source: specs/minting.md §9.

The receiver asks for it before it works, and keeps it: if the sender's receipt later says otherwise,
this tells whose fault the contradiction is."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

from creditledger.errors import MalformedRecordError, SignatureError, VerificationError
from creditledger.records import canonical
from creditledger.records.receipt import Handover
from creditledger.transparency.keys import Ed25519Signer, verify_ed25519

HANDOVER_BYTES_MAX: Final = 1_024
HANDOVER_SUFFIX: Final = ".handover"
"""Of the file beside the sealed inputs under the same root."""
KeysOf = Callable[[bytes], Sequence[bytes]]
"""The public keys, at least one, with which an account may have signed."""


def first_key(account: bytes) -> Sequence[bytes]:
    """An account that never rotated: its name is its key."""
    return (account,)


def sign_handover(handover: Handover, *, key: Ed25519Signer, ledger_id: bytes) -> bytes:
    """``[handover, signature]`` as the receiver keeps it. ``key``: the sender's."""
    signature = key.sign(handover.signing_bytes(ledger_id))
    return canonical.encode([handover.to_values(), signature])


def verify_handover(encoded: bytes, *, ledger_id: bytes, keys_of: KeysOf = first_key) -> Handover:
    """The handover, if its sender signed it with one of ``keys_of`` it: by default its first.

    Raises MalformedRecordError, SignatureError."""
    values = canonical.decode(encoded, most=HANDOVER_BYTES_MAX)
    if not isinstance(values, list) or len(values) != 2 or not isinstance(values[1], bytes):
        raise MalformedRecordError("not a signed handover", expected="[handover, signature]")
    handover = Handover.from_values(values[0])
    message = handover.signing_bytes(ledger_id)
    *others, last = keys_of(handover.sender)
    for key in others:
        with suppress(SignatureError):
            verify_ed25519(public_key=key, message=message, signature=values[1])
            return handover
    verify_ed25519(public_key=last, message=message, signature=values[1])
    return handover


def require_handover(
    encoded: bytes,
    *,
    ledger_id: bytes,
    job: bytes,
    sender: bytes,
    boundary: int,
    window_start: int,
    root: bytes,
    keys_of: KeysOf = first_key,
) -> Handover:
    """The handover, if it is ``sender``'s for this boundary and window and says ``root``.

    What a receiver asks before it works. Raises VerificationError, MalformedRecordError."""
    handover = verify_handover(encoded, ledger_id=ledger_id, keys_of=keys_of)
    found = (handover.job, handover.sender, handover.boundary, handover.window_start, handover.root)
    if found != (job, sender, boundary, window_start, root):
        raise VerificationError(
            "handover is of something else", expected=root.hex(), found=handover.root.hex()
        )
    return handover
