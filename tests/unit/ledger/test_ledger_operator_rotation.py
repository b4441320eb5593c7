"""The operator rotates: which key signs what, who is believed, and what a crash on the way leaves."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from creditledger.credits import reading
from creditledger.errors import (
    IntegrityError,
    PolicyError,
    RefusedError,
    RoleError,
    SignatureError,
    StorageError,
)
from creditledger.ledger import public_log
from creditledger.ledger import publish as publish_module
from creditledger.ledger.audit import audit, audit_source
from creditledger.ledger.founding import create
from creditledger.ledger.fsck import check
from creditledger.ledger.head import HeadFile, log_key
from creditledger.ledger.last_seen import LastSeen
from creditledger.ledger.ledger import Ledger
from creditledger.ledger.lmdb_store import LmdbStore
from creditledger.ledger.operator_keys import NEXT_OPERATOR_KEY, signed_rotation
from creditledger.ledger.replica import Replica
from creditledger.ledger.source import DirectorySource
from creditledger.transparency.checkpoint import Checkpoint, parse_checkpoint_note, sign_checkpoint
from creditledger.transparency.cosignature import CosignatureSigner
from creditledger.transparency.note import Ed25519NoteSigner, add_signatures
from creditledger.transparency.quorum import NO_QUORUM, KeyRange, PolicyLog
from creditledger.transparency.trust_policy import TrustPolicy
from ledger_pools import (
    NEXT_OPERATOR,
    OPERATOR,
    ORIGIN,
    START_MS,
    WITNESS,
    FixedClock,
    found,
    pool_parameters,
    registration,
    signer,
)

NOW = START_MS + 1_000
OLD, NEW = OPERATOR.ed25519(), NEXT_OPERATOR.ed25519()
THIRD = signer("third operator")
ROTATION = 3
"""The index of the rotation: genesis, the operator, alice, rotation."""


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """One account, published; the operator may rotate."""
    made = found(tmp_path / "pool", is_committed=True)
    made.append(registration(made.id, "alice"))
    made.publish()
    yield made
    made.close()


def rotate(ledger: Ledger) -> None:
    answer = ledger.rotate_operator(NEW, next_key=sha256(THIRD.public_key).digest())
    assert (answer.index, answer.repeated) == (ROTATION, False)


def checkpoint_by(ledger: Ledger, operator: object, *, size: int | None = None) -> bytes:
    """A checkpoint of the log as it is, or was, signed and cosigned by whoever is asked."""
    with ledger.snapshot() as snapshot:
        log = snapshot.log if size is None else snapshot.log.at(size)
        checkpoint = Checkpoint(origin=ORIGIN, size=log.size, root=log.root)
    note = sign_checkpoint(checkpoint, [Ed25519NoteSigner(ORIGIN, operator)])  # type: ignore[arg-type]
    witness = CosignatureSigner("local", WITNESS.ed25519())
    return add_signatures(note, [witness.cosign(checkpoint.text, timestamp=NOW // 1_000).line])


def unwatched(policy: TrustPolicy) -> TrustPolicy:
    return replace(policy, witnesses=(), groups=(), quorum=NO_QUORUM)


def test_the_log_goes_on_under_the_new_key(ledger: Ledger) -> None:
    old_policy = ledger.policy()
    rotate(ledger)
    ledger.append(registration(ledger.id, "bob"))
    assert ledger.complete_round().is_certified
    with pytest.raises(SignatureError):
        old_policy.verify_checkpoint(ledger.checkpoint())
    verified = ledger.policy().verify_checkpoint(ledger.checkpoint())
    assert (verified.checkpoint.size, verified.log_keys) == (ledger.size, {NEW.public_key})
    assert ledger.policy().logs == (
        PolicyLog(vkey=log_key(ORIGIN, OLD.public_key), range=KeyRange(first_size=0, until_size=4)),
        PolicyLog(vkey=log_key(ORIGIN, NEW.public_key), range=KeyRange(first_size=4, until_size=0)),
    )
    report = audit(ledger.path, now_unix_ms=NOW)
    assert report.ok, report.problem
    path, size = ledger.path, ledger.size
    ledger.close()
    assert check(path) == size
    with Ledger.open(path, clock=FixedClock()) as again:
        assert again.operator_signer().public_key == NEW.public_key
        again.append(registration(again.id, "carol"))
    with Ledger.open(path, read_only=True) as reader:
        assert reader.policy() == TrustPolicy.parse(reader.policy().serialize())


def test_every_size_is_signed_by_the_key_in_force_after_it(ledger: Ledger) -> None:
    """L14: both keys over all sizes; a key is believed for its own range alone."""
    rotate(ledger)
    ledger.append(registration(ledger.id, "bob"))
    ledger.publish()
    policy = ledger.policy()
    for size in range(1, ledger.size + 1):
        right, wrong = (OLD, NEW) if size <= ROTATION else (NEW, OLD)
        policy.verify_checkpoint(checkpoint_by(ledger, right, size=size))
        with pytest.raises(SignatureError, match="does not sign for this size"):
            policy.verify_checkpoint(checkpoint_by(ledger, wrong, size=size))


def test_a_retired_key_counts_only_with_the_witnesses(ledger: Ledger) -> None:
    """L14: whoever stole a retired key can sign any tree of an old size, and nobody would know."""
    rotate(ledger)
    ledger.publish()
    policy, old = ledger.policy(), checkpoint_by(ledger, OLD, size=2)
    policy.verify_checkpoint(old)
    with pytest.raises(PolicyError, match="retired key"):
        unwatched(policy).verify_checkpoint(old)
    unwatched(policy).verify_checkpoint(ledger.checkpoint())


def test_a_thief_of_the_old_key_shows_no_fork_to_a_reader_without_witnesses(
    ledger: Ledger, tmp_path: Path
) -> None:
    """L14: the reader's policy knows nothing of ranges; what it has replayed tells which key signs."""
    shutil.copytree(ledger.directory.public, tmp_path / "public")
    source = DirectorySource(tmp_path / "public")
    any_key = unwatched(ledger.policy())
    both = replace(any_key, logs=(*any_key.logs, PolicyLog(vkey=log_key(ORIGIN, NEW.public_key))))
    ahead, behind = Replica(source, both), Replica(source, both)
    behind.follow(NOW)
    rotate(ledger)
    ledger.publish()
    shutil.copytree(ledger.directory.public, tmp_path / "public", dirs_exist_ok=True)
    ahead.follow(NOW)
    genuine = ahead.checkpoint
    ledger.append(registration(ledger.id, "mallory"))
    ledger.publish()
    shutil.copytree(ledger.directory.public, tmp_path / "public", dirs_exist_ok=True)
    true_note = ledger.checkpoint()
    (tmp_path / "public" / "checkpoint").write_bytes(checkpoint_by(ledger, OLD))
    with pytest.raises(SignatureError, match="operator's key"):
        ahead.follow(NOW)
    assert (ahead.size, ahead.checkpoint) == (ROTATION + 1, genuine)
    with pytest.raises(SignatureError, match="operator's key"):
        behind.follow(NOW)
    assert behind.size == ROTATION + 1
    assert not audit_source(source, both, now_unix_ms=NOW).ok
    (tmp_path / "public" / "checkpoint").write_bytes(true_note)
    for replica in (ahead, behind):
        assert replica.follow(NOW).size == replica.size == ledger.size


@pytest.mark.parametrize("has_seen", [False, True])
def test_what_a_retired_key_signed_is_not_remembered(ledger: Ledger, tmp_path: Path, has_seen: bool) -> None:
    """L14: else the thief of an old key could make a reader refuse the log itself ever after."""
    any_key = unwatched(ledger.policy())
    both = replace(any_key, logs=(*any_key.logs, PolicyLog(vkey=log_key(ORIGIN, NEW.public_key))))
    source, memory = DirectorySource(ledger.directory.public), LastSeen(tmp_path / "seen", both)
    if has_seen:
        assert audit_source(source, both, now_unix_ms=NOW, memory=memory).ok
    before = memory.note()
    rotate(ledger)
    ledger.append(registration(ledger.id, "mallory"))
    ledger.publish()
    true_note = ledger.checkpoint()
    (ledger.directory.public / "checkpoint").write_bytes(checkpoint_by(ledger, OLD))
    report = audit_source(source, both, now_unix_ms=NOW, memory=memory)
    assert "operator's key" in report.problem
    assert memory.note() == before
    (ledger.directory.public / "checkpoint").write_bytes(true_note)
    assert audit_source(source, both, now_unix_ms=NOW, memory=memory).ok
    assert memory.note() == true_note


def test_a_new_key_does_not_sign_for_sizes_before_it(ledger: Ledger, tmp_path: Path) -> None:
    """A checkpoint by the next key is no proof that it is in force: the log must say so by then."""
    note = checkpoint_by(ledger, NEW)
    shutil.copytree(ledger.directory.public, tmp_path / "public")
    (tmp_path / "public" / "checkpoint").write_bytes(note)
    policy = ledger.policy()
    both = replace(policy, logs=(*policy.logs, PolicyLog(vkey=log_key(ORIGIN, NEW.public_key))))
    replica = Replica(DirectorySource(tmp_path / "public"), both)
    with pytest.raises(SignatureError, match="operator's key"):
        replica.follow(NOW)
    assert replica.checkpoint is None


def test_only_the_key_that_was_committed_to_and_is_at_hand(ledger: Ledger) -> None:
    before = ledger.size
    with pytest.raises(RoleError, match="not the one committed to"):
        ledger.rotate_operator(THIRD)
    with pytest.raises(RoleError, match="operator and witness"):
        ledger.rotate_operator(WITNESS.ed25519())
    paper = signed_rotation(ledger.id, account=OLD.public_key, old=OLD, new=NEW)
    with pytest.raises(RoleError, match="must be at hand"):
        ledger.append(paper)
    assert ledger.size == before
    rotate(ledger)
    again = ledger.rotate_operator(NEW, next_key=sha256(THIRD.public_key).digest())
    assert (again.index, again.repeated) == (ROTATION, True)
    with pytest.raises(RoleError, match="not the one committed to"):
        ledger.rotate_operator(OLD)
    ledger.rotate_operator(THIRD)
    ledger.publish()
    assert [log.range for log in ledger.policy().logs] == [
        KeyRange(first_size=0, until_size=4),
        KeyRange(first_size=4, until_size=5),
        KeyRange(first_size=5, until_size=0),
    ]


def test_an_operator_without_a_commitment_never_rotates(tmp_path: Path) -> None:
    with found(tmp_path / "pool") as ledger, pytest.raises(RoleError, match="no next key"):
        ledger.rotate_operator(NEW)
    with (
        found(tmp_path / "old", rule_set=1) as ledger,
        pytest.raises(RefusedError, match="rule set 1 admits no rotation"),
    ):
        ledger.rotate_operator(NEW)


def test_the_next_key_is_no_witness(tmp_path: Path) -> None:
    """L15: one key in two roles is refused before anything is founded."""
    with pytest.raises(RoleError, match="operator and witness"):
        create(
            tmp_path / "pool",
            origin=ORIGIN,
            operator=OLD,
            parameters=pool_parameters(),
            witness=WITNESS.ed25519(),
            keys={NEXT_OPERATOR_KEY: replace(NEXT_OPERATOR, secret=WITNESS.secret)},
            clock=FixedClock(),
        )
    assert not (tmp_path / "pool").exists()


def test_with_the_old_key_alone_nothing_is_written_and_nothing_lost(ledger: Ledger) -> None:
    rotate(ledger)
    size, path, keys = ledger.size, ledger.path, ledger.directory.keys
    ledger.close()
    kept = (keys / NEXT_OPERATOR_KEY).rename(path.parent / "kept.key")
    with pytest.raises(RoleError) as caught:
        Ledger.open(path)
    assert (caught.value.expected, caught.value.found) == (NEW.public_key.hex(), OLD.public_key.hex())
    with pytest.raises(RoleError):
        Ledger.open(path, operator=OLD)
    with Ledger.open(path, read_only=True) as reader:
        assert reader.size == size
    with Ledger.open(path, operator=NEW, clock=FixedClock()) as again:
        again.publish()
    kept.rename(keys / "any-name.key")
    with Ledger.open(path, clock=FixedClock()) as again:
        assert again.size == size


def test_a_head_by_the_wrong_key_is_not_the_operators(ledger: Ledger) -> None:
    """S4, L14: also the head is signed by the key in force at its size."""
    rotate(ledger)
    with ledger.snapshot() as snapshot:
        head = Checkpoint(origin=ORIGIN, size=snapshot.log.size, root=snapshot.log.root)
        earlier = Checkpoint(origin=ORIGIN, size=2, root=snapshot.log.root_at(2))
    path, file = ledger.path, HeadFile(ledger.directory.head, origin=ORIGIN, operator=OLD.public_key)
    ledger.close()
    for wrong, operator in ((head, OLD), (earlier, NEW)):
        file.create(wrong, operator)
        for read_only in (True, False):
            with pytest.raises(IntegrityError, match="not the operator's"):
                Ledger.open(path, read_only=read_only)
        with pytest.raises(IntegrityError, match="not the operator's"):
            check(path)
    file.create(earlier, OLD)
    with Ledger.open(path, clock=FixedClock()) as again:
        assert again.size == ROTATION + 1


def test_a_store_from_before_the_rotation_is_not_taken_for_the_ledger(ledger: Ledger, tmp_path: Path) -> None:
    """L10: the backup knows nothing of the key that signed the head."""
    path = ledger.path
    ledger.close()
    shutil.copytree(path / "store", tmp_path / "backup")
    with Ledger.open(path, clock=FixedClock()) as again:
        rotate(again)
    shutil.rmtree(path / "store")
    shutil.copytree(tmp_path / "backup", path / "store")
    with pytest.raises(IntegrityError):
        Ledger.open(path, clock=FixedClock())


def _fail(*arguments: object, **named: object) -> None:
    raise StorageError("the machine stopped here")


def rotate_and_publish(ledger: Ledger) -> None:
    ledger.rotate_operator(NEW)
    ledger.publish()


CRASHES = {
    "before the commit": (LmdbStore, "write"),
    "before the head": (HeadFile, "replace"),
    "before the policy": (public_log, "replace_file"),
    "before the tiles": (publish_module.Publisher, "_write_files"),
    "before the checkpoint": (publish_module, "replace_file"),
}


@pytest.mark.parametrize("quorum", ["local", NO_QUORUM])
@pytest.mark.parametrize("step", CRASHES)
def test_a_rotation_stopped_anywhere_is_taken_up_again(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, step: str, quorum: str
) -> None:
    """What was acknowledged is there; the key that is needed opens the ledger and goes on."""
    if quorum == NO_QUORUM:
        ledger.directory.policy.write_bytes(unwatched(ledger.policy()).serialize())
    owner, name = CRASHES[step]
    path, size = ledger.path, ledger.size
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, _fail)
        with pytest.raises(StorageError, match="stopped here"):
            rotate_and_publish(ledger)
    ledger.close()
    logged = check(path)
    assert logged == size + (step != "before the commit")
    with Ledger.open(path, read_only=True) as reader:
        assert reader.size == logged
    with Ledger.open(path, clock=FixedClock()) as again:
        answer = again.rotate_operator(NEW)
        assert (answer.index, answer.repeated) == (ROTATION, step != "before the commit")
        again.append(registration(again.id, "bob"))
        again.publish()
        assert parse_checkpoint_note(again.checkpoint()).size == again.size == size + 2
    assert check(path) == size + 2
    report = audit(path, now_unix_ms=NOW)
    assert report.ok, report.problem


def test_a_rotation_keeps_who_may_read(ledger: Ledger) -> None:
    with ledger.read() as state:
        assert [key for _, key in reading.operator_keys(state)] == [OLD.public_key]
        assert reading.account_of_key(state, OLD.public_key) == OLD.public_key
    rotate(ledger)
    with ledger.read() as state:
        assert reading.operator_keys(state) == [(0, OLD.public_key), (ROTATION + 1, NEW.public_key)]
        assert reading.account_of_key(state, NEW.public_key) == OLD.public_key
        with pytest.raises(RoleError, match="retired"):
            reading.account_of_key(state, OLD.public_key)
