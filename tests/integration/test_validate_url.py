"""Validators that have only a URL: they certify, check and refute, and never sign two things for one slot."""

import json
import shutil
import signal
import subprocess
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random

import pytest

from cli_pools import cli
from creditledger.errors import BusyError
from creditledger.ledger.keyring import load_key
from creditledger.records.entry import Submission
from creditledger.records.round import Attestation
from creditledger.records.verdict import Commit, Reveal
from creditledger.service.http_evidence import POOLS_OWN, EvidencePlace, HttpEvidence
from far_validators import FarPool, far_pool, own_environment


@pytest.fixture
def pool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FarPool]:
    with far_pool(tmp_path, validators=3, quorum=2) as pool:
        for name, value in own_environment(pool, pool.home("alice")).items():
            monkeypatch.setenv(name, value)
        yield pool


def evidence_for(pool: FarPool, name: str) -> HttpEvidence:
    """The pool's evidence as the owner of an account may see it."""
    place = EvidencePlace(url=pool.url + POOLS_OWN, audience=pool.served.ledger_id)
    signer = load_key(pool.home(name) / "key").ed25519()
    return HttpEvidence([place], signer=signer, ledger_id=pool.served.ledger_id)


def stopped(running: "list[subprocess.Popen[str]]") -> None:
    for process in running:
        process.terminate()
    for process in running:
        process.communicate(timeout=60)
        assert process.returncode == 0


def test_three_validators_with_a_url_each_and_a_node_come_to_verdicts(pool: FarPool) -> None:
    """Nobody shares a directory with anybody: rounds are certified by signatures that came as records, inputs
    came by the node's own hand, and a cheat is refuted with evidence that the pool shows it and no other."""
    running = [pool.validate(number) for number in range(3)]
    true, false = pool.granted_and_worked("job", honest=False)
    pool.until("the cheat is refuted", lambda: pool.receipt(false)["outcome"] == "refuted")
    pool.until("the rest is upheld", lambda: pool.receipt(true)["outcome"] == "upheld")
    stopped(running)
    shipped = sorted((pool.directory / "evidence").glob(f"{false}-*.refutation"))
    assert shipped
    own, strange = (evidence_for(pool, name) for name in ("n1", "alice"))
    name = shipped[0].name
    assert own.refutation(name, most=1 << 20) == shipped[0].read_bytes()
    with pytest.raises(BusyError, match="neither shows evidence"):
        strange.refutation(name, most=1 << 20)
    own.close()
    strange.close()
    assert all(not list((pool.folder / f"validator-{n}").glob("**/sealed/*")) for n in range(3))


DYING = """
import itertools, os, signal
from creditledger.service.remote.record_client import RecordClient
from creditledger.validation.journal import Journal
steps = itertools.count(1)
def die():
    if next(steps) == {at}:
        os.kill(os.getpid(), signal.SIGKILL)
def doomed(function):
    def step(*arguments, **named):
        die()
        found = function(*arguments, **named)
        die()
        return found
    return step
post = RecordClient.submit
def submit(self, submissions):
    with open({file!r}, "ab") as file:
        file.writelines(one.encode().hex().encode() + b"\\n" for one in submissions)
    return post(self, submissions)
write = Journal._write
def promise(self, name, content):
    write(self, name, content)
    with open({file!r} + "-promised", "a") as file:
        file.write(name + " " + content.hex() + "\\n")
RecordClient.submit = doomed(submit)
Journal._write = doomed(promise)
"""


@pytest.mark.slow
def test_a_validator_that_is_killed_signs_one_thing_for_each_slot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed before or after it writes a promise down or sends one, and started again; now and then its copy
    of the log is thrown away. No round is certified without it, and all gets done."""
    with far_pool(tmp_path, validators=2, quorum=2) as pool:
        for name, value in own_environment(pool, pool.home("alice")).items():
            monkeypatch.setenv(name, value)
        steady, chance, killed = pool.validate(1), Random(7), 0

        def live_and_die() -> None:
            nonlocal killed
            program = DYING.format(at=chance.randrange(3, 9), file=str(pool.folder / "sent"))
            dying = pool.validate(0, "--once", program=program)
            dying.communicate(timeout=60)
            assert dying.returncode in (-signal.SIGKILL, 0)
            killed += dying.returncode != 0
            if chance.random() < 0.3:
                shutil.rmtree(pool.folder / "validator-0" / "state", ignore_errors=True)

        with ThreadPoolExecutor(1) as other:
            work = other.submit(pool.granted_and_worked, "job")
            while not work.done():
                live_and_die()
        receipts = work.result()
        while not all(pool.receipt(one)["settled"] for one in receipts):
            live_and_die()
        stopped([steady])
        assert killed >= 5
        by_slot = defaultdict(set)
        for line in (pool.folder / "sent").read_text().splitlines():
            record = Submission.decode(bytes.fromhex(line)).record
            assert isinstance(record, Attestation | Commit | Reveal)
            by_slot[type(record), record.round].add(line)
    assert {kind for kind, _ in by_slot} == {Attestation, Commit, Reveal}
    assert {len(said) for said in by_slot.values()} == {1}
    promised = [line.split() for line in (tmp_path / "sent-promised").read_text().splitlines()]
    assert len(dict(promised)) == len({tuple(each) for each in promised}) < len(promised)


def test_places_of_evidence_are_for_urls(pool: FarPool) -> None:
    for place, subject in (("http://x.example", pool.directory), ("n1@ftp://x", pool.url)):
        said = cli("validate", subject, "--key", pool.key(0), "--evidence", place, "--json")
        assert (said.code, said.answer["error"]) == (2, "UsageError")
    nobody = pool.validate(0, "--once", "--evidence", "nobody@http://x.example")
    told = json.loads(nobody.communicate(timeout=60)[0])
    assert (nobody.returncode, told["error"], told["message"]) == (6, "UnknownIdError", "no such account")
