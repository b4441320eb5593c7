"""Validators that have only a URL: they certify, check and refute, and never sign two things for one slot."""

import signal
import subprocess
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli_pools import ask, cli
from creditledger.records.entry import Submission
from creditledger.records.kinds import Kind
from creditledger.records.round import Attestation
from creditledger.records.verdict import Commit, Reveal
from creditledger.validation.validator_key import ValidatorKey
from far_validators import FarPool, far_pool, own_environment


@pytest.fixture
def pool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FarPool]:
    with far_pool(tmp_path, validators=3, quorum=2) as pool:
        for name, value in own_environment(pool, pool.home("alice")).items():
            monkeypatch.setenv(name, value)
        yield pool


def stopped(running: "list[subprocess.Popen[str]]") -> None:
    for process in running:
        process.terminate()
    for process in running:
        process.communicate(timeout=60)
        assert process.returncode == 0


def test_three_validators_with_a_url_each_and_a_node_come_to_vested_credits(pool: FarPool) -> None:
    """Nobody shares a directory with anybody: rounds are certified by signatures that came as records, inputs
    came by the node's own hand, and a cheat is refuted with evidence that its pool shows it."""
    running = [pool.validate(number) for number in range(3)]
    pool.until("the grant is certified", lambda: ask("balance", pool.url, "alice")["available_micro"] > 0)
    honest = pool.work("job")
    pool.until("the work is settled", lambda: all(pool.receipt(one)["settled"] for one in honest))
    assert {pool.receipt(one)["outcome"] for one in honest} == {"upheld"}
    false = pool.work("false job", honest=False)[1]
    pool.until("the cheat is refuted", lambda: pool.receipt(false)["outcome"] == "refuted")
    stopped(running)
    assert ask("balance", pool.url, "n1")["verified_micro"] > 0
    shipped = sorted((pool.directory / "evidence").glob(f"{false}-*.refutation"))
    assert len(shipped) == 2
    assert all(not list((pool.folder / f"validator-{n}").glob("**/sealed/*")) for n in range(3))


RECORDING = """
import os, signal, itertools
from creditledger.service.remote.record_client import RecordClient
post = RecordClient.submit
def submit(self, submissions):
    with open({file!r}, "ab") as file:
        file.writelines(one.encode().hex().encode() + b"\\n" for one in submissions)
    return post(self, submissions)
RecordClient.submit = submit
"""
DYING = """
steps = itertools.count(1)
def doomed(function):
    def step(*arguments, **named):
        if next(steps) == {at}:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments, **named)
    return step
import httpx2
for name in ("fsync", "rename", "replace"):
    setattr(os, name, doomed(getattr(os, name)))
httpx2.Client.stream = doomed(httpx2.Client.stream)
"""


def test_a_validator_that_is_killed_signs_one_thing_for_each_slot(pool: FarPool) -> None:
    """Killed before a write to disk, or before a request, anywhere from its first step on; its copy of the
    log is thrown away now and then. What it sent is the same each time, and its duties get done."""
    sent = pool.folder / "sent"
    recording = RECORDING.format(file=str(sent))
    others = [pool.validate(number) for number in (1, 2)]
    pool.until("the grant is certified", lambda: ask("balance", pool.url, "alice")["available_micro"] > 0)
    receipts = [digest for number in range(2) for digest in pool.work(f"job {number}")]
    for at in (3, 9, 15, 22, 27, 33, 38, 44, 52):
        dying = pool.validate(0, "--once", program=recording + DYING.format(at=at))
        dying.communicate(timeout=60)
        assert dying.returncode in (-signal.SIGKILL, 0)
        if at % 2:
            for copy in (pool.folder / "validator-0" / "state").glob("creditledger/copies/*"):
                (copy / "store" / "data.mdb").unlink(missing_ok=True)
    last = pool.validate(0, program=recording)
    pool.until("all is settled", lambda: all(pool.receipt(one)["settled"] for one in receipts))
    stopped([*others, last])
    by_slot = defaultdict(set)
    key = ValidatorKey.load(pool.key(0)).bls.public_key
    for line in sent.read_text().splitlines():
        record = Submission.decode(bytes.fromhex(line)).record
        assert isinstance(record, Attestation | Commit | Reveal)
        by_slot[type(record), record.round].add(line)
    assert by_slot
    assert {len(said) for said in by_slot.values()} == {1}, key.hex()
    logged = {record.encode() for record in pool.entries() if record.KIND in (Kind.COMMIT, Kind.REVEAL)}
    duties = [next(iter(said)) for (kind, _), said in by_slot.items() if kind is not Attestation]
    assert {Submission.decode(bytes.fromhex(line)).record.encode() for line in duties} <= logged


def test_places_of_evidence_are_for_urls(pool: FarPool) -> None:
    key = pool.key(0)
    said = cli("validate", pool.directory, "--key", key, "--evidence", "http://x.example", "--json")
    assert (said.code, said.answer["error"]) == (2, "UsageError")
    said = cli("validate", pool.url, "--key", key, "--once", "--evidence", "n1@ftp://x", "--json")
    assert (said.code, said.answer["error"]) == (2, "BadParameter")
    said = cli("validate", pool.url, "--key", key, "--once", "--evidence", "nobody@http://x", "--json")
    assert (said.code, said.answer["error"]) == (6, "UnknownIdError")
