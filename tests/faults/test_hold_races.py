"""Everybody grabs the same credits at once: exactly those holds win that the balance can pay. Threat H1."""

import json
import os
import shutil
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import pytest

import racing_wallet
from cli_pools import environment
from crash_pools import in_memory
from creditledger.credits import reading
from creditledger.credits.account import check_invariant
from creditledger.credits.fold import TransparencyVerifier
from creditledger.credits.state import StateView
from creditledger.errors import InsufficientCreditError
from creditledger.ledger.audit import audit
from creditledger.ledger.directory import LedgerDirectory
from creditledger.ledger.head import HeadFile
from creditledger.ledger.ledger import Ledger
from creditledger.ledger.lmdb_store import LmdbStore
from creditledger.ledger.memory_store import MemoryStore
from creditledger.ledger.operator_keys import OperatorSigners
from creditledger.ledger.stored_log import StoredLog, state_of
from creditledger.ledger.writer import Acknowledgement, Outcome, Writer
from creditledger.records.entry import Submission
from creditledger.records.parameters import HardwarePrice
from creditledger.records.registration import Role
from creditledger.records.state import AccountState
from creditledger.records.transfer import Transfer
from ledger_pools import OPERATOR, START_MS, FixedClock, found, grant, registration, signed, signer
from racing_wallet import AMOUNT, BALANCES, hold, racer

ROUNDS: Final = int(os.environ.get("CREDITLEDGER_RACE_ROUNDS", "12"))
"""The long tier sets 10,000."""
THREADS: Final = 64
PROCESSES: Final = 8
AFFORDABLE: Final = (1, 1, 2, 5)
FUNDS: Final = 10**12

Submit = Callable[[Sequence[Submission]], Sequence[Outcome]]


def fund(ledger_id: bytes, name: str, amount: int, number: int) -> Submission:
    record = Transfer(
        id=number.to_bytes(16, "big"),
        payer=signer("bank").public_key,
        payee=signer(name).public_key,
        amount_micro=amount,
    )
    return signed(ledger_id, record, signer("bank"))


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[Path]:
    """A bank, a queue and those who race, in memory."""
    folder = in_memory(tmp_path)
    hardware = HardwarePrice(name="gpu", micro_per_gpu_second=1_000)
    with found(folder / "pool", hardware=(hardware,)) as ledger:
        names = [racer(number) for number in range(BALANCES)]
        papers = [registration(ledger.id, "queue", Role.QUEUE)]
        papers += [registration(ledger.id, name) for name in ("bank", *names)]
        outcomes = ledger.submit([*papers, grant(ledger.id, "bank", FUNDS)])
        assert all(isinstance(outcome, Acknowledgement) for outcome in outcomes)
        ledger.complete_round()
    yield folder / "pool"
    shutil.rmtree(folder)


class Race:
    """As many threads as there are, each with one hold of its own in each round."""

    def __init__(self, submit: Submit, account_of: Callable[[str], AccountState], ledger_id: bytes) -> None:
        self._submit, self._account_of, self._ledger_id = submit, account_of, ledger_id
        self._gate = threading.Barrier(THREADS + 1, timeout=60)
        self._outcomes: dict[int, Outcome | BaseException] = {}
        self._round = 0

    def run(self, rounds: int) -> int:
        """How many holds won."""
        threads = [threading.Thread(target=self._race, args=(n, rounds), daemon=True) for n in range(THREADS)]
        for thread in threads:
            thread.start()
        won = sum(map(self._one_round, range(rounds)))
        for thread in threads:
            thread.join()
        return won

    def _one_round(self, number: int) -> int:
        affordable, name = AFFORDABLE[number % len(AFFORDABLE)], racer(number)
        self._round, self._outcomes, before = number, {}, self._account_of(name)
        (funded,) = self._submit([fund(self._ledger_id, name, affordable * AMOUNT, number)])
        assert isinstance(funded, Acknowledgement)
        self._gate.wait()
        self._gate.wait()
        won = [outcome for outcome in self._outcomes.values() if isinstance(outcome, Acknowledgement)]
        lost = [
            outcome for outcome in self._outcomes.values() if isinstance(outcome, InsufficientCreditError)
        ]
        assert (len(won), len(lost)) == (affordable, THREADS - affordable), self._outcomes
        assert len({outcome.index for outcome in won}) == affordable
        expected = before.replace(available_micro=0, held_micro=before.held_micro + affordable * AMOUNT)
        assert self._account_of(name) == expected
        return affordable

    def _race(self, thread: int, rounds: int) -> None:
        for _ in range(rounds):
            self._gate.wait()
            number = self._round
            paper = hold(self._ledger_id, number, number * THREADS + thread)
            try:
                (self._outcomes[thread],) = self._submit([paper])
            except BaseException as error:
                self._outcomes[thread] = error
            self._gate.wait()


def account_in(state: StateView, name: str) -> AccountState:
    found = reading.account_state(state, signer(name).public_key)
    assert found is not None
    return found


def test_64_threads_at_one_ledger_win_exactly_what_is_affordable(
    pool: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Ledger.open(pool, clock=FixedClock()) as ledger:

        def account_of(name: str) -> AccountState:
            with ledger.read() as state:
                return account_in(state, name)

        won = Race(ledger.submit, account_of, ledger.id).run(ROUNDS)
    require_conserved(pool)
    tell(capsys, f"LMDB, {THREADS} threads: {ROUNDS} rounds, {won} won, {ROUNDS * THREADS - won} refused")


def test_64_threads_at_one_memory_store_win_exactly_what_is_affordable(
    pool: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = MemoryStore()
    kept = LmdbStore(pool / "store", read_only=True)
    with kept.read() as old, store.write() as new:
        for key, value in old.scan(b""):
            new.put(key, value)
        genesis = StoredLog(old).genesis()
    kept.close()
    directory = LedgerDirectory(pool)
    writer = Writer(
        store,
        HeadFile(directory.head, origin=genesis.origin, operator=genesis.operator),
        directory.sealed,
        origin=genesis.origin,
        ledger_id=genesis.ledger_id,
        operator=OperatorSigners(OPERATOR.ed25519()),
        verifier=TransparencyVerifier(),
        clock=FixedClock(),
    )

    def account_of(name: str) -> AccountState:
        with store.read() as view:
            return account_in(state_of(view), name)

    won = Race(writer.submit, account_of, genesis.ledger_id).run(ROUNDS)
    with store.read() as view:
        check_invariant(state_of(view))
    tell(capsys, f"memory, {THREADS} threads: {ROUNDS} rounds, {won} won, {ROUNDS * THREADS - won} refused")


def test_8_processes_at_one_directory_win_exactly_what_is_affordable(
    pool: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each opens the directory in its turn, over and over, and tries some of the balances each time."""
    with Ledger.open(pool, read_only=True) as ledger:
        ledger_id = ledger.id
    processes = [
        subprocess.Popen(
            [sys.executable, racing_wallet.__file__, str(pool), str(number)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment(),
        )
        for number in range(PROCESSES)
    ]
    try:
        won = sum(race_once(pool, ledger_id, processes, first) for first in range(0, ROUNDS, BALANCES))
    finally:
        for process in processes:
            process.communicate(timeout=60)
    assert [process.returncode for process in processes] == [0] * PROCESSES
    require_conserved(pool)
    tell(
        capsys, f"LMDB, {PROCESSES} processes: {ROUNDS} rounds, {won} won, {ROUNDS * PROCESSES - won} refused"
    )


def race_once(pool: Path, ledger_id: bytes, processes: Sequence["subprocess.Popen[str]"], first: int) -> int:
    """Fund some balances and let every process try a hold on each; how many won."""
    rounds = range(first, min(first + BALANCES, ROUNDS))
    with Ledger.open(pool, clock=FixedClock()) as ledger:
        before = held_by(ledger, rounds)
        papers = [
            fund(ledger_id, racer(number), AFFORDABLE[number % len(AFFORDABLE)] * AMOUNT, number)
            for number in rounds
        ]
        assert all(isinstance(outcome, Acknowledgement) for outcome in ledger.submit(papers))
    for process in processes:
        assert process.stdin is not None
        print(rounds.start, rounds.stop, file=process.stdin, flush=True)
    winners: list[int] = []
    for process in processes:
        assert process.stdout is not None
        winners += json.loads(process.stdout.readline())
    expected = {number: AFFORDABLE[number % len(AFFORDABLE)] for number in rounds}
    assert Counter(winners) == expected
    with Ledger.open(pool, read_only=True) as ledger:
        after = held_by(ledger, rounds)
    assert after == {number: before[number] + expected[number] * AMOUNT for number in rounds}
    return len(winners)


def held_by(ledger: Ledger, rounds: range) -> dict[int, int]:
    """What is held on each round's balance; nothing is available there."""
    with ledger.read() as state:
        found = {number: account_in(state, racer(number)) for number in rounds}
    assert {(account.available_micro, account.overdrawn_micro) for account in found.values()} == {(0, 0)}
    return {number: account.held_micro for number, account in found.items()}


def require_conserved(pool: Path) -> None:
    """Nothing was made or lost, and a stranger who replays the published log agrees."""
    with Ledger.open(pool, clock=FixedClock()) as ledger:
        ledger.complete_round()
        with ledger.read() as state:
            check_invariant(state)
    report = audit(pool, now_unix_ms=START_MS)
    assert report.ok, report.problem


def tell(capsys: pytest.CaptureFixture[str], text: str) -> None:
    with capsys.disabled():
        print(f"\n{text}")
