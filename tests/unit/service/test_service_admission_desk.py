"""The desk: who is admitted to a real ledger, by what, and as what."""

import json
import random
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from creditledger.errors import (
    BusyError,
    ConflictError,
    CreditLedgerError,
    KeyFormatError,
    MalformedRecordError,
    RefusedError,
    RoleError,
    SignatureError,
    TokenError,
    UnknownIdError,
)
from creditledger.ledger.ledger import Ledger
from creditledger.ledger.lmdb_store import LmdbStore
from creditledger.quantities import ZERO_DIGEST
from creditledger.records.parameters import Admission
from creditledger.records.registration import Registration, Role
from creditledger.service.pool import admission_desk
from creditledger.service.pool.admission_desk import WAITING_MS, AdmissionDesk, Answer, Applicants, Standing
from creditledger.service.pool.admission_request import REQUEST_BYTES_MAX, AdmissionRequest, message
from creditledger.service.pool.bearer_token import BearerToken
from creditledger.service.pool.gate_settings import AdmissionPolicy
from creditledger.service.pool.gate_store import open_gate_store
from creditledger.service.pool.tokens import Scope, Tokens
from creditledger.transparency.keys import Ed25519Signer
from ledger_pools import FixedClock, found, registration, signed, signer

HOUR = 3_600_000
VECTORS = Path(__file__).resolve().parents[2] / "vectors" / "service"


class Office:
    """A ledger, the desk in front of it, and who is asked."""

    def __init__(self, ledger: Ledger, clock: FixedClock) -> None:
        self.ledger = ledger
        self.clock = clock
        self.store: LmdbStore = open_gate_store(ledger.directory)
        self.applicants = Applicants(self.store, clock=clock)
        self.tokens = Tokens(self.store, clock=clock)
        self._chance = random.Random(7)

    def desk(self, policy: AdmissionPolicy) -> AdmissionDesk:
        return AdmissionDesk(self.ledger, self.store, policy=policy, clock=self.clock)

    def invitation(self, *, uses: int = 1, role: int = 0) -> BearerToken:
        token, _ = self.tokens.issue(
            name="i",
            scopes=[Scope.JOIN],
            valid_ms=HOUR,
            random_bytes=self._chance.randbytes,
            uses=uses,
            role=role,
        )
        return token

    def request(self, key: str, *, name: str = "", role: Role = Role.NODE) -> AdmissionRequest:
        return AdmissionRequest.signed(signer(key), name=name or key, role=role, ledger_id=self.ledger.id)

    def register(self, key: str, answer: Answer, *, role: Role = Role.NODE) -> None:
        """As an applicant does with what it was answered. Raises what the ledger refuses with."""
        record = Registration(
            account=signer(key).public_key,
            role=role,
            name=key,
            next_key=ZERO_DIGEST,
            admission=answer.admission,
        )
        self.ledger.append(signed(self.ledger.id, record, signer(key)))

    def used(self) -> int:
        return sum(row.used for _, row in self.tokens.listed())


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    clock = FixedClock()
    with found(tmp_path / "pool", clock, admission=Admission.APPROVAL, levy_ppm=0) as ledger:
        made = Office(ledger, clock)
        yield made
        made.store.close()


def test_an_invitation_admits_and_the_ledger_takes_it(office: Office) -> None:
    desk = office.desk(AdmissionPolicy.INVITE)
    with pytest.raises(RefusedError, match="by approval"):
        office.ledger.append(registration(office.ledger.id, "ann"))
    answer = desk.apply(office.request("ann"), office.invitation())
    assert (answer.standing, len(answer.admission)) == (Standing.ADMITTED, 64)
    with pytest.raises(SignatureError):
        office.register("ben", answer)  # it is ann's
    office.register("ann", answer)
    assert desk.look_up(answer.account).standing is Standing.REGISTERED
    with pytest.raises(ConflictError, match="registered already"):
        desk.apply(office.request("ann"), office.invitation())


def test_the_same_again_takes_no_second_use(office: Office) -> None:
    desk, invitation = office.desk(AdmissionPolicy.INVITE), office.invitation()
    first = desk.apply(office.request("ann"), invitation)
    assert desk.apply(office.request("ann"), invitation) == first
    assert desk.apply(office.request("ann"), None) == first
    with pytest.raises(TokenError, match="used up"):
        desk.apply(office.request("ben"), invitation)
    with pytest.raises(UnknownIdError):
        desk.look_up(signer("ben").public_key)


@pytest.mark.parametrize("keys", [["ann"] * 12, [f"n{number}" for number in range(12)]])
def test_requests_that_race_for_one_use_are_admitted_once(office: Office, keys: list[str]) -> None:
    """Of one account all are answered alike; of twelve accounts one is admitted. One use either way."""
    desk, invitation = office.desk(AdmissionPolicy.INVITE), office.invitation()
    begin, admitted, refused = threading.Barrier(12), set(), []

    def race(key: str) -> None:
        request = office.request(key)
        begin.wait()
        try:
            admitted.add(desk.apply(request, invitation).admission)
        except CreditLedgerError as error:
            refused.append(type(error))

    threads = [threading.Thread(target=race, args=(key,)) for key in keys]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(admitted) == 1
    assert refused == [TokenError] * (len(set(keys)) - 1)
    assert office.used() == 1


def test_whom_the_operator_admits_waits_first(office: Office) -> None:
    desk = office.desk(AdmissionPolicy.APPROVAL)
    account = signer("ann").public_key
    for _ in range(2):
        assert desk.apply(office.request("ann"), None) == Answer(account=account, standing=Standing.WAITING)
    assert desk.look_up(account).standing is Standing.WAITING
    assert [row.name for row in office.applicants.listed()] == ["ann"]
    office.clock.now += 5
    office.applicants.decide(account, Standing.ADMITTED)
    answer = desk.look_up(account)
    assert desk.apply(office.request("ann"), None) == answer
    office.register("ann", answer)


def test_whom_the_operator_refuses_is_told_so(office: Office) -> None:
    desk = office.desk(AdmissionPolicy.APPROVAL)
    for key in ("ann", "ben"):
        desk.apply(office.request(key), None)
    refused = office.applicants.decide(signer("ann").public_key, Standing.REFUSED)
    assert office.applicants.decide(signer("ann").public_key, Standing.REFUSED) == refused
    with pytest.raises(RefusedError, match="has refused"):
        desk.apply(office.request("ann"), None)
    assert desk.look_up(signer("ann").public_key).standing is Standing.REFUSED
    assert desk.look_up(signer("ben").public_key).standing is Standing.WAITING
    assert desk.apply(office.request("ann"), office.invitation()).standing is Standing.ADMITTED
    with pytest.raises(UnknownIdError):
        office.applicants.decide(signer("cat").public_key, Standing.ADMITTED)


def test_by_invitation_nobody_comes_without_one(office: Office) -> None:
    desk = office.desk(AdmissionPolicy.INVITE)
    with pytest.raises(TokenError, match="by invitation"):
        desk.apply(office.request("ann"), None)
    with pytest.raises(RoleError, match="another role"):
        desk.apply(office.request("ann"), office.invitation(role=Role.QUEUE))
    assert office.applicants.listed() == []
    assert office.used() == 0
    desk.apply(office.request("ann"), office.invitation(role=Role.NODE))


def test_an_open_desk_signs_for_everybody_and_keeps_nothing(office: Office) -> None:
    answer = office.desk(AdmissionPolicy.OPEN).apply(office.request("ann"), None)
    office.register("ann", answer)
    assert office.applicants.listed() == []


def test_a_ledger_that_admits_everybody_needs_no_signature(tmp_path: Path) -> None:
    clock = FixedClock()
    with found(tmp_path / "open", clock) as ledger:
        office = Office(ledger, clock)
        answer = office.desk(AdmissionPolicy.OPEN).apply(office.request("ann"), None)
        assert (answer.standing, answer.admission) == (Standing.ADMITTED, b"")
        office.register("ann", answer)
        office.store.close()


def test_only_the_accounts_own_key_asks_for_it(office: Office) -> None:
    desk, invitation = office.desk(AdmissionPolicy.INVITE), office.invitation()
    good = office.request("ann")
    other = AdmissionRequest.signed(signer("ann"), name="ann", role=Role.NODE, ledger_id=bytes(32))
    for bad in (
        replace(good, name="anna"),
        replace(good, role=Role.CLIENT),
        replace(good, account=signer("ben").public_key),
        other,
    ):
        with pytest.raises(SignatureError):
            desk.apply(bad, invitation)
    with pytest.raises(KeyFormatError):
        desk.apply(replace(good, account=bytes(32)), invitation)
    desk.apply(good, invitation)


def test_a_name_that_is_taken_is_told_before_an_invitation_is_used(office: Office) -> None:
    desk = office.desk(AdmissionPolicy.INVITE)
    office.register("ann", desk.apply(office.request("ann"), office.invitation()))
    invitation = office.invitation()
    with pytest.raises(ConflictError, match="name is taken"):
        desk.apply(office.request("ben", name="ann"), invitation)
    assert office.used() == 1
    desk.apply(office.request("ben"), invitation)


def test_another_name_is_asked_for_anew(office: Office) -> None:
    """The operator admitted who said to be ann's node: not whoever it calls itself later."""
    desk = office.desk(AdmissionPolicy.APPROVAL)
    account = signer("ann").public_key
    desk.apply(office.request("ann"), None)
    office.applicants.decide(account, Standing.ADMITTED)
    desk.require_as_admitted(account, name="ann", role=Role.NODE)
    for name, role in (("operator", Role.NODE), ("ann", Role.QUEUE)):
        with pytest.raises(ConflictError, match="admitted as another"):
            desk.require_as_admitted(account, name=name, role=role)
    desk.require_as_admitted(signer("ben").public_key, name="ben", role=Role.NODE)
    assert desk.apply(office.request("ann", name="annie"), None).standing is Standing.WAITING


def test_so_many_wait_and_no_more(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """H7: a full waiting list stops nobody who is invited, and empties itself of whom nobody wanted."""
    monkeypatch.setattr(admission_desk, "WAITING_MAX", 3)
    desk = office.desk(AdmissionPolicy.APPROVAL)
    for number in range(3):
        desk.apply(office.request(f"n{number}"), None)
    with pytest.raises(BusyError, match="too many wait"):
        desk.apply(office.request("ann"), None)
    assert desk.apply(office.request("n1"), None).standing is Standing.WAITING
    assert desk.apply(office.request("guest"), office.invitation()).standing is Standing.ADMITTED
    office.clock.now += WAITING_MS
    assert desk.apply(office.request("ann"), None).standing is Standing.WAITING
    names = {row.name for row in office.applicants.listed() if row.standing == Standing.WAITING}
    assert names == {"ann"}


def test_an_admission_is_by_the_operators_key_in_force(tmp_path: Path) -> None:
    """Asked for again after a rotation, it is good again."""
    from ledger_pools import NEXT_OPERATOR

    clock = FixedClock()
    ledger = found(
        tmp_path / "pool", clock, is_committed=True, admission=Admission.APPROVAL, levy_ppm=0, rule_set=4
    )
    with ledger:
        office = Office(ledger, clock)
        desk = office.desk(AdmissionPolicy.INVITE)
        before = desk.apply(office.request("ann"), office.invitation())
        ledger.rotate_operator(NEXT_OPERATOR.ed25519())
        with pytest.raises(SignatureError):
            office.register("ann", before)
        office.register("ann", desk.look_up(before.account))
        office.store.close()


GOOD = AdmissionRequest.signed(signer("ann"), name="ann", role=Role.NODE, ledger_id=bytes(32)).encode()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"\xff",
        b"{}",
        b"[" * 3_000,
        GOOD[:-1],
        GOOD.replace(b'"node"', b'"operator"'),
        GOOD.replace(b'"node"', b'"levy_pool"'),
        GOOD.replace(b'"node"', b"1"),
        GOOD.replace(b'"ann"', b'"Ann"'),
        GOOD.replace(b'"ann"', b'"a\\nn"'),
        GOOD.replace(b'"ann"', b'"%s"' % (b"a" * 65)),
        GOOD.replace(b'"ann"', b"null"),
        GOOD.replace(b'"account": "', b'"account": "00'),
        GOOD.replace(b'"proof": "', b'"proof": "zz'),
        GOOD.replace(b"{", b'{"more": 1, ', 1),
        GOOD.replace(b"{", b'{"name": "ben", ', 1),
        GOOD + b" " * REQUEST_BYTES_MAX,
    ],
)
def test_a_request_is_its_json_and_nothing_else(content: bytes) -> None:
    assert AdmissionRequest.decode(GOOD).encode() == GOOD
    with pytest.raises(MalformedRecordError):
        AdmissionRequest.decode(content)


def test_a_request_is_the_vectors() -> None:
    vector = json.loads((VECTORS / "admission-request.json").read_text())
    ledger_id, asked = (
        bytes.fromhex(vector["ledger_id"]),
        AdmissionRequest.decode(json.dumps(vector["request"]).encode()),
    )
    signed_bytes = message(ledger_id, asked.account, name=asked.name, role=asked.role)
    assert signed_bytes.hex() == vector["message"]
    key = Ed25519Signer(bytes.fromhex(vector["seed"]))
    assert asked == AdmissionRequest.signed(key, name="node-1", role=Role.NODE, ledger_id=ledger_id)
    asked.require_proof(ledger_id)


def test_a_token_is_the_vectors() -> None:
    vector = json.loads((VECTORS / "token.json").read_text())
    token = BearerToken.parse(vector["text"])
    assert (token.id.hex(), token.secret.hex()) == (vector["id"], vector["secret"])
    assert token.secret_hash().hex() == vector["kept"]
