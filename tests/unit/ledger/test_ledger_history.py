"""Logs that were published once and are read for ever: no later version may see anything else in them.

``CREDITLEDGER_WRITE_VECTORS=1`` writes files that are missing; one that is there is never changed."""

import json
import os
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from creditledger.credits import reading
from creditledger.credits.account import check_invariant
from creditledger.credits.postings import Part, postings
from creditledger.credits.state import MAP, MemoryState, Overlay
from creditledger.errors import CreditLedgerError
from creditledger.ledger.audit import audit_source
from creditledger.ledger.ledger import Ledger
from creditledger.ledger.replica import Replica
from creditledger.ledger.source import DirectorySource, published_bodies
from creditledger.records.entry import Entry, Submission
from creditledger.records.parameters import Genesis
from creditledger.records.receipt import Batch
from creditledger.records.registration import Rotation
from creditledger.records.round import Round
from creditledger.transparency.certificate import Committee
from creditledger.transparency.trust_policy import TrustPolicy
from creditledger.transparency.verification import verify_bundle
from fakes.cast import ed25519
from fakes.history_pool import MAKERS, SEALED, publish_afresh, state_digest
from fakes.shown_pool import StillClock

FOLDER = Path(__file__).resolve().parents[2] / "vectors" / "history"
LEVELS = {
    "receipt-signed": "signed",
    "receipt-upheld": "upheld",
    "receipt-vested": "vested",
    "receipt-rotated-vested": "vested",
}
"""What a bundle reaches, if not `logged`."""


@pytest.fixture(scope="module", params=sorted(MAKERS))
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One kept log."""
    name: str = request.param
    kept = FOLDER / name
    if os.environ.get("CREDITLEDGER_WRITE_VECTORS"):
        MAKERS[name](tmp_path_factory.mktemp(name)).write(kept)
    return kept


def told(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "history.json").read_text())
    return found


def replayed(folder: Path) -> tuple[Replica, list[Entry]]:
    """The log as a stranger folds it, and its entries."""
    replica = Replica(DirectorySource(folder / "public"), TrustPolicy.load(folder / "policy"))
    entries = [entry for _, entry in replica.steps(told(folder)["now_unix_ms"])]
    return replica, entries


def test_a_replay_gives_the_same_roots_and_the_same_state(folder: Path) -> None:
    """A later version's rules leave what was logged under the old ones as it was."""
    expected = told(folder)
    replica, entries = replayed(folder)
    assert replica.checkpoint is not None
    assert (replica.size, replica.checkpoint.root.hex()) == (expected["size"], expected["root"])
    assert sorted({entry.record.KIND.name.lower() for entry in entries}) == expected["kinds"]
    rounds = [entry.record for entry in entries if isinstance(entry.record, Round)]
    assert [
        {
            "number": found.number,
            "log_size": found.log_size,
            "log_root": found.log_root.hex(),
            "map_root": found.map_root.hex(),
        }
        for found in rounds
    ] == expected["rounds"]
    assert state_digest(replica.state, MAP) == expected["certified_state"]
    assert state_digest(replica.state, b"") == expected["state"]


class Trusting:
    """Takes every signature: a replay has looked at them."""

    def ed25519(self, public_key: bytes, message: bytes, signature: bytes) -> None: ...

    def bls(self, public_key: bytes, message: bytes, signature: bytes) -> None: ...

    def certificate(
        self, committee: Committee, statement: bytes, bitmap: bytes, aggregate: bytes
    ) -> None: ...


def test_the_postings_of_every_entry_cancel_out_and_add_up_to_the_accounts(folder: Path) -> None:
    """Double entry: nothing is made or lost, and the accounts are nothing but the sum of what moved."""
    base, sums = MemoryState(), Counter[tuple[bytes | None, Part]]()
    source, policy = DirectorySource(folder / "public"), TrustPolicy.load(folder / "policy")
    replica = Replica(source, policy, state=Overlay(base), verifier=Trusting())
    for index, _ in replica.steps(told(folder)["now_unix_ms"]):
        changes = replica.state
        assert isinstance(changes, Overlay)
        moved = postings(base, changes)
        assert sum(posting.amount_micro for posting in moved) == 0, index
        for posting in moved:
            sums[posting.account, posting.part] += posting.amount_micro
        changes.merge()
        replica.state = Overlay(base)
    totals = check_invariant(base)
    expected = Counter({(None, Part.GRANTS): -totals.granted_micro, (None, Part.BURNED): totals.burned_micro})
    for account in reading.all_accounts(base):
        expected[account.account, Part.AVAILABLE] = account.available_micro - account.overdrawn_micro
        expected[account.account, Part.HELD] = account.held_micro
        expected[account.account, Part.UNVESTED] = account.unvested_micro
    assert {key: sums[key] for key in expected} == dict(expected)
    assert sums.keys() <= expected.keys()


def test_an_audit_finds_nothing_wrong(folder: Path) -> None:
    expected = told(folder)
    report = audit_source(
        DirectorySource(folder / "public"),
        TrustPolicy.load(folder / "policy"),
        now_unix_ms=expected["now_unix_ms"],
    )
    assert report.ok, report.problem
    assert (report.entries, report.rounds) == (expected["size"], len(expected["rounds"]))
    assert report.certified == expected["certificates"]


def test_every_bundle_still_verifies_and_no_changed_one_does(folder: Path) -> None:
    policy = TrustPolicy.load(folder / "policy")
    bundles = sorted((folder / "bundles").glob("*.bundle"))
    assert len(bundles) >= 13
    for path in bundles:
        level: Any = LEVELS.get(path.stem, "logged")
        encoded = path.read_bytes()
        verified = verify_bundle(encoded, policy, require=level)
        assert verified.subject.name.lower() == path.stem.split("-")[0]
        middle = len(encoded) // 2
        with pytest.raises(CreditLedgerError):
            verify_bundle(encoded[:middle] + bytes([encoded[middle] ^ 1]) + encoded[middle + 1 :], policy)


def test_the_same_submissions_are_published_as_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    """Leaf hashes, tiles, bodies, checkpoint, cosignature and policy: all of today's writer."""
    replica, entries = replayed(folder)
    source = DirectorySource(folder / "public")
    genesis = entries[0].record
    assert isinstance(genesis, Genesis)
    clock = StillClock(genesis.created_unix_ms)
    with Ledger.create(
        tmp_path / "again",
        origin=genesis.origin,
        operator=ed25519("operator"),
        parameters=genesis.parameters,
        witness=ed25519("witness"),
        clock=clock,
    ) as ledger:
        for entry in entries[1:]:
            clock.now = entry.time_unix_ms
            record = entry.record
            if isinstance(record, Rotation) and record.account == genesis.operator:
                ledger.rotate_operator(ed25519("next operator"), next_key=record.next_key)
                continue
            ledger.append(_submission(source, entry))
        clock.now = told(folder)["now_unix_ms"]
        publish_afresh(ledger)
        assert files(ledger.directory.public) == files(folder / "public")
        assert ledger.directory.policy.read_bytes() == (folder / "policy").read_bytes()
        with ledger.read() as state:
            assert reading.map_root(state) == reading.map_root(replica.state)


def _submission(source: DirectorySource, entry: Entry) -> Submission:
    bodies = published_bodies(source, entry.record)
    sealed = (SEALED,) if isinstance(entry.record, Batch) else ()
    return Submission(record=entry.record, signature=entry.signature, bodies=(*bodies, *sealed))


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_one_other_bit_in_a_kept_log_is_found(folder: Path, tmp_path: Path) -> None:
    """That the replay above can fail."""
    shutil.copytree(folder, tmp_path / "bent")
    bundle = tmp_path / "bent" / "public" / "tile" / "entries" / "000"
    content = bytearray(bundle.read_bytes())
    content[len(content) // 2] ^= 1
    bundle.write_bytes(content)
    with pytest.raises(CreditLedgerError):
        replayed(tmp_path / "bent")
