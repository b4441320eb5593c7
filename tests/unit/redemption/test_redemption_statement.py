"""specs/redemption.md §8: what moved an account's credits, why, and against whom."""

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from creditledger.credits.levies import levy_shares
from creditledger.credits.postings import Part
from creditledger.errors import UnknownIdError
from creditledger.records.parameters import LevyUse
from creditledger.records.registration import Role
from creditledger.records.state import AccountState
from creditledger.redemption.beancount import beancount_account, ledger_in_beancount, statement_in_beancount
from creditledger.redemption.movements import movements
from creditledger.redemption.statement import StatementLine, statement
from fakes.pool import Pool, ed25519
from fakes.pool_ledger import ledger_of

NAMES = st.from_regex(r"[a-z0-9._-]{1,64}", fullmatch=True)


@pytest.fixture(scope="module")
def used() -> Pool:
    """A pool in which every kind of entry that moves credits was logged once."""
    pool = Pool(rule_set=4, vesting_rounds=1)
    papers, queue = pool.papers, pool.queue.public_key
    pool.fund(pool.client, 50_000_000)
    pool.submit(papers.credit_line(pool.other_node.public_key, 1_000))
    job = pool.order(pool.node, pool.other_node, max_price_micro=2_000_000)
    pool.deliver(pool.work(job, 600))
    pool.check_round(pool.run_round().number)
    pool.settle(job)
    pool.submit(papers.clawback(job.digest(pool.ledger_id), pool.node.public_key, 7))
    pool.submit(papers.slash(pool.other_node.public_key, 5))
    pool.run_round()
    pool.submit(papers.transfer(pool.node, pool.client.public_key, 1_000))
    hold = papers.voucher_hold(pool.client, queue, gpus=2)
    pool.submit(hold)
    capture = papers.capture(pool.queue, hold.record, 1_500)
    digest = pool.submit(capture)
    pool.submit(papers.release(pool.queue, hold.record.digest(pool.ledger_id)))
    pool.submit(papers.refund(pool.queue, digest, 500))
    pool.submit(papers.delegation(pool.client, pool.node.public_key, queue))
    late = papers.delegated_hold(pool.node, pool.client.public_key, queue)
    pool.submit(late)
    pool.now = late.record.expires_unix_ms + pool.parameters.grace_ms
    pool.submit(papers.expire(late.record.digest(pool.ledger_id)))
    pool.run_round()
    return pool


def lines_of(pool: Pool, name: str) -> list[StatementLine]:
    return statement(ledger_of(pool), ed25519(name).public_key)


def test_every_line_adds_up_to_the_balance(used: Pool) -> None:
    for name in ("client", "node", "other-node", "queue"):
        available = held = unvested = 0
        for line in lines_of(used, name):
            available, held = available + line.available_change, held + line.held_change
            unvested += line.unvested_change
            assert (line.available_after, line.balance.held_micro) == (available, held)
            assert line.balance.unvested_micro == unvested


def test_a_client_is_told_why_and_against_whom(used: Pool) -> None:
    told = [(line.reason.text, line.counterpart_name) for line in lines_of(used, "client")]
    assert told == [
        ("registration", None),
        ("grant allocation announced", None),
        ("round 1, grant allocation", None),
        ("hold for a job", None),
        ("settlement", None),
        ("round 3, clawback wrong-output", None),
        ("transfer", "node"),
        ("hold 2 cpu for 10000 ms", "queue"),
        ("capture 1500 gpu-ms", "queue"),
        ("release finished", "queue"),
        ("refund node-failure", "queue"),
        ("hold 1 cpu for 10000 ms by a delegate", "queue"),
        ("hold expired", "queue"),
    ]


def test_a_node_is_told_its_client_and_what_vested(used: Pool) -> None:
    told = [(line.reason.text, line.counterpart_name) for line in lines_of(used, "node")]
    assert told == [
        ("registration", None),
        ("settlement", "client"),
        ("clawback wrong-output announced", None),
        ("round 3, clawback wrong-output, 1 lots vested", None),
        ("transfer", "client"),
    ]
    (line,) = (
        line
        for line in lines_of(used, "other-node")
        if "slash" in line.reason.text and "round" in line.reason.text
    )
    assert line.available_change == -line.unvested_change - 5


def test_a_line_names_the_hold_job_or_capture_that_it_is_about(used: Pool) -> None:
    by_text = {line.reason.text: line for line in lines_of(used, "client")}
    held = by_text["hold 2 cpu for 10000 ms"].digest
    assert by_text["capture 1500 gpu-ms"].reason.about == held
    assert by_text["release finished"].reason.about == held
    assert by_text["refund node-failure"].reason.about == by_text["capture 1500 gpu-ms"].digest
    assert by_text["settlement"].reason.about == by_text["hold for a job"].reason.about


def test_a_replay_reads_the_log_a_few_entries_at_a_time(used: Pool) -> None:
    """Between two movements no snapshot is open: a slow reader does not hold up whoever writes."""
    ledger = ledger_of(used)
    seen = [ledger.open_snapshots for _ in movements(ledger)]
    assert seen == [0] * len(used.entries)
    assert ledger.taken > len(used.entries) // 16


def test_nobody_has_no_statement(used: Pool) -> None:
    with pytest.raises(UnknownIdError):
        lines_of(used, "nobody")


def test_every_reason_is_fit_for_any_file(used: Pool) -> None:
    for name in ("client", "node", "queue"):
        for line in lines_of(used, name):
            assert line.reason.text[0].isalpha()
            assert set(line.reason.text) <= set("abcdefghijklmnopqrstuvwxyz0123456789 ,._-")


def bean_check(path: Path, text: str) -> str:
    """What beancount says of a file; nothing where it holds."""
    pytest.importorskip("beancount", reason="beancount is not installed")
    path.write_text(text)
    program = "import sys; from beancount.scripts.check import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program, "--no-cache", str(path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode == 0) == (not done.stderr)
    return done.stderr


def test_beancount_finds_nothing_wrong_with_a_whole_ledger(used: Pool, tmp_path: Path) -> None:
    """Each transaction sums to zero, and what everybody has in the end is asserted to the micro-credit."""
    text = "".join(ledger_in_beancount(movements(ledger_of(used)), title="pool"))
    assert bean_check(tmp_path / "ledger.beancount", text) == ""
    asserted = [line for line in text.splitlines() if " balance " in line]
    assert {line.split()[2] for line in asserted} >= {
        "Assets:Client:Client:Available", "Assets:Client:Client:Held", "Assets:Node:Node:Unvested",
        "Assets:Queue:Queue:Available", "Equity:Grants", "Expenses:Burned",
    }  # fmt: skip
    assert bean_check(tmp_path / "moved.beancount", _by_one_micro(text, " balance ")) != ""
    assert bean_check(tmp_path / "made.beancount", _by_one_micro(text, "  Equity:Grants")) != ""


def _by_one_micro(text: str, mark: str) -> str:
    """The first amount after ``mark`` changed in its last digit."""
    before, found, after = text.partition(mark)
    place = after.index(".") + 6
    return before + found + after[:place] + str((int(after[place]) + 1) % 10) + after[place + 1 :]


@pytest.mark.parametrize("name", ["client", "node", "other-node", "queue"])
@pytest.mark.parametrize("skipped", [0, 3])
def test_beancount_finds_nothing_wrong_with_a_statement(
    used: Pool, tmp_path: Path, name: str, skipped: int
) -> None:
    lines = lines_of(used, name)
    before = lines[skipped - 1] if skipped else None
    text = "".join(statement_in_beancount(lines[skipped:], before=before, title="statement"))
    assert bean_check(tmp_path / "statement.beancount", text) == ""
    assert " balance " in text
    assert bean_check(tmp_path / "wrong.beancount", _by_one_micro(text, " balance ")) != ""


def test_the_levy_pool_has_an_account_that_no_name_takes(tmp_path: Path) -> None:
    """Levies go in by captures and settlements, and out again to who a validator named."""
    pool = Pool(rule_set=4, levy_use=LevyUse.VALIDATORS, levy_ppm=100_000)
    pool.fund(pool.client, 50_000_000)
    pool.submit(pool.papers.registration(ed25519("posing"), "levy-pool", Role.CLIENT))
    pool.submit(pool.papers.levy_payee(0, pool.other_node.public_key))
    hold = pool.papers.voucher_hold(pool.client, pool.queue.public_key)
    pool.submit(hold)
    pool.submit(pool.papers.capture(pool.queue, hold.record, 3_333))
    number = pool.run_round().number
    pool.submit(pool.papers.levy(number, levy_shares(pool.view, number)))
    line = lines_of(pool, "other-node")[-1]
    assert (line.reason.text, line.counterpart_name) == (f"levy of round {number}", "levy-pool")
    assert line.reason.counterpart != ed25519("posing").public_key
    text = "".join(ledger_in_beancount(movements(ledger_of(pool)), title="pool"))
    assert "Assets:Levy-Pool:Available  0.003333 CREDIT" in text
    assert bean_check(tmp_path / "levies.beancount", text) == ""


def account(name: str, role: int = 2) -> AccountState:
    zero = dict.fromkeys(
        ("available_micro", "overdrawn_micro", "held_micro", "unvested_micro", "credit_line_micro",
         "verified_micro", "metered_micro", "suspended"), 0
    )  # fmt: skip
    return AccountState(account=bytes(32), role=role, name=name, **zero)


@given(st.lists(NAMES, min_size=2, max_size=20, unique=True))
def test_no_two_names_share_a_beancount_account(names: list[str]) -> None:
    found = {beancount_account(account(name), part) for name in names for part in (Part.HELD, Part.AVAILABLE)}
    assert len(found) == 2 * len(names)


@given(NAMES)
def test_beancount_takes_every_name(name: str) -> None:
    parts = beancount_account(account(name), Part.HELD).split(":")
    assert parts[:2] == ["Assets", "Client"]
    assert parts[2][0].isupper() or parts[2][0].isdigit()
    assert all(character.isalnum() or character == "-" for character in parts[2])


def test_names_that_only_differ_in_what_beancount_lacks_stay_apart() -> None:
    names = ["a.b", "a_b", "a-b", "adb", "aub", ".ab", "xxdab", "_ab", "-ab", "9.b", "9db", "d.", "dd"]
    assert len({beancount_account(account(name), Part.HELD) for name in names}) == len(names)
