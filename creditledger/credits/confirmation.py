"""Receipts that another validator must look at, and who it is: decided by the next round's seeds.

Source: specs/credits.md §12."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

from creditledger.credits.docket import add_duty
from creditledger.credits.duty import draw_hash, draw_threshold
from creditledger.credits.signers import Signer, lowest, never_asked
from creditledger.credits.state import State
from creditledger.credits.verdicts import receipt_of
from creditledger.records.state import receipt_key

SECOND_LOOK_PPM: Final = 100_000
"""The share of receipts that one validator upheld and another looks at too."""
_DISPUTED: Final = b"D/"
_PASSED: Final = b"L/"


def await_confirmer(state: State, receipt: bytes) -> None:
    """Somebody else must judge this receipt; its ``due`` counts that already."""
    state.view.put(_DISPUTED + receipt, b"")


def await_second_look(state: State, receipt: bytes) -> None:
    """One validator upheld this receipt; now and then another looks."""
    state.view.put(_PASSED + receipt, b"")


def forget_second_look(state: State, receipt: bytes) -> None:
    """Nobody needs to look again."""
    state.view.delete(_PASSED + receipt)


def is_awaited(state: State, receipt: bytes) -> bool:
    """Whether the next certified round may ask another validator about this receipt."""
    return any(state.view.get(prefix + receipt) is not None for prefix in (_DISPUTED, _PASSED))


def draw_confirmers(
    state: State, signers: Sequence[Signer], number: int, *, close_ballot: Callable[[State, bytes], None]
) -> Counter[int]:
    """Give each disputed receipt to the signer of lowest hash that was never asked; checks by member.

    ``close_ballot`` is told of those for which nobody is left."""
    given: Counter[int] = Counter()
    for receipt in _take(state, _DISPUTED):
        chosen = lowest(never_asked(state, signers, receipt), receipt)
        if chosen is None:
            close_ballot(state, receipt)
        else:
            add_duty(state, number, chosen.member, receipt)
            given[chosen.member] += 1
    return given


def draw_second_looks(state: State, signers: Sequence[Signer], number: int) -> Counter[int]:
    """Have a tenth of what one validator upheld looked at by another; checks by member."""
    given: Counter[int] = Counter()
    for receipt in _take(state, _PASSED):
        left = never_asked(state, signers, receipt)
        chosen = lowest(left, receipt)
        if chosen is None or not _is_looked_at(chosen, receipt, len(left)):
            continue
        known = receipt_of(state, receipt)
        state.put_entry(receipt_key(receipt), known.replace(due=known.due + 1))
        add_duty(state, number, chosen.member, receipt)
        given[chosen.member] += 1
    return given


def _is_looked_at(chosen: Signer, receipt: bytes, candidates: int) -> bool:
    first = int.from_bytes(draw_hash(chosen.seed, receipt)[:8], "big")
    return first < draw_threshold(rate=SECOND_LOOK_PPM, members=candidates)


def _take(state: State, prefix: bytes) -> list[bytes]:
    keys = [key for key, _ in state.view.scan(prefix)]
    for key in keys:
        state.view.delete(key)
    return [key[len(prefix) :] for key in keys]
