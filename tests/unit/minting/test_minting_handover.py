"""The sender's signature over what it hands on. Source: specs/minting.md §9."""

import pytest

from creditledger.errors import MalformedRecordError, SignatureError, VerificationError
from creditledger.minting.handover import require_handover, sign_handover, verify_handover
from creditledger.records.receipt import Handover
from fakes.cast import ed25519
from fakes.committee import fake_digest

SENDER = ed25519("sender")
LEDGER = fake_digest("ledger")
HANDOVER = Handover(
    job=fake_digest("job"),
    sender=SENDER.public_key,
    boundary=2,
    window_start=256,
    positions=256,
    root=fake_digest("root"),
)
SIGNED = sign_handover(HANDOVER, key=SENDER, ledger_id=LEDGER)
ASKED = {
    "ledger_id": LEDGER,
    "job": HANDOVER.job,
    "sender": SENDER.public_key,
    "boundary": 2,
    "window_start": 256,
    "root": HANDOVER.root,
}


def test_a_signed_handover_is_read_back() -> None:
    assert verify_handover(SIGNED, ledger_id=LEDGER) == HANDOVER
    assert require_handover(SIGNED, **ASKED) == HANDOVER


@pytest.mark.parametrize("name", ["job", "sender", "boundary", "window_start", "root"])
def test_a_handover_of_something_else_is_refused(name: str) -> None:
    other = 3 if isinstance(ASKED[name], int) else fake_digest("other")
    with pytest.raises(VerificationError):
        require_handover(SIGNED, **ASKED | {name: other})


def test_another_ledger_or_another_signer_is_refused() -> None:
    with pytest.raises(SignatureError):
        verify_handover(SIGNED, ledger_id=fake_digest("other"))
    forged = sign_handover(HANDOVER, key=ed25519("forger"), ledger_id=LEDGER)
    with pytest.raises(SignatureError):
        verify_handover(forged, ledger_id=LEDGER)
    claimed = HANDOVER.replace(sender=ed25519("forger").public_key)
    with pytest.raises(VerificationError):
        require_handover(sign_handover(claimed, key=ed25519("forger"), ledger_id=LEDGER), **ASKED)


@pytest.mark.parametrize("encoded", [b"", b"\x90", SIGNED[:-1], SIGNED + b"\0", b"\x92\x90\xc4\0"])
def test_other_bytes_are_refused(encoded: bytes) -> None:
    with pytest.raises(MalformedRecordError):
        verify_handover(encoded, ledger_id=LEDGER)
