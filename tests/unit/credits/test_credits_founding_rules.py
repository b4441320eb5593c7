"""Genesis, parameters and registration: each refusal beside the nearest acceptance."""

import hashlib

import pytest

from creditledger.credits import reading
from creditledger.credits.founding_rules import SUPPORTED_RULE_SETS
from creditledger.credits.rule_sets import RULE_SETS
from creditledger.errors import (
    ConflictError,
    KeyFormatError,
    MalformedRecordError,
    RefusedError,
    RoleError,
    SignatureError,
)
from creditledger.records.parameters import Admission, LevyUse, ProfileTerms
from creditledger.records.registration import Registration, Role
from fakes.cast import MODEL, Papers, ed25519, fake_digest, pool_genesis, pool_parameters
from fakes.pool import Pool

PROFILE = b"a calibration profile"
TERMS = ProfileTerms(model=MODEL.model, layer_stop=4, profile=hashlib.sha256(PROFILE).digest())


def test_the_rule_sets_that_parameters_may_name_are_those_there_are() -> None:
    assert set(SUPPORTED_RULE_SETS) == set(RULE_SETS)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"rule_set": 5}, "rule set 5 is not known"),
        ({"levy_use": LevyUse.VALIDATORS}, "rule set 1 only burns"),
    ],
)
def test_a_genesis_names_what_rule_set_1_knows(changes: dict[str, int], match: str) -> None:
    assert Pool(registered=False).entries
    with pytest.raises(RefusedError, match=match):
        Pool(registered=False, **changes)


def test_a_genesis_is_signed_by_its_operator_and_comes_once() -> None:
    papers = Papers(genesis=pool_genesis(pool_parameters(real_bls=False)), real_bls=False)
    pool = Pool(registered=False)
    pool.refuse(
        papers.signed(papers.operator, papers.genesis.replace(created_unix_ms=1)),
        RefusedError,
        "one genesis",
    )
    stranger = Papers(genesis=pool_genesis(pool_parameters(real_bls=False)), operator=ed25519("stranger"))
    fresh = Pool.__new__(Pool)
    fresh.__dict__.update(pool.__dict__, view=type(pool.view)(), entries=[], bodies=[])
    fresh.refuse(stranger.founding(), SignatureError)
    fresh.submit(papers.founding())
    assert reading.tip(fresh.view).size == 1


def test_a_ledger_begins_with_a_genesis_of_its_own() -> None:
    pool = Pool(registered=False)
    pool.view, pool.entries = type(pool.view)(), []
    early = pool.papers.registration(pool.client, "client", Role.CLIENT)
    pool.refuse(early, RefusedError, "begins with its genesis")
    other = pool.papers.genesis.replace(created_unix_ms=1)
    pool.refuse(pool.papers.signed(pool.papers.operator, other), RefusedError, "another ledger")


def test_a_registration_opens_an_empty_account_under_its_name() -> None:
    pool = Pool(registered=False)
    pool.submit(pool.papers.registration(pool.client, "ann", Role.CLIENT))
    account = reading.account_state(pool.view, pool.client.public_key)
    assert (account.name, account.role, account.available_micro) == ("ann", Role.CLIENT, 0)
    assert reading.account_named(pool.view, "ann") == pool.client.public_key
    assert reading.account_named(pool.view, "bob") is None
    key = reading.key_state(pool.view, pool.client.public_key)
    assert (key.account, key.from_index, key.until_index) == (pool.client.public_key, 1, 0)


def test_accounts_and_names_are_taken_once() -> None:
    pool = Pool()
    papers, newcomer = pool.papers, ed25519("newcomer")
    pool.refuse(papers.registration(pool.client, "other", Role.CLIENT), ConflictError, "account")
    pool.refuse(papers.registration(newcomer, "client", Role.CLIENT), ConflictError, "name")
    pool.submit(papers.registration(newcomer, "newcomer", Role.NODE))


def test_the_operator_and_weak_keys_get_no_account() -> None:
    pool = Pool()
    pool.refuse(pool.papers.registration(pool.papers.operator, "op", Role.CLIENT), RoleError)
    weak = Registration(account=bytes(32), role=Role.NODE, name="weak", next_key=bytes(32), admission=b"")
    pool.refuse(pool.papers.signed(pool.client, weak), KeyFormatError)


def test_admission_by_approval_needs_the_operators_signature_over_the_account() -> None:
    pool = Pool(registered=False, admission=Admission.APPROVAL)
    plain = pool.papers.registration(pool.client, "client", Role.CLIENT)
    pool.refuse(plain, RefusedError, "by approval")
    admitted = pool.papers.registration(pool.client, "client", Role.CLIENT, admitted=True).record
    for_another = admitted.replace(account=pool.node.public_key)
    pool.refuse(pool.papers.signed(pool.node, for_another), SignatureError)
    pool.submit(pool.papers.signed(pool.client, admitted))


def test_an_open_pool_takes_no_admission_signature() -> None:
    pool = Pool(registered=False)
    pool.refuse(pool.papers.registration(pool.client, "client", Role.CLIENT, admitted=True), RefusedError)


def test_new_parameters_wait_for_a_certified_round() -> None:
    pool = Pool()
    changed = pool.parameters.replace(sequence=1, levy_ppm=5)
    pool.submit(pool.papers.parameters(changed))
    uncertified = pool.close_round()
    pool.attest(uncertified)
    assert pool.parameters.levy_ppm == 10_000
    pool.certify(uncertified)
    assert pool.parameters == changed
    assert (
        reading.parameters_with(pool.view, pool.papers.genesis.parameters.digest(pool.ledger_id)) is not None
    )
    assert reading.parameters_with(pool.view, fake_digest("unknown")) is None


def test_parameters_come_in_sequence_and_by_rule_sets_known() -> None:
    pool = Pool()
    first = pool.parameters.replace(sequence=1, levy_ppm=5)
    pool.refuse(pool.papers.parameters(first.replace(sequence=2)), RefusedError, "sequence")
    pool.refuse(pool.papers.parameters(first.replace(sequence=0)), RefusedError, "sequence")
    pool.refuse(pool.papers.parameters(first.replace(rule_set=5)), RefusedError, "rule set 5")
    pool.refuse(pool.papers.parameters(first.replace(levy_use=3)), RefusedError, "rule set 1")
    pool.submit(pool.papers.parameters(first))
    pool.refuse(pool.papers.parameters(first.replace(levy_ppm=6)), RefusedError, "sequence")
    pool.submit(pool.papers.parameters(first.replace(sequence=2, levy_ppm=6)))
    pool.run_round()
    assert pool.parameters.levy_ppm == 6


def test_profiles_beside_parameters_are_listed_ones_each_once() -> None:
    pool = Pool()
    changed = pool.parameters.replace(sequence=1, profiles=(TERMS,))
    pool.refuse(pool.papers.parameters(changed, b"another"), MalformedRecordError)
    pool.refuse(pool.papers.parameters(changed, PROFILE, PROFILE), MalformedRecordError)
    pool.submit(pool.papers.parameters(changed, PROFILE))


def test_a_new_committee_certifies_from_the_next_round_on() -> None:
    pool = Pool(members=1)
    grown = pool_parameters(members=2, real_bls=False, sequence=1)
    pool.submit(pool.papers.parameters(grown))
    record = pool.close_round()
    too_early = pool.papers.attestation(1, record, grown)
    pool.refuse(too_early, RefusedError, "committee")
    pool.attest(record)
    pool.certify(record)
    pool.run_round()
    assert reading.latest_certified_round(pool.view).round.number == 2
