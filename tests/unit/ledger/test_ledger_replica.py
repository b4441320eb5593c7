"""Replica and audit: what a stranger believes of a public log."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from creditledger.credits import reading
from creditledger.credits.state import State
from creditledger.errors import (
    ConsistencyProofError,
    InclusionProofError,
    MalformedRecordError,
    PolicyError,
    SignatureError,
    VerificationError,
)
from creditledger.ledger.audit import audit
from creditledger.ledger.ledger import Ledger
from creditledger.ledger.replica import Replica
from creditledger.ledger.source import DirectorySource
from creditledger.records.entry import Entry
from creditledger.transparency.checkpoint import Checkpoint, parse_checkpoint_note, sign_checkpoint
from creditledger.transparency.cosignature import CosignatureSigner
from creditledger.transparency.merkle import leaf_hash, root_from_leaf_hashes
from creditledger.transparency.note import Ed25519NoteSigner
from creditledger.transparency.tile import Tile, bundle_leaf_hashes, encode_entry_bundle
from ledger_pools import START_MS, FixedClock, fill, found, registration, signer, working

NOW = START_MS + 1_000


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    made = found(tmp_path / "pool")
    yield made
    made.close()


def replica_of(ledger: Ledger) -> Replica:
    return Replica(DirectorySource(ledger.directory.public), ledger.policy())


def publish(ledger: Ledger, size: int) -> None:
    fill(ledger, size)
    ledger.publish()


def test_a_replica_comes_to_the_same_state(ledger: Ledger) -> None:
    work = working(ledger)
    ledger.append(work.batch(3))
    ledger.complete_round()
    replica = replica_of(ledger)
    replica.follow(NOW)
    assert (replica.size, replica.ledger_id) == (ledger.size, ledger.id)
    with ledger.read() as state:
        assert list(replica.state.scan(b"")) == list(state.scan(b""))
    assert State(replica.state).map_root == reading.map_root(replica.state)


def test_a_replica_goes_on_where_it_stopped(ledger: Ledger) -> None:
    replica = replica_of(ledger)
    for size in (3, 3, 256, 300, 515):
        publish(ledger, size)
        assert replica.follow(NOW).size == size
        assert replica.size == size


def test_a_replica_stops_where_it_is_told(ledger: Ledger) -> None:
    publish(ledger, 300)
    replica = replica_of(ledger)
    for stop in (1, 2, 256, 299):
        assert replica.follow(NOW, up_to=stop).size == 300
        assert replica.size == stop
    replica.follow(NOW)
    assert replica.size == 300


def test_the_first_lie_is_refused_and_the_truth_before_it_kept(ledger: Ledger) -> None:
    publish(ledger, 300)
    replica = replica_of(ledger)
    path = ledger.directory.public / "tile" / "entries" / "001.p" / "44"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(InclusionProofError, match="entry 299"):
        replica.follow(NOW)
    assert replica.size == 256
    path.write_bytes(whole)
    replica.follow(NOW)
    assert replica.size == 300


PATHS = [
    "tile/0/000",
    "tile/0/001",
    "tile/0/002.p/3",
    "tile/1/000.p/2",
    "tile/entries/000",
    "tile/entries/002.p/3",
]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("harm", ["flipped", "missing", "short"])
def test_every_file_of_the_tree_is_checked(ledger: Ledger, path: str, harm: str) -> None:
    publish(ledger, 515)
    assert audit(ledger.path, now_unix_ms=NOW).ok
    file = ledger.directory.public / path
    content = file.read_bytes()
    if harm == "missing":
        file.unlink()
    else:
        file.write_bytes(content[:-1] + (b"" if harm == "short" else bytes([content[-1] ^ 1])))
    report = audit(ledger.path, now_unix_ms=NOW)
    assert not report.ok
    assert report.entries < 515
    assert isinstance(report.error, VerificationError | MalformedRecordError)


@pytest.mark.parametrize(("index", "path"), [(5, "000"), (514, "002.p/3")])
def test_an_entry_changed_with_its_leaf_hash_is_refused(ledger: Ledger, index: int, path: str) -> None:
    """Bundle and tile agree with each other, but not with the tree above them."""
    publish(ledger, 515)
    entries = [ledger.entry_bytes(at) for at in range(index // 256 * 256, min(515, index // 256 * 256 + 256))]
    entry = entries[index % 256]
    entries[index % 256] = entry[:-1] + bytes([entry[-1] ^ 1])
    tile = ledger.directory.public / "tile"
    (tile / "entries" / path).write_bytes(encode_entry_bundle(entries))
    (tile / "0" / path).write_bytes(bundle_leaf_hashes(entries))
    report = audit(ledger.path, now_unix_ms=NOW)
    assert isinstance(report.error, InclusionProofError)
    assert report.entries == 0


def test_a_log_signed_by_another_key_than_its_operators_is_refused(ledger: Ledger) -> None:
    """Also where the policy names no ledger: who signs the log is who founded it."""
    ledger.publish()
    mallory = Ed25519NoteSigner(ledger.origin, signer("mallory"))
    checkpoint = parse_checkpoint_note(ledger.checkpoint())
    own = replace(ledger.policy(), ledger_id=None, witnesses=(), quorum="none")
    assert audit(ledger.path, now_unix_ms=NOW, policy=own).ok
    (ledger.directory.public / "checkpoint").write_bytes(sign_checkpoint(checkpoint, [mallory]))
    policy = replace(own, logs=(replace(own.logs[0], vkey=mallory.vkey),))
    assert isinstance(audit(ledger.path, now_unix_ms=NOW, policy=policy).error, PolicyError)


def test_a_partial_tile_may_be_gone_once_its_full_tile_is_there(ledger: Ledger) -> None:
    publish(ledger, 100)
    note = (ledger.directory.public / "checkpoint").read_bytes()
    publish(ledger, 300)
    (ledger.directory.public / "checkpoint").write_bytes(note)
    for folder in ("0", "entries"):
        assert not (ledger.directory.public / "tile" / folder / "000.p").exists()
    report = audit(ledger.path, now_unix_ms=NOW)
    assert (report.ok, report.entries) == (True, 100)


def test_a_missing_batch_fails_the_audit(ledger: Ledger) -> None:
    submission = working(ledger).batch(2)
    index = ledger.append(submission).index
    ledger.publish()
    report = audit(ledger.path, now_unix_ms=NOW)
    assert (report.ok, report.entries, report.checkpoint_size) == (True, index + 1, index + 1)
    path = ledger.directory.public / "batch" / submission.record.root.hex()  # type: ignore[attr-defined]
    path.unlink()
    report = audit(ledger.path, now_unix_ms=NOW)
    assert (report.ok, report.entries) == (False, index)
    assert f"entry {index}" in report.problem


def test_a_changed_receipt_fails_the_audit(ledger: Ledger) -> None:
    submission = working(ledger).batch(2)
    ledger.append(submission)
    ledger.publish()
    path = ledger.directory.public / "batch" / submission.record.root.hex()  # type: ignore[attr-defined]
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert not audit(ledger.path, now_unix_ms=NOW).ok


def test_an_audit_counts_what_it_saw(ledger: Ledger) -> None:
    ledger.append(registration(ledger.id, "alice"))
    ledger.complete_round()
    ledger.append(registration(ledger.id, "bob"))
    ledger.close_round()
    ledger.publish()
    report = audit(ledger.path, now_unix_ms=NOW)
    assert (report.entries, report.checkpoint_size) == (ledger.size, ledger.size)
    assert (report.rounds, report.certified, report.ok, report.problem) == (2, 1, True, "")


def test_a_policy_of_another_ledger_is_refused(ledger: Ledger) -> None:
    own = ledger.policy()
    assert audit(ledger.path, now_unix_ms=NOW, policy=own).ok
    other = replace(own, ledger_id=bytes(32))
    assert isinstance(audit(ledger.path, now_unix_ms=NOW, policy=other).error, PolicyError)
    stranger = replace(
        own,
        logs=(replace(own.logs[0], vkey=replace(own.logs[0].vkey, public_key=signer("mallory").public_key)),),
    )
    assert isinstance(audit(ledger.path, now_unix_ms=NOW, policy=stranger).error, SignatureError)


def test_an_entry_from_the_readers_future_is_refused(ledger: Ledger) -> None:
    tolerance = ledger.genesis.parameters.clock_tolerance_ms
    replica = replica_of(ledger)
    with pytest.raises(VerificationError, match="entry 0"):
        replica.follow(START_MS - tolerance - 1)
    assert replica.size == 0
    replica.follow(START_MS - tolerance)
    assert replica.size == 1


def test_an_entry_dated_after_its_cosignature_is_refused(tmp_path: Path) -> None:
    """A log cannot date entries forward: the witnesses say when they saw them."""
    clock = FixedClock()
    with found(tmp_path / "pool", clock) as ledger:
        tolerance = ledger.genesis.parameters.clock_tolerance_ms
        clock.now += 2 * tolerance
        ledger.append(registration(ledger.id, "alice"))
        clock.now = START_MS + tolerance - 1_000
        ledger.publish()
        report = audit(tmp_path / "pool", now_unix_ms=START_MS + 2 * tolerance)
        assert (report.ok, report.entries) == (False, 1)
        clock.now = START_MS + tolerance
        ledger.publish()
        assert audit(tmp_path / "pool", now_unix_ms=START_MS + 2 * tolerance).ok


def test_a_shorter_or_other_log_is_refused_by_who_has_seen_more(ledger: Ledger, tmp_path: Path) -> None:
    replica = replica_of(ledger)
    publish(ledger, 3)
    short = (ledger.directory.public / "checkpoint").read_bytes()
    publish(ledger, 5)
    replica.follow(NOW)
    (ledger.directory.public / "checkpoint").write_bytes(short)
    with pytest.raises(ConsistencyProofError):
        replica.follow(NOW)
    _forge(ledger, lambda entries: [entries[0], *entries[2:], entries[1]])
    with pytest.raises(ConsistencyProofError):
        replica.follow(NOW)
    assert replica.size == 5


@pytest.mark.parametrize("forgery", ["left out", "doubled", "unsigned", "not an entry", "dated back"])
def test_a_log_that_breaks_the_rules_fails_the_audit_although_it_is_signed(
    ledger: Ledger, forgery: str
) -> None:
    """Operator and witness together cannot pass off what the rules refuse."""
    ledger.append(registration(ledger.id, "alice"))
    ledger.append(registration(ledger.id, "bob"))
    ledger.publish()
    _forge(ledger, lambda entries: entries)
    assert audit(ledger.path, now_unix_ms=NOW).ok

    def unsigned(entry: bytes) -> bytes:
        return replace(Entry.decode(entry), signature=bytes(64)).encode()

    def dated_back(entry: bytes) -> bytes:
        return replace(Entry.decode(entry), time_unix_ms=START_MS - 1).encode()

    forgeries: dict[str, Callable[[list[bytes]], list[bytes]]] = {
        "left out": lambda entries: entries[1:],
        "doubled": lambda entries: [*entries, entries[1]],
        "unsigned": lambda entries: [*entries[:2], unsigned(entries[2])],
        "not an entry": lambda entries: [*entries, b"\x90"],
        "dated back": lambda entries: [*entries[:2], dated_back(entries[2])],
    }
    _forge(ledger, forgeries[forgery])
    report = audit(ledger.path, now_unix_ms=NOW)
    assert not report.ok
    assert "entry" in report.problem


def _forge(ledger: Ledger, change: Callable[[list[bytes]], list[bytes]]) -> None:
    """Publish another log of less than 256 entries, signed by the true operator and witness."""
    entries = change([ledger.entry_bytes(index) for index in range(ledger.size)])
    public = ledger.directory.public
    for tile, content in (
        (Tile(level=None, index=0, width=len(entries)), encode_entry_bundle(entries)),
        (Tile(level=0, index=0, width=len(entries)), bundle_leaf_hashes(entries)),
    ):
        (public / tile.path).parent.mkdir(parents=True, exist_ok=True)
        (public / tile.path).write_bytes(content)
    root = root_from_leaf_hashes(leaf_hash(entry) for entry in entries)
    checkpoint = Checkpoint(origin=ledger.origin, size=len(entries), root=root)
    note = sign_checkpoint(checkpoint, [Ed25519NoteSigner(ledger.origin, signer("operator"))])
    cosigned = CosignatureSigner("local", signer("witness")).cosign(
        checkpoint.text, timestamp=START_MS // 1_000
    )
    (public / "checkpoint").write_bytes(note + cosigned.line)
    assert parse_checkpoint_note(note) == checkpoint
