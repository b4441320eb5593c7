"""Whose share a submission takes: its signer's, once the signature holds, and else the strangers'."""

import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from msgspec import StructMeta

from creditledger.errors import ConflictError, CreditLedgerError, RateLimitError
from creditledger.ledger.ledger import Ledger
from creditledger.ledger.signatures_ahead import claimed_account
from creditledger.quantities import ZERO_DIGEST
from creditledger.records.entry import LOGGED, Submission
from creditledger.records.parameters import Admission
from creditledger.records.record import Record
from creditledger.records.registration import Registration, Role
from creditledger.records.round import Attestation
from creditledger.records.transfer import Transfer
from creditledger.service.pool.admission_desk import AdmissionDesk, Applicants, Standing
from creditledger.service.pool.admission_request import AdmissionRequest
from creditledger.service.pool.gate_settings import AdmissionPolicy, Limits
from creditledger.service.pool.gate_store import open_gate_store
from creditledger.service.pool.rate_limits import RateLimits
from creditledger.service.pool.submission_gate import SubmissionGate
from ledger_pools import FixedClock, found, grant, registration, signed, signer

OWN = "01" * 8


class Door:
    """A ledger with two registered clients, and the gate before it."""

    def __init__(self, ledger: Ledger, clock: FixedClock, limits: Limits) -> None:
        self.ledger = ledger
        self.clock = clock
        self.store = open_gate_store(ledger.directory)
        self.desk = AdmissionDesk(ledger, self.store, policy=AdmissionPolicy.OPEN, clock=clock)
        self.gate = SubmissionGate(ledger, RateLimits(limits, clock=clock), self.desk)

    def transfer(self, payer: str, number: int = 0, *, key: str = "") -> Submission:
        record = Transfer(
            id=number.to_bytes(16, "big"),
            payer=signer(payer).public_key,
            payee=signer("sink").public_key,
            amount_micro=1,
        )
        return signed(self.ledger.id, record, signer(key or payer))

    def passes(self, submission: Submission, *, token: str | None = None) -> int:
        """How often the submission goes through until a share is used up."""
        for count in itertools.count():
            try:
                assert self.gate.check([submission], token) == [None]
            except RateLimitError:
                return count
        raise AssertionError


@pytest.fixture
def door(tmp_path: Path) -> Iterator[Door]:
    clock = FixedClock()
    limits = Limits(submissions_per_minute=300, strangers_per_minute=260, requests_per_minute=280)
    with found(tmp_path / "pool", clock) as ledger:
        for name in ("alice", "bob"):
            ledger.append(registration(ledger.id, name))
        made = Door(ledger, clock, limits)
        yield made
        made.store.close()


def test_each_account_has_a_share(door: Door) -> None:
    """H7: per key, and never per address: the gate does not even know one."""
    assert door.passes(door.transfer("alice")) == 300
    with pytest.raises(RateLimitError) as caught:
        door.gate.check([door.transfer("alice")], OWN)
    assert caught.value.retry_after_s == 1
    assert door.gate.check([door.transfer("bob")], None) == [None]
    door.clock.now += 200
    assert door.passes(door.transfer("alice")) == 1


def test_nobody_uses_up_anothers_share(door: Door) -> None:
    """What claims to be alice's and is not signed by her takes of the strangers' share."""
    assert door.passes(door.transfer("alice", key="mallory")) == 260
    assert door.passes(door.transfer("alice")) == 300


def test_strangers_share_one(door: Door) -> None:
    """New keys cost nothing, so they have nothing of their own."""
    for number in range(260):
        assert door.gate.check([registration(door.ledger.id, f"new{number}")], None) == [None]
    with pytest.raises(RateLimitError):
        door.gate.check([registration(door.ledger.id, "another")], None)
    assert door.gate.check([door.transfer("alice")], None) == [None]


def test_a_token_is_a_strangers_own_share(door: Door) -> None:
    """A validator with a token is heard while strangers flood (D3: its signature is not looked at here)."""
    door.passes(registration(door.ledger.id, "new"))
    record = Attestation(round=ZERO_DIGEST, committee=ZERO_DIGEST, member=0)
    attested = Submission(record=record, signature=bytes(96))
    assert door.passes(attested) == 0
    assert door.passes(attested, token=OWN) == 280


def test_the_operator_has_no_limit(door: Door) -> None:
    granted = grant(door.ledger.id, "alice", 1)
    for _ in range(400):
        assert door.gate.check([granted], None) == [None]
    forged = replace(granted, signature=bytes(64))
    assert door.passes(forged) == 260


def test_a_group_goes_through_whole_or_not_at_all(door: Door) -> None:
    """So that the same may be sent again under the same key."""
    group = [door.transfer("alice", number) for number in range(256)]
    assert door.gate.check(group, None) == [None] * 256
    mixed = [door.transfer("bob"), *group[:45]]
    with pytest.raises(RateLimitError):
        door.gate.check(mixed, None)
    assert door.gate.check(mixed[:45], None) == [None] * 45
    assert door.passes(door.transfer("bob")) == 299
    assert door.gate.check([], None) == []


def test_what_the_rules_refuse_is_left_to_the_rules(door: Door) -> None:
    """The gate says nothing of signatures and ids: which broken rule is named is one table."""
    for bad in (door.transfer("alice", key="bob"), registration(door.ledger.id, "alice")):
        assert door.gate.check([bad], None) == [None]


def test_an_account_registers_as_what_it_was_admitted(tmp_path: Path) -> None:
    """The operator's signature covers the account alone; the service holds it to name and role."""
    clock = FixedClock()
    with found(tmp_path / "pool", clock, admission=Admission.APPROVAL, levy_ppm=0) as ledger:
        door = Door(ledger, clock, Limits())
        desk = AdmissionDesk(ledger, door.store, policy=AdmissionPolicy.APPROVAL, clock=clock)
        asked = AdmissionRequest.signed(signer("ann"), name="ann", role=Role.NODE, ledger_id=ledger.id)
        desk.apply(asked, None)
        Applicants(door.store, clock=clock).decide(asked.account, Standing.ADMITTED)
        good = Registration(
            account=asked.account,
            role=Role.NODE,
            name="ann",
            next_key=ZERO_DIGEST,
            admission=desk.look_up(asked.account).admission,
        )
        others = [good.replace(name="root"), good.replace(role=Role.QUEUE)]
        found_errors: list[CreditLedgerError | None] = door.gate.check(
            [signed(ledger.id, record, signer("ann")) for record in (good, *others)], None
        )
        assert [type(error) for error in found_errors] == [type(None), ConflictError, ConflictError]
        ledger.append(signed(ledger.id, good, signer("ann")))
        door.store.close()


def test_every_kind_that_an_account_signs_is_known() -> None:
    """All others are the operator's and the committee's; whoever adds a kind decides here."""
    unknown = {kind.name.lower() for kind, record in LOGGED.items() if _claimed(record) is None}
    assert unknown == {
        "genesis", "parameters", "round", "attestation", "certificate", "commit", "reveal", "canary",
        "canary_commit", "grant", "credit_line", "expire", "slash", "clawback", "levy", "levy_payee",
        "settlement",
    }  # fmt: skip


def _claimed(kind: type[Record]) -> bytes | None:
    blank = StructMeta.__call__(kind, **dict.fromkeys(kind.__struct_fields__, b"x"))
    return claimed_account(blank)
