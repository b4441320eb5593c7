"""One of several processes that grab the same credits; told what to do by `faults/test_hold_races.py`."""

import json
import random
import sys
from pathlib import Path
from typing import Final

from crash_pools import hold_of_alice
from creditledger.errors import BusyError, InsufficientCreditError
from creditledger.ledger.writer import Acknowledgement, Outcome
from creditledger.records.entry import Submission
from creditledger.redemption.ledger_access import LedgerAccess
from ledger_pools import FixedClock, signed, signer

AMOUNT: Final = 1_000
BALANCES: Final = 100
"""Accounts that are raced for: each time that one is funded is a round."""
AT_ONCE_MAX: Final = 40
"""Rounds that one opening of the directory tries."""


def racer(number: int) -> str:
    """The account of a round."""
    return f"racer-{number % BALANCES}"


def hold(ledger_id: bytes, round_number: int, id: int) -> Submission:
    """All that one share of a round's balance pays."""
    name = racer(round_number)
    record = hold_of_alice().replace(
        id=id.to_bytes(16, "big"),
        holder=signer(name).public_key,
        amount_micro=AMOUNT,
        duration_ms=AMOUNT,
    )
    return signed(ledger_id, record, signer(name))


def try_rounds(access: LedgerAccess, numbers: list[int], first_id: int) -> list[Outcome]:
    """One hold for each round, in one turn at the directory."""
    while True:
        try:
            with access.writing() as ledger:
                return ledger.submit([hold(ledger.id, number, first_id + number) for number in numbers])
        except BusyError:
            continue


def main(pool: Path, process: int) -> None:
    """For each line ``first stop`` try a hold on every round's balance, in an order of our own."""
    chance = random.Random(process)
    access = LedgerAccess(pool, clock=FixedClock())
    for line in sys.stdin:
        left = list(range(*map(int, line.split())))
        chance.shuffle(left)
        won: list[int] = []
        while left:
            count = chance.randint(1, AT_ONCE_MAX)
            now, left = left[:count], left[count:]
            for number, outcome in zip(now, try_rounds(access, now, (process + 1) << 64), strict=True):
                if isinstance(outcome, Acknowledgement):
                    won.append(number)
                elif not isinstance(outcome, InsufficientCreditError):
                    raise outcome
        print(json.dumps(won), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
