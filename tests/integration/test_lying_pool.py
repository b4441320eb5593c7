"""specs/service.md §7: each way in which a pool's service may lie, beside the truth that is believed."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cli_pools import cli
from creditledger.errors import (
    BusyError,
    ConsistencyProofError,
    CreditLedgerError,
    ForkError,
    PolicyError,
    RefusedError,
    VerificationError,
)
from creditledger.ledger import remote_ledger
from creditledger.ledger.ledger import Ledger
from creditledger.ledger.opening import open_ledger
from creditledger.service.remote import record_client
from fakes.lying_pool import LyingPool, Told, log_truly
from ledger_pools import found, grant, registration


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with found(tmp_path / "pool") as made:
        made.append(registration(made.id, "alice"))
        made.complete_round()
        yield made


@pytest.fixture
def pool(ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LyingPool]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("CREDITLEDGER_POLICY", str(ledger.directory.policy))
    monkeypatch.setattr(remote_ledger, "SHOWN_WITHIN_SECONDS", 0.5)
    monkeypatch.setattr(record_client, "PATIENCE_SECONDS", 0.5)
    served = LyingPool(ledger)
    yield served
    served.close()


def submit(pool: LyingPool, ledger: Ledger, name: str) -> list[Any]:
    with open_ledger(pool.url, read_only=False) as remote:
        return remote.submit([registration(ledger.id, name)])


def swapped(told: Told) -> Any:
    """Another record's place, and what is there."""
    return {"outcomes": [{"index": 1, "leaf_hash": told[0]["leaf_hash"]}]}


def another_place(told: Told) -> Any:
    return {"outcomes": [told[0] | {"index": told[0]["index"] - 1}]}


def another_leaf(told: Told) -> Any:
    return {"outcomes": [told[0] | {"leaf_hash": "ab" * 32}]}


def far_away(told: Told) -> Any:
    return {"outcomes": [told[0] | {"index": 10**9}]}


def too_far(told: Told) -> Any:
    return {"outcomes": [told[0] | {"index": 2**70}]}


def twice(told: Told) -> Any:
    return {"outcomes": told * 2}


def no_place(told: Told) -> Any:
    return {"outcomes": [{"index": "1", "leaf_hash": 5}]}


def another_shape(told: Told) -> Any:
    return told


LIES = {
    "another record's place": (swapped, VerificationError),
    "a place beside it": (another_place, VerificationError),
    "another leaf": (another_leaf, VerificationError),
    "a place that the log never reaches": (far_away, BusyError),
    "a place in no log": (too_far, VerificationError),
    "one answer too many": (twice, VerificationError),
    "a place that is no number": (no_place, VerificationError),
    "another shape": (another_shape, VerificationError),
}


@pytest.mark.parametrize("lie", LIES)
def test_an_acknowledgement_that_the_log_does_not_bear_out(pool: LyingPool, ledger: Ledger, lie: str) -> None:
    bend, error = LIES[lie]
    (true,) = submit(pool, ledger, "bob")
    assert true.index == ledger.size - 1
    pool.bend = bend
    with pytest.raises(error):
        submit(pool, ledger, "carl")


def test_another_record_logged_in_its_place(pool: LyingPool, ledger: Ledger) -> None:
    pool.log = lambda submissions: log_truly(ledger, [registration(ledger.id, "mallory")])
    with pytest.raises(VerificationError, match="which is another"):
        submit(pool, ledger, "bob")


def test_an_acknowledgement_without_a_record(pool: LyingPool, ledger: Ledger) -> None:
    """It is asked again under the same key, and never believed."""
    pool.log = lambda submissions: []
    pool.bend = lambda told: {"outcomes": [{"index": 1, "leaf_hash": "00" * 32}]}
    with pytest.raises(VerificationError):
        submit(pool, ledger, "bob")
    pool.log, pool.status = (lambda submissions: []), 503
    pool.asked.clear()
    with pytest.raises(BusyError):
        submit(pool, ledger, "bob")
    assert len(pool.asked) > 1
    assert len(set(pool.asked)) == 1


@pytest.mark.parametrize(
    ("raw", "status", "error"),
    [
        (b"not json", 200, VerificationError),
        (b"[" * 100_000, 200, VerificationError),
        (b" " * (2 << 20), 200, VerificationError),
        (b"{}", 200, VerificationError),
        (b"[]", 422, VerificationError),
        (b"{}", 307, RefusedError),
        (b'{"error":"Exception","detail":"no"}', 422, RefusedError),
        (b'{"error":"ConflictError","detail":"taken"}', 409, RefusedError),
    ],
)
def test_an_answer_that_is_none(
    pool: LyingPool, ledger: Ledger, raw: bytes, status: int, error: type[CreditLedgerError]
) -> None:
    pool.raw, pool.status = raw, status
    with pytest.raises(error):
        submit(pool, ledger, "bob")


def kept(ledger: Ledger, target: Path) -> Path:
    """The published files as they are now."""
    shutil.copytree(ledger.directory.public, target)
    return target


def test_a_log_that_goes_back(pool: LyingPool, ledger: Ledger, tmp_path: Path) -> None:
    before = kept(ledger, tmp_path / "before")
    submit(pool, ledger, "bob")
    pool.public = before
    with pytest.raises(ConsistencyProofError):
        open_ledger(pool.url, read_only=True)
    pool.public = ledger.directory.public
    open_ledger(pool.url, read_only=True).close()


def test_a_log_that_stands_still(pool: LyingPool, ledger: Ledger, tmp_path: Path) -> None:
    """Under a policy with an age, what is older than that is not the present."""
    policy = tmp_path / "policy"
    text = ledger.directory.policy.read_text()
    policy.write_text(text + "#creditledger max-age-ms 1000000000000\n")
    assert cli("balance", pool.url, "alice", "--policy", policy).code == 0
    policy.write_text(text + "#creditledger max-age-ms 86400000\n")
    said = cli("balance", pool.url, "alice", "--policy", policy, "--json")
    assert (said.code, said.answer["error"]) == (1, PolicyError.__name__)


def test_a_log_with_two_histories(pool: LyingPool, ledger: Ledger, tmp_path: Path) -> None:
    """The evidence convinces whoever has the policy, with no network."""
    twin = tmp_path / "twin"
    shutil.copytree(ledger.path, twin)
    submit(pool, ledger, "bob")
    with Ledger.open(twin) as other:
        other.submit([registration(other.id, "mallory"), grant(other.id, "mallory", 5)])
        other.publish()
        pool.public = other.directory.public
        with pytest.raises(ForkError) as caught:
            open_ledger(pool.url, read_only=True)
        said = cli("balance", pool.url, "alice", "--json")
    assert (said.code, said.answer["error"]) == (1, "ForkError")
    for file in (caught.value.file, said.answer["evidence"]):
        verified = cli("verify", file, "--policy", ledger.directory.policy, "--json")
        assert verified.code == 0, verified
    spoiled = tmp_path / "spoiled"
    spoiled.write_bytes(Path(caught.value.file).read_bytes().replace(b"A", b"B", 1))
    assert cli("verify", spoiled, "--policy", ledger.directory.policy).code != 0


def test_another_ledgers_log(pool: LyingPool, ledger: Ledger, tmp_path: Path) -> None:
    with found(tmp_path / "other", check_floor_ppm=30_000) as other:
        other.append(registration(other.id, "alice"))
        other.complete_round()
        assert other.id != ledger.id
        pool.public = other.directory.public
        with pytest.raises(PolicyError):
            open_ledger(pool.url, read_only=True)


def test_an_entry_with_one_other_bit(pool: LyingPool, ledger: Ledger, tmp_path: Path) -> None:
    spoiled = kept(ledger, tmp_path / "spoiled")
    tiles = [path for path in (spoiled / "tile" / "entries").rglob("*") if path.is_file()]
    for tile in tiles:
        content = bytearray(tile.read_bytes())
        content[len(content) // 2] ^= 1
        tile.write_bytes(content)
    pool.public = spoiled
    with pytest.raises(VerificationError):
        open_ledger(pool.url, read_only=True)
