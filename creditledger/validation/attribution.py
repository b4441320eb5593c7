"""Whose fault a broken link between two spans is. Source: specs/minting.md §9.

Pure: what was signed decides, and nobody can be blamed by what others say alone."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

from creditledger.errors import MalformedRecordError, VerificationError
from creditledger.minting.handover import KeysOf, first_key, verify_handover
from creditledger.records.job import Job
from creditledger.records.receipt import Handover, Receipt


class Fault(IntEnum):
    """What a party did at a boundary."""

    EQUIVOCATED = 1
    """The sender signed two handovers of one window with different roots."""
    CONTRADICTED = 2
    """The sender signed a handover, and says elsewhere that it delivered something else."""
    UNEXPLAINED = 3
    """The receiver names rows that the sender neither delivered nor signed for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Boundary:
    """One window's rows where they pass from one party to the next. Roots are None where nothing is said."""

    layer: int
    sender: bytes
    """The client before the first span."""
    receiver: bytes
    """The client after the last span."""
    sent: bytes | None
    """What the sender says it delivered: its receipt's output root; a client's own word."""
    received: bytes | None
    """What the receiver says it was given: its receipt's input root; a client's own word."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Blame:
    """A fault, and whose it is."""

    layer: int
    party: bytes
    fault: Fault

    @property
    def is_senders(self) -> bool:
        """Whether it is the fault of the one that delivered."""
        return self.fault is not Fault.UNEXPLAINED


def blame_boundary(boundary: Boundary, handovers: Iterable[Handover]) -> Blame | None:
    """Who broke the link, if it is broken; ``handovers``: verified, of this job and window.

    A sender that signs one handover, for what its receipt says, is never blamed; nor is a receiver that
    holds a handover for what it worked on."""
    signed = {
        handover.root
        for handover in handovers
        if handover.sender == boundary.sender and handover.boundary == boundary.layer
    }
    if len(signed) > 1:
        return Blame(layer=boundary.layer, party=boundary.sender, fault=Fault.EQUIVOCATED)
    if boundary.sent is not None and signed and boundary.sent not in signed:
        return Blame(layer=boundary.layer, party=boundary.sender, fault=Fault.CONTRADICTED)
    said = signed | ({boundary.sent} if boundary.sent is not None else set())
    if boundary.received is not None and said and boundary.received not in said:
        return Blame(layer=boundary.layer, party=boundary.receiver, fault=Fault.UNEXPLAINED)
    return None


def blame_window(
    boundaries: Sequence[Boundary],
    handovers: Iterable[bytes],
    *,
    ledger_id: bytes,
    job: bytes,
    window_start: int,
    keys_of: KeysOf | None = None,
) -> list[Blame]:
    """All faults in one window of one job, by boundary.

    ``handovers``: signed ones as anybody shows them; those that their sender did not sign, or of another
    job or window, count for nothing. ``keys_of``: a party's keys; None is its first alone."""
    verified = [
        handover
        for handover in _verified(handovers, ledger_id, keys_of or first_key)
        if (handover.job, handover.window_start) == (job, window_start)
    ]
    found = [blame_boundary(boundary, verified) for boundary in boundaries]
    return [blame for blame in found if blame is not None]


def boundaries_of(
    job: Job,
    receipts: Mapping[int, Receipt],
    *,
    client_sent: bytes | None = None,
    client_received: bytes | None = None,
) -> list[Boundary]:
    """Every boundary of one window from client to client.

    ``receipts``: of that window, by the span's first layer; missing ones say nothing. ``client_sent`` and
    ``client_received``: the roots that the client itself names at both ends."""
    inner = [receipts.get(span.layer_start) for span in job.plan]
    layers = [job.plan[0].layer_start, *(span.layer_stop for span in job.plan)]
    parties = [job.client, *(span.node for span in job.plan), job.client]
    sent = [client_sent, *(None if receipt is None else receipt.output_root for receipt in inner)]
    received = [*(None if receipt is None else receipt.input_root for receipt in inner), client_received]
    return [
        Boundary(
            layer=layer,
            sender=parties[number],
            receiver=parties[number + 1],
            sent=sent[number],
            received=received[number],
        )
        for number, layer in enumerate(layers)
    ]


def _verified(handovers: Iterable[bytes], ledger_id: bytes, keys_of: KeysOf) -> Iterable[Handover]:
    for encoded in handovers:
        try:
            yield verify_handover(encoded, ledger_id=ledger_id, keys_of=keys_of)
        except (VerificationError, MalformedRecordError):
            continue
