"""`creditledger witness` as a process: the protocol over HTTP, and what survives kill, race and full disk."""

import contextlib
import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from cli_pools import ask, cli, environment, process
from creditledger.errors import ConsistencyProofError, PolicyError, SignatureError
from creditledger.service.witness_client import HttpCosigner, cosigners_of
from creditledger.transparency.checkpoint import parse_checkpoint
from creditledger.transparency.cosignature import note_verifier
from creditledger.transparency.note import VerifierKey, add_signatures, open_note, parse_verifier_key
from creditledger.transparency.quorum import PolicyLog, PolicyWitness, WitnessGroup
from creditledger.transparency.trust_policy import TrustPolicy
from creditledger.transparency.witness import StaleSizeError
from fakes.small_log import SmallLog
from witness_processes import RunningWitness, race, running

LOG = SmallLog()
FORK = LOG.forked(5)
TEXT, SIZE = "text/plain; charset=utf-8", "text/x.tlog.size"
ROUNDS = int(os.environ.get("CREDITLEDGER_WITNESS_ROUNDS", "8"))


@pytest.fixture
def witness(tmp_path: Path) -> Iterator[RunningWitness]:
    with running(tmp_path / "w", "--name", "witness.example/w", "--log", LOG.vkey) as started:
        yield started


def trust(log: SmallLog, *witnesses: RunningWitness, threshold: int) -> TrustPolicy:
    """A policy that asks for so many of the witnesses."""
    named = tuple(
        PolicyWitness(name=f"w{index}", vkey=witness.vkey, url=witness.url)
        for index, witness in enumerate(witnesses)
    )
    group = WitnessGroup(name="all", threshold=threshold, members=tuple(one.name for one in named))
    return TrustPolicy(logs=(PolicyLog(vkey=log.vkey),), witnesses=named, groups=(group,), quorum="all")


def test_each_refusal_beside_its_acceptance(witness: RunningWitness) -> None:
    """specs/log.md §9, status by status."""
    add = witness.add
    strange, other = SmallLog(key="stranger"), SmallLog(origin="log.example/other")
    assert add(LOG.body(1, 3)) == (409, b"0\n")
    assert add(replace(LOG.request(0, 3), proof=(bytes(32),)).encode())[0] == 422
    assert add(LOG.body(0, 3))[0] == 200
    assert add(LOG.body(3, 3))[0] == 200
    assert add(LOG.body(0, 3)) == (409, b"3\n")
    assert add(other.body(0, 3))[0] == 404
    assert add(strange.body(3, 7))[0] == 403
    assert add(replace(LOG.request(3, 7), old_size=8).encode())[0] == 400
    assert add(LOG.body(3, 7)[:-1])[0] == 400
    assert add(LOG.body(3, 7).replace(b"old 3", b"old 03"))[0] == 400
    assert add(LOG.forked(2).body(3, 7))[0] == 422
    assert add(LOG.forked(2).body(3, 3))[0] == 422
    assert add(LOG.forked(2).body(2, 3)) == (409, b"3\n")
    assert add(replace(LOG.request(3, 7), proof=()).encode())[0] == 422
    assert add(LOG.body(3, 7))[0] == 200


def test_a_size_has_its_own_type_and_a_wrong_door_is_named(witness: RunningWitness) -> None:
    client, url = witness._client, f"{witness.url}/add-checkpoint"
    stale = client.post(url, content=LOG.body(1, 3))
    assert (stale.status_code, stale.headers["content-type"], stale.content) == (409, SIZE, b"0\n")
    refused = client.post(url, content=b"nonsense")
    assert (refused.status_code, refused.headers["content-type"]) == (400, TEXT)
    assert (client.get(url).status_code, client.get(url).headers["allow"]) == (405, "POST")
    assert client.post(f"{witness.url}/{LOG.digest}/checkpoint").status_code == 405
    for path in ("", "add-checkpoint/", "x", "x/add-checkpoint", f"{LOG.digest}/", f"{LOG.digest}/x"):
        assert client.post(f"{witness.url}/{path}", content=LOG.body(0, 3)).status_code == 404


def test_the_note_cosigned_last_is_shown(witness: RunningWitness) -> None:
    path = f"{LOG.digest}/checkpoint"
    assert witness.get(path).status_code == 404
    _, lines = witness.add(LOG.body(0, 3))
    shown = witness.get(path)
    assert (shown.status_code, shown.headers["content-type"]) == (200, TEXT)
    assert shown.content == LOG.note(3) + lines
    assert trust(LOG, witness, threshold=1).verify_checkpoint(shown.content).checkpoint == LOG.head(3)
    assert witness.add(LOG.forked(1).body(3, 4))[0] == 422
    assert witness.get(path).content == shown.content
    for wrong in (LOG.digest.upper(), LOG.digest[:-1], LOG.digest + "0", "%2e%2e", "0" * 64):
        assert witness.get(f"{wrong}/checkpoint").status_code == 404


@pytest.mark.parametrize("file", ["litewitness.txt", "sumdb.txt"])
def test_published_request_sequences_over_http(vectors: Path, tmp_path: Path, file: str) -> None:
    """The answers of another witness, request by request, except for what its protocol said otherwise:

    an unknown origin was a 403 then, and one of its signatures has a last base64 digit that says nothing:
    to us a second spelling (400). With a digit before changed, it is a 403."""
    published = json.loads((vectors / "litewitness-add-checkpoint/sequence.json").read_text())
    log = next(entry for entry in published["logs"] if entry["for_file"] == file)
    key = bytes.fromhex(log.get("pubkey_hex", ""))
    vkey = (
        parse_verifier_key(log["vkey"])
        if "vkey" in log
        else VerifierKey(name=log["origin"], key_type=1, public_key=key)
    )
    requests = [request for request in published["sequence"] if request["file"] == file]
    assert requests
    with running(tmp_path / "w", "--name", published["witness_name"]) as made:
        made.end()
    lists = f"logs/v0\nvkey {vkey}\norigin {log['origin']}\nqpd 100\ncontact x\n"
    (tmp_path / "w" / "logs").write_text(lists)
    with running(tmp_path / "w") as witness:
        for request in requests:
            status, content = witness.add(request["request_body"].replace("6gx=\n", "6ko=\n").encode())
            expected = 404 if "unknown log" in request["asserts"] else request["status"]
            assert (status, request["asserts"]) == (expected, request["asserts"])
            if status == 200:
                assert content.decode().startswith(f"\N{EM DASH} {published['witness_name']} ")
            if status == 409:
                assert request["asserts"] == f'body == "{content.decode()[:-1]}\\n"'


def test_the_client_gets_what_the_policy_accepts(tmp_path: Path) -> None:
    """Both keys of a witness, by two lines of a policy with one URL."""
    with running(tmp_path / "w", "--log", LOG.vkey, "--ml-dsa") as witness:
        second = parse_verifier_key(witness.said["ml_dsa_vkey"])
        policy = trust(LOG, witness, threshold=1)
        both = replace(
            policy,
            witnesses=(*policy.witnesses, PolicyWitness(name="pq", vkey=second, url=witness.url)),
            groups=(WitnessGroup(name="all", threshold=2, members=("w0", "pq")),),
        )
        ours, post_quantum = cosigners_of(both)
        line = ours.cosign(LOG.request(0, 5))
        with pytest.raises(StaleSizeError) as refusal:
            post_quantum.cosign(LOG.request(0, 5))
        other = post_quantum.cosign(LOG.request(refusal.value.stored_size, 5))
        note = add_signatures(LOG.note(5), [line, other])
        assert both.verify_checkpoint(note, only_known=True).checkpoint == LOG.head(5)
        with pytest.raises(PolicyError):
            both.verify_checkpoint(add_signatures(LOG.note(5), [line]))
        with pytest.raises(ConsistencyProofError):
            ours.cosign(LOG.forked(4).request(5, 5))
        with pytest.raises(SignatureError):
            ours.cosign(SmallLog(key="stranger").request(5, 6))


def test_other_readers_take_the_note_that_is_shown(tmp_path: Path) -> None:
    tlog = pytest.importorskip("tlog_scales.tlog", reason="tlog-scales is not installed: see the test extra")
    from cryptography.exceptions import InvalidSignature
    from tlog_scales.signing import Vkey

    with running(tmp_path / "w", "--log", LOG.vkey, "--ml-dsa") as witness:
        assert witness.add(LOG.body(0, 5))[0] == 200
        note = tlog.Checkpoint.from_text(witness.get(f"{LOG.digest}/checkpoint").content.decode())
        for vkey in (str(LOG.vkey), witness.said["vkey"], witness.said["ml_dsa_vkey"]):
            note.verify(Vkey.from_string(vkey))
            larger = tlog.Checkpoint(note.origin, note.size + 1, note.root_hash, note.signatures)
            with pytest.raises(InvalidSignature):
                larger.verify(Vkey.from_string(vkey))


KILLED = """
import os, signal
from creditledger.transparency.witness import Witness
rules = Witness.add_checkpoint
def killed(self, *arguments, **named):
    if "{when}" == "after":
        rules(self, *arguments, **named)
    os.kill(os.getpid(), signal.SIGKILL)
Witness.add_checkpoint = killed
"""


@pytest.mark.parametrize(("when", "kept"), [("after", 7), ("before", 3)])
def test_what_was_kept_before_a_kill_is_cosigned_again(tmp_path: Path, when: str, kept: int) -> None:
    """State before answer: the answer is lost, the log repeats and gets it; a fork gets nothing."""
    with running(tmp_path / "w", "--log", LOG.vkey) as witness:
        assert witness.add(LOG.body(0, 3))[0] == 200
        witness.end(signal.SIGKILL)
    with running(tmp_path / "w", program=KILLED.format(when=when)) as witness:
        with contextlib.suppress(Exception):
            assert witness.add(LOG.body(3, 7)) is None
        assert witness.ended()[0] == -signal.SIGKILL
    with running(tmp_path / "w") as witness:
        fork = LOG.forked(3)
        assert witness.add(LOG.body(0, 7)) == (409, b"%d\n" % kept)
        if kept == 7:
            assert witness.add(fork.body(3, 7)) == (409, b"7\n")
        assert witness.add(LOG.body(kept, 7))[0] == 200
        assert witness.add(fork.body(7, 7))[0] == 422
        assert witness.end() == (0, "")


def test_many_at_once_over_http(witness: RunningWitness) -> None:
    """Threat L9 over real connections; its negative control is with the desk's tests."""
    assert race(witness.add, SmallLog(leaves=()), rounds=ROUNDS) == []


def test_two_forks_behind_one_key_and_three_witnesses(tmp_path: Path) -> None:
    """Threat L8: at most one fork gets two of three; the first witness that both meet refuses the second.

    What two witnesses show is then proof against the log, offline."""
    with contextlib.ExitStack() as stack:
        three = [stack.enter_context(running(tmp_path / f"w{n}", "--log", LOG.vkey)) for n in range(3)]
        policy = trust(LOG, *three, threshold=2)
        first, second, third = cosigners_of(policy)
        lines = [first.cosign(LOG.request(0, 9)), third.cosign(LOG.request(0, 9))]
        forked = [second.cosign(FORK.request(0, 9))]
        for cosigner, log in ((first, FORK), (second, LOG), (third, FORK)):
            for request in (log.request(9, 9), log.request(9, 12), log.request(9, 10)):
                with pytest.raises(ConsistencyProofError):
                    cosigner.cosign(request)
            with pytest.raises(StaleSizeError):
                cosigner.cosign(log.request(0, 12))
        assert policy.verify_checkpoint(add_signatures(LOG.note(9), lines)).checkpoint == LOG.head(9)
        with pytest.raises(PolicyError):
            policy.verify_checkpoint(add_signatures(FORK.note(9), forked))
        shown = [witness.get(f"{LOG.digest}/checkpoint").content for witness in three]
    heads = [parse_checkpoint(open_note(note, [note_verifier(LOG.vkey)])[0]) for note in shown]
    assert {head.size for head in heads} == {9}
    assert {head.root for head in heads} == {LOG.head(9).root, FORK.head(9).root}


def test_a_full_disk_ends_the_witness_and_changes_nothing(tmp_path: Path) -> None:
    with running(tmp_path / "w", "--log", LOG.vkey) as witness:
        assert witness.add(LOG.body(0, 3))[0] == 200
        resource.prlimit(witness.process.pid, resource.RLIMIT_FSIZE, (8_192, 8_192))
        status, content = witness.add(LOG.body(3, 7))
        assert (status, b"\xe2\x80\x94" in content) == (507, False)
        code, said = witness.ended()
        assert (code, json.loads(said)["error"]) == (5, "StorageError")
    with running(tmp_path / "w") as witness:
        assert witness.add(LOG.body(0, 7)) == (409, b"3\n")
        assert witness.add(LOG.body(3, 7))[0] == 200


def test_one_directory_one_process_one_name(witness: RunningWitness) -> None:
    directory = witness.said["directory"]
    said = process("witness", directory, "--listen", "127.0.0.1:0", "--json")
    assert (said.code, said.answer["error"], said.err) == (3, "BusyError", "")
    said = process("witness", directory, "--listen", witness.said["address"])
    assert (said.code, said.out, len(said.err.splitlines())) == (3, "", 1)
    assert witness.add(LOG.body(0, 3))[0] == 200
    assert witness.end() == (0, "")
    said = process("witness", directory, "--listen", "127.0.0.1:0", "--name", "witness.example/v")
    assert (said.code, len(said.err.splitlines())) == (6, 1)
    with running(Path(directory), "--name", "witness.example/w", "--log", LOG.vkey) as again:
        assert (again.vkey, again.said["logs"]) == (witness.vkey, 1)


def test_it_ends_as_it_is_told(tmp_path: Path) -> None:
    """And answers first what was asked."""
    with running(tmp_path / "w", "--log", LOG.vkey) as witness:
        host, port = witness.said["address"].split(":")
        body = LOG.body(0, 3)
        with socket.create_connection((host, int(port)), timeout=30) as connection:
            connection.sendall(
                b"POST /add-checkpoint HTTP/1.1\r\nhost: w\r\ncontent-length: %d\r\n\r\n" % len(body)
            )
            connection.sendall(body[:9])
            assert witness.get("x").status_code == 404  # so it has read what came before
            witness.process.send_signal(signal.SIGTERM)
            connection.sendall(body[9:])
            assert connection.recv(65_536).startswith(b"HTTP/1.1 200 ")
        assert witness.ended() == (0, "")
    with running(tmp_path / "w") as witness:
        code, said = witness.end(signal.SIGINT)
        assert (code, json.loads(said)["error"]) == (130, "Interrupted")


def test_the_first_start_makes_a_witness_and_says_where_it_listens(tmp_path: Path) -> None:
    read, write = os.pipe()
    arguments = ["witness", tmp_path / "wit", "--listen", "127.0.0.1:0", "--ready-fd", write]
    started = subprocess.Popen(
        [sys.executable, "-m", "creditledger", *map(str, arguments)],
        stdout=subprocess.PIPE,
        env=environment(),
        pass_fds=(write,),
    )
    os.close(write)
    with os.fdopen(read) as ready:
        address = ready.read()
    started.terminate()
    out, _ = started.communicate(timeout=60)
    assert started.returncode == 0
    said = dict(line.split(": ", 1) for line in out.decode().splitlines())
    assert address == said["address"] + "\n"
    assert re.fullmatch(r"127\.0\.0\.1:[1-9][0-9]*\n", address)
    assert said["name"] == "wit"
    assert said["logs"] == "0"
    assert parse_verifier_key(said["vkey"]).name == "wit"
    key = tmp_path / "wit" / "witness.key"
    assert key.stat().st_mode & 0o777 == 0o600
    assert ask("key", "show", key)["role"] == "witness"


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--listen", "nowhere"], 2),
        (["--listen", "127.0.0.1:65536"], 2),
        (["--listen", "::1:80"], 2),
        (["--listen", "203.0.113.7:0"], 2),
        (["--listen", "127.0.0.1:0", "--log", "no key"], 2),
        (["--listen", "127.0.0.1:0", "--log", "{cosigner}"], 2),
        (["--listen", "127.0.0.1:0", "--name", "a b"], 2),
        (["--listen", "127.0.0.1:0", "--ready-fd", "991"], 2),
        (["--listen", "{busy}"], 3),
        ([], 2),
    ],
)
def test_bad_arguments_make_nothing(tmp_path: Path, arguments: list[str], code: int) -> None:
    cosigner = VerifierKey(name="w", key_type=4, public_key=LOG.vkey.public_key)
    with socket.create_server(("127.0.0.1", 0)) as busy:
        words = {"busy": f"127.0.0.1:{busy.getsockname()[1]}", "cosigner": cosigner}
        said = cli("witness", tmp_path / "w", *(word.format(**words) for word in arguments))
    assert (said.code, said.out, len(said.err.splitlines())) == (code, "", 1), said
    assert list(tmp_path.iterdir()) == []


def test_a_ledger_is_no_place_for_a_witness(tmp_path: Path) -> None:
    ask("init", tmp_path / "pool", "--origin", "pool.example/w")
    before = sorted(tmp_path.rglob("*"))
    said = cli("witness", tmp_path / "pool", "--listen", "127.0.0.1:0")
    assert (said.code, said.out, len(said.err.splitlines())) == (5, "", 1)
    assert sorted(tmp_path.rglob("*")) == before


def test_without_the_extra_one_line_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    said = cli("witness", tmp_path / "w", "--listen", "127.0.0.1:0")
    assert (said.code, said.out, len(said.err.splitlines())) == (5, "", 1)
    assert "pip install 'creditledger[service]'" in said.err
    assert list(tmp_path.iterdir()) == []


def test_a_pool_is_published_under_a_witness_of_somebody_else(tmp_path: Path) -> None:
    """And not published, but logged all the same, while its quorum is away."""
    pool = tmp_path / "pool"
    ask("init", pool, "--origin", "pool.example/w")
    policy = TrustPolicy.load(pool / "policy")
    with running(tmp_path / "w", "--log", policy.logs[0].vkey) as witness:
        line = f"witness far {witness.vkey} {witness.url}\ngroup both all local far\nquorum both\n"
        asked = (pool / "policy").read_text().replace("quorum local\n", line, 1)
        (pool / "policy").write_text(asked)
        note = ask("checkpoint", pool)["note"].encode()
        text, signatures = open_note(note, [note_verifier(witness.vkey)])
        assert (len(signatures), parse_checkpoint(text).size) == (1, ask("status", pool)["size"])
        assert TrustPolicy.load(pool / "policy").verify_checkpoint(note)
        witness.end()
    before = (pool / "public" / "checkpoint").read_bytes()
    ask("key", "new", tmp_path / "c.key")
    said = cli("register", pool, "carol", "--key", tmp_path / "c.key", "--json")
    assert (said.code, said.answer["status"]) == (0, "pending")
    assert (pool / "public" / "checkpoint").read_bytes() == before


def test_a_publisher_can_ask_a_witness_that_is_gone(tmp_path: Path) -> None:
    from creditledger.errors import BusyError

    with running(tmp_path / "w", "--log", LOG.vkey) as witness:
        cosigner = HttpCosigner("w", witness.vkey, witness.url)
        cosigner.cosign(LOG.request(0, 3))
        witness.end()
    with pytest.raises(BusyError):
        cosigner.cosign(LOG.request(3, 5))
