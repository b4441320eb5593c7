"""Small transfers between funded accounts, each signed alone, for benchmarks."""

from collections.abc import Sequence
from typing import Final

from creditledger.ledger.ledger import Ledger
from creditledger.records.entry import Submission
from creditledger.records.transfer import Transfer
from ledger_pools import grant, registration, signed, signer

ACCOUNTS: Final = 64


class Payments:
    """Makes one transfer after another, ids ascending, each from another account than the one before."""

    def __init__(self, ledger: Ledger) -> None:
        """Registers and funds the accounts."""
        names = [f"payer-{number}" for number in range(ACCOUNTS)]
        ledger.submit([registration(ledger.id, name) for name in names])
        ledger.submit([grant(ledger.id, name, 10**9, number) for number, name in enumerate(names)])
        ledger.complete_round()
        self.ledger = ledger
        self._keys = [signer(name) for name in names]
        self._made = 0

    def next(self) -> Submission:
        """The next transfer, signed."""
        number, keys = self._made, self._keys
        payer, payee = keys[number % ACCOUNTS], keys[(number + 1) % ACCOUNTS]
        self._made += 1
        record = Transfer(
            id=number.to_bytes(16, "big"), payer=payer.public_key, payee=payee.public_key, amount_micro=1
        )
        return signed(self.ledger.id, record, payer)


def check_signatures(ledger: Ledger, group: Sequence[Submission]) -> None:
    """What the fold then finds done."""
    for one in group:
        message = one.record.signing_bytes(ledger.id)
        ledger.verifier.ed25519(one.record.payer, message, one.signature)  # type: ignore[attr-defined]
