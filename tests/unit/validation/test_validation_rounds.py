"""What a validator signs, and above all what it does not. Source: specs/validation.md §2."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from creditledger.credits import reading, round_rules
from creditledger.credits.state import State
from creditledger.errors import IntegrityError, PolicyError, RoleError, UnknownIdError, VerificationError
from creditledger.ledger import rounds
from creditledger.ledger.source import DirectorySource
from creditledger.ledger.stored_log import state_of
from creditledger.records.round import Round
from creditledger.records.state import account_key
from creditledger.transparency.quorum import NO_QUORUM
from creditledger.validation.evidence import DirectoryEvidence
from creditledger.validation.journal import AttestedRound, Journal
from creditledger.validation.validator import Attested, Missed, Validator
from creditledger.validation.validator_key import ValidatorKey
from fakes.committee import fake_digest
from fakes.working_pool import SetClock, WorkingPool, audit_key, validator_key, validator_signer


def remote_validator(pool: WorkingPool, index: int, **changes: object) -> Validator:
    """A validator that sees the published files only, and publishes nothing itself."""
    arguments: dict = {
        "source": DirectorySource(pool.ledger.directory.public),
        "evidence": DirectoryEvidence(pool.ledger.path),
        "sink": DirectoryEvidence(pool.ledger.path),
        "policy": pool.ledger.policy(),
        "submit": pool.ledger.append,
    }
    return pool.validator(index, **(arguments | changes))


def signed_rounds(pool: WorkingPool) -> int:
    """Attestations that the ledger has of its latest round."""
    with pool.ledger.read() as state:
        return rounds.standing(state).attested


def test_a_true_round_is_signed_once_and_certified(pool: WorkingPool) -> None:
    """The nearest acceptance to all the refusals below."""
    pool.ledger.close_round()
    actions = pool.step()
    assert [type(action) for action in actions] == [Attested, Attested]
    assert pool.step() == []
    assert pool.ledger.certify() is not None


def forge_credits(pool: WorkingPool) -> None:
    """The operator writes itself a balance that no entry gave."""
    with pool.ledger._store.write() as view:
        state = State(state_of(view))
        account = reading.account_state(state.view, pool.client.public_key)
        richer = account.replace(available_micro=account.available_micro + 10**12)
        state.put_entry(account_key(account.account), richer)


def test_a_false_state_is_certified_by_nobody(pool: WorkingPool) -> None:
    """The operator's own store says so, its round commits to it; no replay gives it."""
    forge_credits(pool)
    pool.ledger.close_round()
    pool.ledger.publish()
    for index in range(2):
        with pytest.raises(VerificationError, match="map root"):
            pool.step(index)
    assert signed_rounds(pool) == 0
    assert pool.ledger.certify() is None


@pytest.mark.parametrize("what", ["log_root", "map_root", "parameters"])
def test_a_round_that_replay_does_not_give_is_certified_by_nobody(
    pool: WorkingPool, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """The fold is bypassed on the operator's side only."""
    honest = rounds.round_to_sign

    def forged(*arguments: object) -> Round:
        return honest(*arguments).replace(**{what: fake_digest("forged", what)})

    with monkeypatch.context() as bypass:
        bypass.setattr(rounds, "round_to_sign", forged)
        bypass.setattr(round_rules, "_require_equal", lambda *_: None)
        pool.ledger.close_round()
        pool.ledger.publish()
    for index in range(2):
        with pytest.raises(VerificationError, match=what.replace("_", " ")):
            pool.step(index)
    assert signed_rounds(pool) == 0


def test_a_round_that_no_checkpoint_covers_is_not_signed(pool: WorkingPool) -> None:
    """Logged and not published: nobody has witnessed it."""
    validator = remote_validator(pool, 0, journal=pool.folder / "remote")
    pool.ledger.close_round()
    assert validator.step() == []
    assert signed_rounds(pool) == 0
    pool.ledger.publish()
    assert [type(action) for action in validator.step()] == [Attested]
    validator.close()


def test_who_comes_after_the_certificate_has_missed_the_round(
    make_pool: Callable[..., WorkingPool],
) -> None:
    """Its signature would be of no use; it says so once and goes on."""
    pool = make_pool(quorum=1)
    late = remote_validator(pool, 1, journal=pool.folder / "late")
    pool.ledger.close_round()
    pool.step(0)
    assert pool.ledger.certify() is not None
    assert [type(action) for action in late.step()] == [Missed]
    assert late.step() == []
    pool.ledger.publish()
    pool.ledger.close_round()
    pool.ledger.publish()
    assert [type(action) for action in late.step()] == [Attested]
    late.close()


def test_a_checkpoint_without_its_witness_is_refused(pool: WorkingPool) -> None:
    """The log's own signature alone is not enough."""
    pool.ledger.close_round()
    pool.ledger.publish()
    path = pool.ledger.directory.public / "checkpoint"
    text, _, lines = path.read_bytes().partition(b"\n\n")
    path.write_bytes(text + b"\n\n" + lines.splitlines(keepends=True)[0])
    validator = remote_validator(pool, 0, journal=pool.folder / "remote")
    with pytest.raises(PolicyError):
        validator.step()
    assert signed_rounds(pool) == 0


def test_a_policy_without_witnesses_signs_nothing(pool: WorkingPool) -> None:
    """Without one the operator could take a round back once it knows the seed."""
    pool.ledger.close_round()
    pool.ledger.publish()
    lax = replace(pool.ledger.policy(), quorum=NO_QUORUM)
    validator = remote_validator(pool, 0, policy=lax, journal=pool.folder / "remote")
    with pytest.raises(PolicyError, match="witness"):
        validator.step()
    validator.close()
    assert signed_rounds(pool) == 0


@pytest.mark.parametrize(("behind_ms", "is_signed"), [(5_000, True), (5_001, False)])
def test_entries_from_the_future_are_not_signed(pool: WorkingPool, behind_ms: int, is_signed: bool) -> None:
    """The pool's tolerance is 5,000 ms, by the validator's own clock."""
    pool.clock.now += 60_000
    pool.ledger.close_round()
    pool.ledger.publish()
    clock = SetClock(pool.clock.now - behind_ms)
    validator = remote_validator(pool, 0, clock=clock, journal=pool.folder / "behind")
    if is_signed:
        assert [type(action) for action in validator.step()] == [Attested]
        validator.close()
    else:
        with pytest.raises(VerificationError, match="dated"):
            validator.step()
        assert signed_rounds(pool) == 0


def test_two_rounds_of_one_number_are_never_signed(pool: WorkingPool) -> None:
    """The journal knows another round of the number that the log now shows."""
    pool.ledger.close_round()
    pool.ledger.publish()
    with pool.ledger.read() as state:
        number = reading.latest_round(state).round.number
    journal = Journal(
        pool.folder / "bound", ledger_id=pool.ledger.id, public_key=validator_signer(0).public_key
    )
    other = AttestedRound(number=number, digest=fake_digest("another round"), log_size=0)
    journal.note_attested(other)
    journal.close()
    validator = remote_validator(pool, 0, journal=pool.folder / "bound")
    with pytest.raises(IntegrityError):
        validator.step()
    validator.close()
    assert signed_rounds(pool) == 0


def test_a_log_that_lost_a_signed_round_is_refused(make_pool: Callable[..., WorkingPool]) -> None:
    """Restored from a backup, or forked: the validator vouched for more than is there now."""
    pool = make_pool()
    journal = Journal(
        pool.folder / "bound", ledger_id=pool.ledger.id, public_key=validator_signer(0).public_key
    )
    journal.note_attested(AttestedRound(number=9, digest=fake_digest("round 9"), log_size=500))
    journal.close()
    validator = remote_validator(pool, 0, journal=pool.folder / "bound")
    with pytest.raises(IntegrityError, match="round 9"):
        validator.step()
    validator.close()


def test_who_has_no_seat_signs_nothing(pool: WorkingPool) -> None:
    pool.ledger.close_round()
    stranger = pool.validator(0, key=validator_key(5), journal=pool.folder / "stranger")
    assert stranger.step() == []
    stranger.close()


def test_a_seat_with_another_audit_key_is_refused(pool: WorkingPool) -> None:
    """It could attest, and then open nothing that it must check."""
    pool.ledger.close_round()
    mixed = ValidatorKey(bls=validator_signer(0), audit=audit_key(1))
    validator = pool.validator(0, key=mixed, journal=pool.folder / "mixed")
    with pytest.raises(RoleError):
        validator.step()
    validator.close()


def test_a_log_alone_does_not_make_a_validator(pool: WorkingPool) -> None:
    with pytest.raises(UnknownIdError):
        pool.validator(0, source=DirectorySource(pool.ledger.directory.public))


def test_a_key_file_gives_both_keys(pool: WorkingPool, tmp_path: Path) -> None:
    """A validator's file loads; a node's does not."""
    from creditledger.ledger.keyring import KeyFile, KeyRole, save_key
    from fakes.working_pool import CountedBytes

    chance = CountedBytes("keys")
    save_key(tmp_path / "validator.key", KeyFile.new(KeyRole.VALIDATOR, random_bytes=chance))
    save_key(tmp_path / "node.key", KeyFile.new(KeyRole.NODE, random_bytes=chance))
    key = ValidatorKey.load(tmp_path / "validator.key", ledger_id=pool.ledger.id)
    assert len(key.bls.public_key) == 48
    with pytest.raises(RoleError):
        ValidatorKey.load(tmp_path / "node.key", ledger_id=pool.ledger.id)
