"""specs/service.md §7: a ledger at a URL is used as one in a directory, and nothing of it is believed."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cli_pools import Stage, ask, cli, environment
from cli_pools import copy_of as copy_pool
from creditledger import Minter, Wallet
from creditledger.errors import (
    BusyError,
    ConflictError,
    InsufficientCreditError,
    PolicyError,
    SignatureError,
    TokenError,
)
from creditledger.ledger.opening import open_ledger
from creditledger.ledger.replica import Replica
from creditledger.ledger.writer import Acknowledgement
from creditledger.redemption.ledger_access import LedgerAccess
from creditledger.service.remote import record_client
from creditledger.service.remote.copies import copy_of
from ledger_pools import registration
from pool_processes import RunningPool, serving


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    return Stage(tmp_path_factory.mktemp("remote"))


@pytest.fixture(scope="module")
def pool(stage: Stage) -> Iterator[RunningPool]:
    with serving(stage.pool, "--interval", 1) as running:
        yield running


@pytest.fixture(autouse=True)
def home(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where this test's copies are, and the policy that ledgers at URLs are read under."""
    monkeypatch.setenv("XDG_STATE_HOME", str(stage / "state"))
    monkeypatch.setenv("CREDITLEDGER_POLICY", str(stage.policy))
    return stage / "state"


READERS: list[list[object]] = [
    ["status"],
    ["balance", "alice"],
    ["statement", "alice"],
    ["prices"],
    ["standing"],
    ["leaderboard"],
]


@pytest.mark.parametrize("words", READERS, ids=lambda words: str(words[0]))
def test_a_verb_reads_the_same_from_a_url_as_from_the_directory(
    stage: Stage, pool: RunningPool, words: list[object]
) -> None:
    verb, *more = words
    remote: Any = ask(verb, pool.url, *more)
    local: Any = ask(verb, stage.pool, *more)
    assert remote == local


def test_what_is_written_through_a_url_is_in_the_ledger(stage: Stage, pool: RunningPool) -> None:
    ask("key", "new", stage / "carl.key")
    made = ask("register", pool.url, "carl", "--key", stage / "carl.key")
    assert made["status"] == "certified"
    paid = ask("transfer", pool.url, "carl", "3credits", "--key", stage / "alice.key")
    assert ask("balance", stage.pool, "carl")["available_micro"] == 3_000_000
    again = ["transfer", pool.url, "carl", "3credits", "--key", stage / "alice.key", "--id", paid["id"]]
    assert ask(*again)["index"] == paid["index"]
    assert cli(*again[:3], "4credits", *again[4:]).code == ConflictError.exit_code
    poor = cli("transfer", pool.url, "alice", "1000credits", "--key", stage / "carl.key", "--json")
    assert (poor.code, poor.answer["error"]) == (6, InsufficientCreditError.__name__)
    assert ask("balance", pool.url, "carl") == ask("balance", stage.pool, "carl")


def test_the_operator_signs_where_its_key_is(
    stage: Stage, pool: RunningPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["grant", pool.url, "bob", "2credits", "--reason", "gift"]
    assert cli(*words).code == 6
    monkeypatch.setenv("CREDITLEDGER_OPERATOR_KEY", str(stage.pool / "keys" / "operator.key"))
    before = ask("balance", stage.pool, "bob")["available_micro"]
    assert ask(*words)["status"] == "certified"
    assert ask("balance", stage.pool, "bob")["available_micro"] == before + 2_000_000


def test_a_voucher_is_bought_and_its_job_run_over_the_network(stage: Stage, pool: RunningPool) -> None:
    quote, voucher = stage / "far quote", stage / "far voucher"
    asked = ["--queue", "gpu", "--class", "cpu", "--gpus", 1, "--seconds", 60]
    ask("quote", pool.url, *asked, "-o", quote)
    held = ask("hold", pool.url, quote, "--key", stage / "alice.key", "-o", voucher)
    assert voucher.exists()
    ran = ["--queue", "local", "--key", stage / "gpu.key", "--voucher", voucher, "--", "true"]
    done = cli("run", pool.url, "--json", *ran).answer
    assert (done["hold"], done["exit_code"], done["settled"]) == (held["hold"], 0, True)
    assert ask("balance", stage.pool, "gpu")["metered_micro"] > 0


def test_what_only_a_directory_has_is_refused_in_one_line(stage: Stage, pool: RunningPool) -> None:
    for words in (["fsck"], ["forget"], ["token", "list"]):
        said = cli(*words, pool.url)
        assert (said.code, len(said.err.splitlines())) == (2, 1), words
        assert "directory" in said.err
        assert cli(*words, stage.pool).code in (0, 3), words


def counted(fold: Callable[..., Any], folded: list[int]) -> Callable[..., Any]:
    """The same, noting each index."""

    def noting(replica: Replica, *arguments: Any) -> Any:
        folded.append(replica.size)
        return fold(replica, *arguments)

    return noting


def test_a_second_reading_folds_only_what_is_new(
    stage: Stage, pool: RunningPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = copy_of(pool.url)
    with open_ledger(pool.url, read_only=True) as first:
        size = first.size
    folded: list[int] = []
    monkeypatch.setattr(Replica, "_fold", counted(Replica._fold, folded))
    ask("transfer", pool.url, "bob", "1credits", "--key", stage / "alice.key")
    with open_ledger(folder, read_only=True) as second, open_ledger(pool.url, read_only=True) as again:
        assert again is second
        assert second.size > size
        assert folded == list(range(size, second.size))
    second.close()
    with open_ledger(folder, read_only=True) as third:
        assert third is not second


def test_a_damaged_copy_is_made_anew_and_what_lies_beside_it_stays(stage: Stage, pool: RunningPool) -> None:
    folder = copy_of(pool.url)
    before = ask("status", pool.url)
    started = folder / "queues" / "mine"
    started.parent.mkdir(exist_ok=True)
    started.write_text("jobs that were started")
    data = folder / "store" / "data.mdb"
    data.write_bytes(data.read_bytes()[: 3 * 4096])
    assert ask("status", pool.url)["size"] >= before["size"]
    assert started.read_text() == "jobs that were started"


def test_python_takes_a_url_as_it_takes_a_directory(stage: Stage, pool: RunningPool) -> None:
    wallet = Wallet(pool.url, key=stage / "alice.key")
    before = wallet.balance().available_micro
    bob = bytes.fromhex(ask("balance", stage.pool, "bob")["account"])
    wallet.transfer(bob, 5)
    assert wallet.balance().available_micro == before - 5
    minter = Minter(pool.url, key=stage / "n1.key", model=bytes(32))
    assert minter.node == bytes.fromhex(ask("balance", stage.pool, "n1")["account"])
    minter.close()


def test_a_group_is_answered_in_order(pool: RunningPool) -> None:
    with LedgerAccess(pool.url).writing() as ledger:
        good, twin = (registration(ledger.id, name) for name in ("dora", "emil"))
        taken = replace(twin, signature=bytes(64))
        first, refused, second = ledger.submit([good, taken, twin])
        assert isinstance(refused, SignatureError)
        assert isinstance(first, Acknowledgement)
        assert ledger.submit([good, twin]) == [first, second]


def test_without_a_policy_or_under_another_nothing_is_read(
    stage: Stage, pool: RunningPool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("CREDITLEDGER_POLICY")
    with pytest.raises(PolicyError):
        open_ledger(pool.url, read_only=True)
    assert cli("balance", pool.url, "alice").code == 2
    other = Stage(tmp_path)
    said = cli("balance", pool.url, "alice", "--policy", other.policy, "--json")
    assert said.code == 1
    assert ask("balance", pool.url, "alice", "--policy", stage.policy)["name"] == "alice"


def test_a_server_that_is_away_is_busy(stage: Stage, pool: RunningPool) -> None:
    with pytest.raises(BusyError):
        open_ledger("http://127.0.0.1:9", read_only=True)
    said = cli("balance", "http://127.0.0.1:9", "alice", "--json")
    assert (said.code, said.answer["error"]) == (3, "BusyError")


def test_who_is_invited_registers_at_the_service_and_who_asks_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "closed.toml").write_text('admission = "approval"\n')
    closed = tmp_path / "closed"
    ask("init", closed, "--origin", "pool.example/closed", "--parameters", tmp_path / "closed.toml")
    ask("invite", closed, "-o", tmp_path / "invitation")
    for name in ("gerd", "hanna", "ines"):
        ask("key", "new", tmp_path / f"{name}.key")
    monkeypatch.setenv("CREDITLEDGER_POLICY", str(closed / "policy"))
    with serving(closed, "--interval", 1) as running:
        invited = ["--key", tmp_path / "gerd.key", "--invite", tmp_path / "invitation"]
        assert ask("register", running.url, "gerd", *invited)["status"] == "certified"
        spent = ["--key", tmp_path / "hanna.key", "--invite", tmp_path / "invitation"]
        assert cli("register", running.url, "hanna", *spent).code == TokenError.exit_code
        waiting = ["register", running.url, "ines", "--key", tmp_path / "ines.key"]
        assert cli(*waiting).code == BusyError.exit_code
        ask("admit", closed, ask("key", "show", tmp_path / "ines.key")["public"])
        made = ask(*waiting)
        assert made["name"] == ask("balance", running.url, "ines")["name"]
        monkeypatch.setenv("CREDITLEDGER_OPERATOR_KEY", str(closed / "keys" / "operator.key"))
        assert ask("register", running.url, "hanna", "--key", tmp_path / "hanna.key")["name"] == "hanna"


def test_a_node_goes_on_with_what_it_last_saw_while_the_service_is_away(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its terms are at hand, its batches wait; a wallet is told."""
    pool = tmp_path / "pool"
    copy_pool(stage.pool, pool)
    monkeypatch.setattr(record_client, "PATIENCE_SECONDS", 0.2)
    with serving(pool) as running:
        first = Minter(running.url, key=stage / "n1.key", model=bytes(32))
        first.close()
        with pytest.raises(BusyError):
            Minter("http://127.0.0.1:9", key=stage / "n1.key", model=bytes(32))
    again = Minter(running.url, key=stage / "n1.key", model=bytes(32), outbox=tmp_path / "outbox")
    assert again.node == first.node
    again.close()
    with pytest.raises(BusyError):
        Wallet(running.url, key=stage / "alice.key")


def test_many_processes_make_one_copy(
    stage: Stage, pool: RunningPool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "new"))
    command = [sys.executable, "-m", "creditledger", "balance", pool.url, "alice", "--json"]
    running = [
        subprocess.Popen(command, env=environment() | dict(os.environ), stdout=subprocess.PIPE)
        for _ in range(4)
    ]
    told = [process.communicate(timeout=60)[0] for process in running]
    assert [process.returncode for process in running] == [0] * 4
    assert len(set(told)) == 1
    assert len(list((tmp_path / "new" / "creditledger" / "copies").glob("*[0-9a-f]"))) == 1
