"""Ledgers with many entries and accounts, put there without the work of the rules, for benchmarks.

Such a ledger takes appends like any other; no audit would accept it."""

from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Final

from benchmarks.sample_logs import CHUNK, entry
from benchmarks.sample_payments import check_signatures
from creditledger.credits.pool import put_tip, tip_of
from creditledger.credits.state import MAP, State
from creditledger.ledger.ledger import Acknowledgement, Ledger
from creditledger.ledger.lmdb_store import LmdbStore
from creditledger.ledger.stored_log import StoredLog, state_of
from creditledger.records.entry import Submission
from creditledger.records.state import AccountState, account_key
from creditledger.records.transfer import Transfer
from ledger_pools import OPERATOR, WITNESS, FixedClock, found, grant, registration, signed, signer

GROUP: Final = 256
PAYER: Final = "payer-0"


def account(number: int) -> bytes:
    """An account of the crowd."""
    return sha256(b"account %d" % number).digest()


@contextmanager
def crowded(path: Path, size: int) -> Iterator[Ledger]:
    """A ledger with ``size`` more entries and ``size`` more accounts than it was founded with."""
    with found(path) as ledger:
        ledger.submit([registration(ledger.id, PAYER), grant(ledger.id, PAYER, 10**12)])
        ledger.complete_round()
        store_path = ledger.directory.store
    store = LmdbStore(store_path)
    for start in range(0, size, CHUNK):
        with store.write() as view:
            log, state = StoredLog(view), State(state_of(view))
            payer = state.entry(AccountState, account_key(signer(PAYER).public_key))
            if payer is None:
                raise ValueError("the payer is not registered")
            encoded, own = payer.encode(), payer.account
            for number in range(start, min(start + CHUNK, size)):
                log.append(entry(number))
                key = account(number)
                state.view.put(MAP + account_key(key), encoded.replace(own, key))
            log.seal()
            put_tip(state, tip_of(state).replace(size=log.size))
    store.close()
    with Ledger.open(
        path, operator=OPERATOR.ed25519(), witness=WITNESS.ed25519(), clock=FixedClock()
    ) as opened:
        yield opened


class Crowd:
    """Transfers to members of the crowd, each signed and checked before it is timed."""

    def __init__(self, ledger: Ledger, size: int, *, groups: int) -> None:
        self._ledger = ledger
        made = []
        for group in range(groups):
            numbers = range(group * GROUP, (group + 1) * GROUP)
            made.append([self._transfer(number, number * 7_919 % size) for number in numbers])
            check_signatures(ledger, made[-1])
        self._groups: Iterator[list[Submission]] = iter(made)

    def _transfer(self, number: int, payee: int) -> Submission:
        payer = signer(PAYER)
        record = Transfer(
            id=number.to_bytes(16, "big"), payer=payer.public_key, payee=account(payee), amount_micro=1
        )
        return signed(self._ledger.id, record, payer)

    def submit_next(self) -> None:
        """Log the next group."""
        for outcome in self._ledger.submit(next(self._groups)):
            if not isinstance(outcome, Acknowledgement):
                raise outcome
