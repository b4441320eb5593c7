"""Balances, statements, exports, leaderboards, prices and signed quotes, as people ask for them."""

import csv
import io
import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cli_pools import Said, Stage, ask, cli
from creditledger.records.transfer import Quote
from creditledger.redemption.signed_quote import SignedQuote, decode_quote

MICRO = 1_000_000


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    """Alice has a captured hold and an open one, of 100 credits that were granted to her."""
    made = Stage(tmp_path_factory.mktemp("accounts"))
    captured = made.hold("captured")
    ask("capture", made.pool, captured, 1_500, "--key", made / "gpu.key")
    made.hold("open", seconds=100)
    return made


def rows_of(said: Said) -> list[dict[str, str]]:
    assert (said.code, said.err) == (0, "")
    return list(csv.DictReader(io.StringIO(said.out)))


def test_a_balance_says_what_is_held_and_until_when(stage: Stage) -> None:
    found = stage.balance("alice")
    assert found["balance_micro"] == 100 * MICRO - 15_000
    assert found["held_micro"] == sum(hold["held_micro"] for hold in found["holds"]) == 7 * MICRO - 15_000
    assert found["balance_micro"] == found["spendable_micro"] + found["held_micro"]
    opened, captured = found["holds"]
    assert opened["expires_unix_ms"] < captured["expires_unix_ms"]
    assert (captured["status"], captured["captured_micro"], captured["held_micro"]) == (
        "captured",
        15_000,
        6 * MICRO - 15_000,
    )
    assert (opened["status"], opened["class"], opened["gpus"], opened["job"]) == ("open", "cpu", 1, None)
    assert opened["queue"] == stage.balance("gpu")["account"]
    assert opened["expires_unix_ms"] > time.time() * 1_000
    assert found["gpu_hours"]["held"] == "~0.00194"
    assert (found["lots"], found["budgets"], found["delegations"], found["notices"]) == ([], [], [], [])


def test_a_balance_for_people_is_a_table_with_four_columns(stage: Stage) -> None:
    said = cli("balance", stage.pool, "alice")
    assert (said.code, said.err) == (0, "")
    for word in ("balance", "held", "unvested", "available", "99.985", "6.985", "93", "GPU-hours"):
        assert word in said.out
    assert "certified: yes" in said.out.splitlines()
    assert max(map(len, said.out.splitlines())) <= 80


def test_a_statement_says_why_and_against_whom(stage: Stage) -> None:
    lines = ask("statement", stage.pool, "alice")["lines"]
    capture = next(line for line in lines if line["kind"] == "capture")
    assert (capture["reason"], capture["counterpart_name"]) == ("capture 1500 gpu-ms", "gpu")
    assert capture["about"] == stage.balance("alice")["holds"][1]["hold"]
    assert capture["time"].startswith(
        str(datetime.fromtimestamp(capture["time_unix_ms"] / 1_000, UTC).date())
    )


def test_a_statement_of_some_days_begins_with_what_was_there(stage: Stage) -> None:
    """Yesterday has nothing, today everything; both ends are inclusive."""
    today = datetime.now(UTC).date()
    yesterday, tomorrow = today - timedelta(days=1), today + timedelta(days=1)
    whole = ask("statement", stage.pool, "alice")
    zero = {"available_micro": 0, "held_micro": 0, "unvested_micro": 0}
    assert whole["opening"] == zero
    assert whole["closing"]["available_micro"] == 93 * MICRO
    within = ask("statement", stage.pool, "alice", "--from", yesterday, "--to", tomorrow)
    assert within["lines"] == whole["lines"]
    before = ask("statement", stage.pool, "alice", "--to", yesterday)
    assert (before["lines"], before["closing"]) == ([], zero)
    after = ask("statement", stage.pool, "alice", "--from", tomorrow)
    assert (after["lines"], after["opening"], after["closing"]) == ([], whole["closing"], whole["closing"])


def test_formats_of_a_statement_say_the_same(stage: Stage, tmp_path: Path) -> None:
    lines = ask("statement", stage.pool, "alice")["lines"]
    by_line = cli("statement", stage.pool, "alice", "--format", "jsonl")
    assert [json.loads(line) for line in by_line.out.splitlines()] == lines
    rows = rows_of(cli("statement", stage.pool, "alice", "--format", "csv"))
    assert rows == [
        {name: "" if value is None else str(value) for name, value in row.items()} for row in lines
    ]
    for name in ("csv", "jsonl", "beancount"):
        path = tmp_path / name
        answer = ask("statement", stage.pool, "alice", "--format", name, "-o", path)
        assert (answer["count"], answer["file"], answer["format"]) == (len(lines), str(path), name)
        assert path.read_bytes() == cli("statement", stage.pool, "alice", "--format", name).out.encode()


def _cell(value: object) -> str:
    return "" if value is None else str(value)


def test_an_export_has_every_posting_and_each_transaction_sums_to_zero(stage: Stage, tmp_path: Path) -> None:
    said = cli("export", stage.pool, "--format", "jsonl")
    transactions = [json.loads(line) for line in said.out.splitlines()]
    assert transactions
    for found in transactions:
        assert sum(posting["amount_micro"] for posting in found["postings"]) == 0
        assert len(found["postings"]) > 1
    rows = rows_of(cli("export", stage.pool, "--format", "csv"))
    assert len(rows) == sum(len(found["postings"]) for found in transactions)
    for name in ("alice", "bob", "gpu", "n1"):
        for part in ("held", "available"):
            own = [row for row in rows if (row["name"], row["part"]) == (name, part)]
            moved = sum(int(row["amount_micro"]) for row in own)
            assert moved == stage.balance(name)[f"{part}_micro"]
    status = ask("status", stage.pool)
    system = {
        part: sum(int(row["amount_micro"]) for row in rows if (row["account"], row["part"]) == ("", part))
        for part in ("grants", "burned")
    }
    assert system == {"grants": -status["granted_micro"], "burned": status["burned_micro"]}
    answer = ask("export", stage.pool, "--format", "beancount", "-o", tmp_path / "ledger.beancount")
    assert answer["count"] == len(transactions)


@pytest.mark.parametrize("arguments", [["export"], ["statement", "alice"]])
def test_beancount_finds_nothing_wrong(stage: Stage, tmp_path: Path, arguments: list[str]) -> None:
    check = pytest.importorskip("beancount.loader", reason="beancount is not installed")
    path = tmp_path / "pool.beancount"
    verb, *account = arguments
    ask(verb, stage.pool, *account, "--format", "beancount", "-o", path)
    entries, errors, _ = check.load_file(str(path))
    assert errors == []
    kinds = {type(entry).__name__ for entry in entries}
    assert kinds == {"Open", "Transaction", "Balance"}


def test_prices_are_listed_with_their_version(stage: Stage) -> None:
    found = ask("prices", stage.pool)
    assert found["sequence"] == 0
    assert found["prices"] == [
        {"class": "cpu", "micro_per_gpu_second": 10_000, "micro_per_gpu_hour": 36_000_000},
        {"class": "h100", "micro_per_gpu_second": MICRO, "micro_per_gpu_hour": 3_600 * MICRO},
    ]
    table = cli("prices", stage.pool).out
    assert "3600" in table
    assert f"parameters: {found['parameters']}" in table


def test_a_new_pool_prices_the_usual_classes(tmp_path: Path) -> None:
    ask("init", tmp_path / "pool", "--origin", "pool.example/prices")
    listed = {row["class"]: row["micro_per_gpu_second"] for row in ask("prices", tmp_path / "pool")["prices"]}
    assert listed["h100"] == MICRO
    assert {"b200", "h200", "a100-80g", "l4", "rtx-3090", "jetson-orin", "cpu"} < set(listed)
    slices = [listed[f"h100-mig-{size}g"] for size in (1, 2, 3, 4)]
    assert slices == sorted(slices)
    assert max(slices) < listed["h100"]


def quoted(stage: Stage, path: Path, *more: object) -> dict[str, object]:
    terms = ["--queue", "gpu", "--class", "cpu", "--gpus", 1, "--seconds", 10]
    return ask("quote", stage.pool, *terms, "-o", path, *more)


def test_a_quote_is_signed_where_the_queues_key_is(tmp_path: Path) -> None:
    """Given, or in the ledger's directory; without it the quote is as good for `hold`."""
    stage = Stage(tmp_path)
    bare, given, found = (stage / f"{name}.quote" for name in ("bare", "given", "found"))
    assert quoted(stage, bare)["signed"] is False
    assert isinstance(decode_quote(bare.read_bytes()), Quote)
    assert quoted(stage, given, "--key", stage / "gpu.key")["signed"] is True
    (stage.pool / "keys" / "gpu.key").write_bytes((stage / "gpu.key").read_bytes())
    assert quoted(stage, found)["signed"] is True
    for path in (bare, given, found):
        held = ask(
            "hold", stage.pool, path, "--key", stage / "alice.key", "-o", stage / f"{path.name}.voucher"
        )
        assert held["amount_micro"] == 100_000
    signed = decode_quote(found.read_bytes())
    assert isinstance(signed, SignedQuote)
    forged = SignedQuote(quote=signed.quote, signature=bytes(64))
    (stage / "forged.quote").write_bytes(forged.encode())
    said = cli(
        "hold", stage.pool, stage / "forged.quote", "--key", stage / "alice.key", "-o", stage / "v", "--json"
    )
    assert (said.code, said.answer["error"]) == (1, "SignatureError")
    assert not (stage / "v").exists()


def test_who_spends_is_told_when_little_is_left(tmp_path: Path) -> None:
    """In JSON as notices, and for people as a line on stderr, from `hold`, `order` and `balance`."""
    stage = Stage(tmp_path)
    ask("hold", stage.pool, stage.quote("q0"), "--key", stage / "alice.key", "-o", stage / "v0")
    assert stage.balance("alice")["notices"] == []
    budget = ["--limit", "20credits", "--days", 7, "--notice", "10credits"]
    ask("budget", stage.pool, *budget, "--key", stage / "alice.key")
    held = ask("hold", stage.pool, stage.quote("q1"), "--key", stage / "alice.key", "-o", stage / "v1")
    expected = [
        {"notice": "low-budget", "delegate": None, "left_micro": 8 * MICRO, "below_micro": 10 * MICRO}
    ]
    assert held["notices"] == stage.balance("alice")["notices"] == expected
    line = "low budget: 8credits left, notice at 10credits"
    assert line in cli("balance", stage.pool, "alice").err.splitlines()
    (stage / "plan").write_text("0:4 n1\n")
    order = ["--model", "tiny", "--plan", stage / "plan", "--positions", 256, "--max-price", 5]
    said = cli("order", stage.pool, *order, "--key", stage / "alice.key", "-o", stage / "job")
    assert (said.code, said.err.splitlines()) == (
        0,
        ["low budget: 7.999995credits left, notice at 10credits"],
    )


def test_a_delegate_is_told_of_its_own_budget(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    until = int(time.time() * 1_000) + 10**9
    alice = ["--key", stage / "alice.key"]
    ask("delegate", stage.pool, "bob", "--cap", "50credits", "--until", until, "--queue", "gpu", *alice)
    terms = ["--limit", "7credits", "--days", 1, "--notice", "2credits", "--for", "bob"]
    ask("budget", stage.pool, *terms, *alice)
    spent = ["--key", stage / "bob.key", "--for", "alice", "-o", stage / "v"]
    held = ask("hold", stage.pool, stage.quote(), *spent)
    bob = stage.balance("bob")["account"]
    assert held["notices"] == [
        {"notice": "low-budget", "delegate": bob, "left_micro": MICRO, "below_micro": 2 * MICRO}
    ]
    found = stage.balance("alice")
    assert (found["holds"][0]["delegate"], found["delegations"][0]["used_micro"]) == (bob, 6 * MICRO)
    assert found["budgets"][0]["left_micro"] == MICRO
    table = cli("balance", stage.pool, "alice").out
    assert "delegations" in table
    assert "budgets" in table


def test_a_leaderboard_of_nobody_is_empty(stage: Stage) -> None:
    assert ask("leaderboard", stage.pool) == {"by": "node", "weeks": None, "rows": []}
    (queue,) = ask("leaderboard", stage.pool, "--by", "account")["rows"]
    assert (queue["name"], queue["role"], queue["verified_micro"]) == ("gpu", "queue", 0)
    assert queue["metered_micro"] == 14_850
    assert ask("leaderboard", stage.pool, "--by", "week")["rows"] == []
    assert len(ask("leaderboard", stage.pool, "--weeks", 3)["weeks"]) == 3
    ask("listing", stage.pool, "--off", "--key", stage / "gpu.key")
    assert ask("leaderboard", stage.pool, "--by", "account")["rows"] == []
