"""Closing and certifying rounds, and the verbs of the operator."""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from creditledger.credits import reading
from creditledger.errors import ConflictError, RefusedError, UnknownIdError
from creditledger.ledger.audit import audit
from creditledger.ledger.founding import HARDWARE, create_pool, default_parameters, member_of
from creditledger.ledger.keyring import KeyFile, KeyRole, save_key
from creditledger.ledger.ledger import Ledger
from creditledger.ledger.rounds import advance, attestation, standing
from creditledger.quantities import ZERO_DIGEST
from creditledger.records.parameters import Admission, LevyUse, Member
from creditledger.records.registration import Role
from creditledger.records.transfer import Hold
from creditledger.transparency.checkpoint import parse_checkpoint_note
from ledger_pools import (
    START_MS,
    VALIDATOR,
    FixedClock,
    found,
    grant,
    pool_parameters,
    registration,
    signed,
    signer,
)


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock()


@pytest.fixture
def ledger(tmp_path: Path, clock: FixedClock) -> Iterator[Ledger]:
    made = found(tmp_path / "pool", clock)
    yield made
    made.close()


def available(ledger: Ledger, name: str) -> int:
    with ledger.read() as state:
        account = reading.account_state(state, signer(name).public_key)
        assert account is not None
        return account.available_micro


def test_a_one_person_pool_certifies_on_the_spot(ledger: Ledger) -> None:
    ledger.append(registration(ledger.id, "alice"))
    ledger.append(grant(ledger.id, "alice", 500))
    assert available(ledger, "alice") == 0
    done = ledger.complete_round()
    assert (done.is_certified, done.attested, done.quorum) == (True, 1, 1)
    assert available(ledger, "alice") == 500
    assert parse_checkpoint_note(ledger.checkpoint()).size == ledger.size


def test_rounds_are_closed_for_a_committee_that_is_elsewhere(ledger: Ledger, clock: FixedClock) -> None:
    """One at a time, over what is new; the certificate needs the committee. specs/ledger.md §9."""

    def rounds_after_a_turn() -> tuple[int, int]:
        advance(ledger, clock=clock)
        with ledger.read() as state:
            tip = reading.tip(state)
        return tip.round, tip.certified_round

    def attest() -> None:
        with ledger.read() as state:
            signed_round = attestation(state, 0, VALIDATOR.bls(), ledger.id)
        ledger.append(signed_round)

    for key in ledger.directory.keys.glob("validator-*.key"):
        key.unlink()
    ledger.append(registration(ledger.id, "alice"))
    assert rounds_after_a_turn() == (1, 0)
    ledger.append(registration(ledger.id, "bob"))
    assert rounds_after_a_turn() == (1, 0)
    attest()
    assert rounds_after_a_turn() == (2, 1)
    attest()
    assert rounds_after_a_turn() == (2, 2)
    assert rounds_after_a_turn() == (2, 2)
    assert parse_checkpoint_note(ledger.checkpoint()).size == ledger.size


def test_what_certification_puts_into_effect_is_certified_too(ledger: Ledger) -> None:
    """A grant is in the state after its round, and in a certified map only after the next."""
    ledger.append(registration(ledger.id, "alice"))
    ledger.append(grant(ledger.id, "alice", 500))
    ledger.complete_round()
    with ledger.read() as state:
        info = reading.latest_certified_round(state)
        assert info is not None
        key = b"account/" + signer("alice").public_key
        account = reading.account_state(state, signer("alice").public_key)
        assert account is not None
        assert reading.map_value(state, info.round.map_root, key) == account.encode()


def test_without_news_no_round_is_closed(ledger: Ledger) -> None:
    ledger.append(registration(ledger.id, "alice"))
    first = ledger.complete_round()
    size = ledger.size
    assert ledger.complete_round() == first
    assert ledger.size == size
    ledger.append(registration(ledger.id, "bob"))
    assert ledger.complete_round().number == first.number + 1


def test_a_round_waits_for_its_validators(ledger: Ledger) -> None:
    ledger.append(registration(ledger.id, "alice"))
    waiting = ledger.complete_round(validators={})
    assert (waiting.is_certified, waiting.attested) == (False, 0)
    assert ledger.certify() is None
    again = ledger.complete_round()
    assert (again.number, again.is_certified) == (waiting.number, True)


def test_a_quorum_of_several_validators_certifies(tmp_path: Path) -> None:
    members = _members(3)
    with found(tmp_path / "pool", committee=tuple(seat for _, seat in members), quorum=2) as ledger:
        assert ledger.local_validators() == {}
        signers = {index: key.bls() for index, (key, _) in enumerate(members)}
        one = ledger.complete_round({2: signers[2]})
        assert (one.is_certified, one.attested, one.quorum) == (False, 1, 2)
        two = ledger.complete_round({0: signers[0]})
        assert (two.number, two.is_certified, two.attested) == (1, True, 2)
    assert audit(tmp_path / "pool", now_unix_ms=START_MS).certified == 1


def _members(count: int) -> list[tuple[KeyFile, Member]]:
    keys = [replace(VALIDATOR, secret=bytes(31) + bytes([number + 1])) for number in range(count)]
    return [(key, member_of(key)) for key in keys]


def test_local_validators_are_the_members_whose_keys_are_here(ledger: Ledger) -> None:
    stranger = replace(VALIDATOR, secret=bytes(31) + b"\x05")
    save_key(ledger.directory.keys / "validator-1.key", stranger)
    found_signers = ledger.local_validators()
    assert {index: signer.public_key for index, signer in found_signers.items()} == {
        0: VALIDATOR.bls().public_key
    }


def test_a_changed_committee_is_what_readers_are_told_to_trust(ledger: Ledger) -> None:
    ledger.complete_round()
    ((key, seat),) = _members(1)
    changed = pool_parameters().replace(sequence=1, committee=(seat,))
    ledger.append(ledger.sign(changed))
    ledger.complete_round()
    policy = ledger.policy()
    assert policy.committee is not None
    assert [member.bls_key for member in policy.committee.members] == [seat.bls_key]
    assert policy.quorum == "local"
    ledger.append(registration(ledger.id, "alice"))
    assert not ledger.complete_round().is_certified
    assert ledger.complete_round({0: key.bls()}).is_certified


def test_a_ledger_without_a_round_has_no_standing(ledger: Ledger) -> None:
    with ledger.read() as state, pytest.raises(UnknownIdError):
        standing(state)


def test_holds_expire_by_record_once_their_grace_is_over(ledger: Ledger, clock: FixedClock) -> None:
    for name, role in (("client", Role.CLIENT), ("queue", Role.QUEUE)):
        ledger.append(registration(ledger.id, name, role))
    ledger.append(grant(ledger.id, "client", 10**9))
    ledger.complete_round()
    price = HARDWARE["h100"]
    hold = Hold(
        id=bytes(16),
        holder=signer("client").public_key,
        amount_micro=10 * price,
        job=ZERO_DIGEST,
        queue=signer("queue").public_key,
        hardware="h100",
        gpus=1,
        duration_ms=10_000,
        micro_per_gpu_second=price,
        expires_unix_ms=START_MS + 1_000,
    )
    ledger.append(signed(ledger.id, hold, signer("client")))
    assert available(ledger, "client") == 10**9 - 10 * price
    clock.now = START_MS + 1_000 + ledger.genesis.parameters.grace_ms - 1
    assert ledger.expire_due() == []
    clock.now += 1
    assert len(ledger.expire_due()) == 1
    assert available(ledger, "client") == 10**9
    assert ledger.expire_due() == []
    assert ledger.settle_due() == []


def test_a_round_of_another_state_is_refused(ledger: Ledger) -> None:
    from creditledger.ledger.rounds import round_to_sign

    with ledger.snapshot() as snapshot:
        true = round_to_sign(snapshot, ledger.id, ledger.verifier)
    for wrong in (true.replace(map_root=bytes(32)), true.replace(log_size=5), true.replace(number=3)):
        with pytest.raises(RefusedError):
            ledger.append(ledger.sign(wrong))
    ledger.append(ledger.sign(true))


def test_a_pool_is_made_with_fresh_keys_and_default_rules(tmp_path: Path) -> None:
    with create_pool(tmp_path / "pool", origin="pool.example/mine", random_bytes=os.urandom) as ledger:
        assert ledger.complete_round().is_certified
        rules = ledger.genesis.parameters
        keys = {path.name: path.stat().st_mode & 0o777 for path in ledger.directory.keys.iterdir()}
    names = (
        "log-ml-dsa-44.key",
        "operator-next.key",
        "operator.key",
        "validator-0.key",
        "witness-local.key",
    )
    assert keys == dict.fromkeys(names, 0o600)
    assert (rules.quorum, rules.admission, rules.levy_use) == (1, Admission.OPEN, LevyUse.BURN)
    assert (rules.check_floor_ppm, rules.levy_ppm, rules.vesting_ms) == (20_000, 10_000, 86_400_000)
    assert rules.hardware_price("h100") is not None
    with Ledger.open(tmp_path / "pool") as again:
        assert again.local_validators().keys() == {0}


def test_the_reference_class_costs_one_credit_a_second() -> None:
    rules = default_parameters([_members(1)[0][1]], quorum=1)
    prices = {price.name: price.micro_per_gpu_second for price in rules.hardware}
    assert prices["h100"] == 1_000_000
    assert {"cpu", "jetson-orin", "l4", "a10g", "a100-40g", "a100-80g", "h100-mig-1g"} <= prices.keys()
    assert all(0 < price < 10_000_000 for price in prices.values())


def test_keys_of_the_directory_belong_to_the_ledger(ledger: Ledger, tmp_path: Path) -> None:
    from creditledger.errors import RoleError
    from creditledger.ledger.keyring import load_key

    for path in ledger.directory.keys.iterdir():
        assert load_key(path, ledger_id=ledger.id).ledger_id == ledger.id
        with pytest.raises(RoleError):
            load_key(path, ledger_id=bytes(32))
    with pytest.raises(RoleError):
        load_key(ledger.directory.keys / "operator.key", roles=(KeyRole.WITNESS,))


def test_the_same_id_with_other_content_is_a_conflict(ledger: Ledger) -> None:
    ledger.append(registration(ledger.id, "alice"))
    ledger.append(grant(ledger.id, "alice", 500, number=7))
    assert ledger.append(grant(ledger.id, "alice", 500, number=7)).repeated
    with pytest.raises(ConflictError):
        ledger.append(grant(ledger.id, "alice", 501, number=7))


def test_where_others_attest_a_round_is_closed_and_stays_until_they_have(
    tmp_path: Path, clock: FixedClock
) -> None:
    """Nobody but the operator can close one; a newer one would take it from under those who attest."""
    members = _members(2)
    with found(tmp_path / "pool", clock, committee=tuple(seat for _, seat in members), quorum=2) as ledger:
        save_key(ledger.directory.keys / "validator-1.key", members[1][0])
        advance(ledger, clock=clock)
        with ledger.read() as state:
            first = standing(state)
            info = reading.latest_round(state)
        assert (first.number, first.attested, first.is_certified) == (1, 1, False)
        assert parse_checkpoint_note(ledger.checkpoint()).size == ledger.size
        ledger.append(registration(ledger.id, "alice"))
        advance(ledger, clock=clock)
        with ledger.read() as state:
            assert standing(state) == first
            assert info is not None
            ledger.append(attestation(state, 0, members[0][0].bls(), ledger.id))
        advance(ledger, clock=clock)
        with ledger.read() as state:
            assert standing(state).number == 2
            certified = reading.latest_certified_round(state)
        assert certified is not None
        assert certified.round.number == 1
        size = ledger.size
        advance(ledger, clock=clock)
        assert ledger.size == size
