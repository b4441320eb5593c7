"""Blame falls on the one that lied, and never on an honest party. Source: specs/minting.md §9.

Each world is one window through a chain of spans; at most one party lies, at one boundary, in one of the
ways below. Honest receivers ask for a handover before they work, and stop without one.
``CREDITLEDGER_EQUIVOCATIONS`` says how many worlds are tried."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

import pytest

from creditledger.errors import MalformedRecordError, VerificationError
from creditledger.minting.handover import require_handover, sign_handover
from creditledger.records import canonical
from creditledger.records.receipt import Handover
from creditledger.transparency.keys import Ed25519Signer
from creditledger.validation.attribution import Blame, Boundary, Fault, blame_window
from fakes.cast import ed25519
from fakes.committee import fake_digest

WORLDS = int(os.environ.get("CREDITLEDGER_EQUIVOCATIONS", "500"))
LEDGER, JOB, WINDOW = fake_digest("ledger"), fake_digest("job"), 512
PARTIES = [ed25519(f"party {number}") for number in range(5)]
"""The client, and up to four nodes."""


@dataclass(kw_only=True)
class Crossing:
    """One boundary while it is crossed: rows under ``root`` go from one party to the next."""

    layer: int
    sender: Ed25519Signer
    receiver: Ed25519Signer
    root: bytes
    given: bytes | None = None
    """The handover that the receiver was given."""
    shown: list[bytes] = field(default_factory=list)
    """Handovers that come to light."""
    sent: bytes | None = None
    received: bytes | None = None

    def signed(self, root: bytes, **changes: object) -> bytes:
        handover = Handover(
            job=JOB,
            sender=self.sender.public_key,
            boundary=self.layer,
            window_start=WINDOW,
            positions=256,
            root=root,
        )
        return sign_handover(handover.replace(**changes), key=self.sender, ledger_id=LEDGER)

    def forged(self, root: bytes) -> bytes:
        """Signed by the receiver in the sender's name."""
        genuine = self.signed(root)
        handover = Handover.from_values(_values(genuine))
        return sign_handover(handover, key=self.receiver, ledger_id=LEDGER)

    def honest(self) -> None:
        """Both do what they should; the receiver keeps what it was given."""
        self.sent, self.given = self.root, self.signed(self.root)
        self.receive()

    def receive(self) -> None:
        """An honest receiver: nothing is worked on without a handover for the very rows."""
        try:
            require_handover(
                self.given or b"",
                ledger_id=LEDGER,
                job=JOB,
                sender=self.sender.public_key,
                boundary=self.layer,
                window_start=WINDOW,
                root=self.root,
            )
        except (VerificationError, MalformedRecordError):
            return
        self.received = self.root
        self.shown.append(self.given or b"")


def _values(encoded: bytes) -> object:
    return canonical.decode(encoded)[0]


OTHER = fake_digest("other rows")


def signs_one_says_another(at: Crossing) -> None:
    at.sent, at.given = OTHER, at.signed(at.root)
    at.receive()


def signs_two(at: Crossing) -> None:
    at.sent, at.given = OTHER, at.signed(at.root)
    at.shown.append(at.signed(OTHER))
    at.receive()


def signs_two_and_keeps_to_the_first(at: Crossing) -> None:
    at.sent, at.given = at.root, at.signed(at.root)
    at.shown.append(at.signed(OTHER))
    at.receive()


def signs_nothing(at: Crossing) -> None:
    at.sent = at.root
    at.receive()


def signs_for_other_rows(at: Crossing) -> None:
    at.sent, at.given = at.root, at.signed(OTHER)
    at.receive()


def signs_for_another_window(at: Crossing) -> None:
    at.sent, at.given = at.root, at.signed(at.root, window_start=0)
    at.receive()


def works_on_other_rows(at: Crossing) -> None:
    at.honest()
    at.received = OTHER


def hides_and_works_on_other_rows(at: Crossing) -> None:
    at.honest()
    at.received, at.shown[:] = OTHER, []


def forges_a_handover(at: Crossing) -> None:
    at.honest()
    at.received = OTHER
    at.shown.append(at.forged(OTHER))


def shows_another_windows(at: Crossing) -> None:
    at.honest()
    at.received = OTHER
    at.shown += [at.signed(OTHER, window_start=0), at.signed(OTHER, job=fake_digest("another job"))]


def hides_only(at: Crossing) -> None:
    at.honest()
    at.shown[:] = []


Lie = Callable[[Crossing], None]
SENDERS: dict[Lie, Fault | None] = {
    signs_one_says_another: Fault.CONTRADICTED,
    signs_two: Fault.EQUIVOCATED,
    signs_two_and_keeps_to_the_first: Fault.EQUIVOCATED,
    signs_nothing: None,
    signs_for_other_rows: None,
    signs_for_another_window: None,
}
"""With what it comes to; None where an honest receiver stops in time."""
RECEIVERS: dict[Lie, Fault | None] = {
    works_on_other_rows: Fault.UNEXPLAINED,
    hides_and_works_on_other_rows: Fault.UNEXPLAINED,
    forges_a_handover: Fault.UNEXPLAINED,
    shows_another_windows: Fault.UNEXPLAINED,
    hides_only: None,
}


def chain(spans: int, tag: object) -> list[Crossing]:
    """The boundaries from the client through ``spans`` nodes and back to the client."""
    parties = [PARTIES[0], *PARTIES[1 : spans + 1], PARTIES[0]]
    return [
        Crossing(
            layer=number * 2,
            sender=parties[number],
            receiver=parties[number + 1],
            root=fake_digest("rows", tag, number),
        )
        for number in range(spans + 1)
    ]


def judged(crossings: list[Crossing]) -> list[Blame]:
    boundaries = [
        Boundary(
            layer=at.layer,
            sender=at.sender.public_key,
            receiver=at.receiver.public_key,
            sent=at.sent,
            received=at.received,
        )
        for at in crossings
    ]
    shown = [encoded for at in crossings for encoded in at.shown]
    return blame_window(boundaries, shown, ledger_id=LEDGER, job=JOB, window_start=WINDOW)


def run(crossings: list[Crossing], lies: dict[int, Lie]) -> list[Blame]:
    """Cross one boundary after the other; where a receiver stops, nothing follows."""
    for number, at in enumerate(crossings):
        lies.get(number, Crossing.honest)(at)
        if at.received is None:
            break
    return judged(crossings)


def test_blame_never_falls_on_an_honest_party() -> None:
    """Sender, receiver or client lies, at either end or in the middle; or nobody does."""
    chance, seen = Random(11), set()
    for world in range(WORLDS):
        crossings = chain(chance.randint(1, 4), world)
        kind = chance.choice(("sender", "receiver", "nobody"))
        if kind == "nobody":
            assert run(crossings, {}) == []
            continue
        number = chance.randrange(len(crossings))
        lies = SENDERS if kind == "sender" else RECEIVERS
        lie = chance.choice(list(lies))
        liar = crossings[number].sender if kind == "sender" else crossings[number].receiver
        found = run(crossings, {number: lie})
        expected = lies[lie]
        assert [blame.fault for blame in found] == ([] if expected is None else [expected]), lie
        assert {blame.party for blame in found} <= {liar.public_key}
        seen.add((lie, liar is PARTIES[0]))
    assert WORLDS < 500 or len(seen) == 2 * (len(SENDERS) + len(RECEIVERS))


@pytest.mark.parametrize("sender", SENDERS)
@pytest.mark.parametrize("receiver", RECEIVERS)
def test_two_liars_are_blamed_among_themselves(sender: Lie, receiver: Lie) -> None:
    """Whatever two neighbours do to the boundary between them, the others are out of it."""
    crossings = chain(4, "two")
    sender(crossings[2])
    crossings[2].received = crossings[2].received or crossings[2].root
    receiver(crossings[2])
    for number in (0, 1, 3, 4):
        crossings[number].honest()
    liars = {crossings[2].sender.public_key, crossings[2].receiver.public_key}
    assert {blame.party for blame in judged(crossings)} <= liars
    assert {blame.layer for blame in judged(crossings)} <= {crossings[2].layer}
