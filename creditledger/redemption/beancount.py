"""Transactions as a beancount file: plain text, double entry, checked by a tool that is not ours.

Source: specs/redemption.md §8.5."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, timedelta
from typing import Final

from creditledger.credits.postings import Part, Posting, account_parts
from creditledger.credits.reading import account_state, all_accounts, totals
from creditledger.credits.state import MemoryState, StateView
from creditledger.records.registration import Role
from creditledger.records.state import AccountState
from creditledger.redemption.amount import MICRO_PER_CREDIT
from creditledger.redemption.movements import Movement
from creditledger.redemption.reason import reason_of
from creditledger.redemption.statement import StatementLine
from creditledger.redemption.utc_time import day_of, moment_text

CURRENCY: Final = "CREDIT"
GRANTS: Final = "Equity:Grants"
BURNED: Final = "Expenses:Burned"
OTHERS: Final = "Equity:Others"
"""In one account's statement: whoever stood on the other side, and what was there before."""
LEVY_POOL: Final = "Assets:Levy-Pool"
_LAST_DAY: Final = date(9999, 12, 30)
_ESCAPED: Final = str.maketrans({".": "D", "_": "U"})


def beancount_account(account: AccountState, part: Part) -> str:
    """Where an account's part stands, as ``Assets:Client:Alice:Held``: another for every name and part."""
    if account.role == Role.LEVY_POOL:
        return f"{LEVY_POOL}:{part.value.capitalize()}"
    role = Role(account.role).name.capitalize()
    return f"Assets:{role}:{_component(account.name)}:{part.value.capitalize()}"


def _component(name: str) -> str:
    """A name as beancount takes it: ``.`` and ``_`` become capitals, which no name has, and it begins with a
    capital or a digit."""
    escaped = name.translate(_ESCAPED)
    if name[0].isalpha():
        return escaped[0].upper() + escaped[1:]
    return escaped if name[0].isdigit() else f"XX{escaped}"


class BeancountWriter:
    """Writes a file piece by piece: accounts open with their first posting, and the last lines assert what
    everybody has, to the micro-credit."""

    def __init__(self, *, title: str) -> None:
        """``title``: of the file, without quotes."""
        self._title = title
        self._opened: set[str] = set()
        self._last = date(1970, 1, 1)

    def head(self) -> str:
        """What a file begins with."""
        return f'option "title" "{self._title}"\noption "operating_currency" "{CURRENCY}"\n'

    def transaction(
        self,
        amounts: Sequence[tuple[str, int]],
        *,
        time_unix_ms: int,
        kind: str,
        reason: str,
        facts: Mapping[str, str],
    ) -> str:
        """One transaction. ``amounts``: (account of this file, micro-credits), which sum to zero; ``facts``
        are listed beneath, by lower-case names, without quotes."""
        self._last = day = min(day_of(time_unix_ms), _LAST_DAY)
        new = dict.fromkeys(place for place, _ in amounts if place not in self._opened)
        self._opened.update(new)
        lines = [f"{day} open {place} {CURRENCY}" for place in new]
        lines.append(f'{day} * "{kind}" "{reason}"')
        facts = {"time": moment_text(time_unix_ms), **facts}
        lines += [f'  {name}: "{value}"' for name, value in facts.items()]
        lines += [f"  {place}  {_credits(micro)}" for place, micro in amounts]
        return "\n" + "\n".join(lines) + "\n"

    def balances(self, account: AccountState) -> Iterator[str]:
        """Assertions, the day after the last transaction, that ``account`` has what its state says."""
        for part, micro in account_parts(account).items():
            yield from self._balance(beancount_account(account, part), micro)

    def system_balances(self, view: StateView) -> Iterator[str]:
        """The same of what was ever granted and burned."""
        yield from self._balance(GRANTS, -totals(view).granted_micro)
        yield from self._balance(BURNED, totals(view).burned_micro)

    def _balance(self, place: str, micro: int) -> Iterator[str]:
        if place in self._opened:
            # Without a tolerance of its own beancount would let the last digit differ.
            amount = _credits(micro).removesuffix(CURRENCY)
            yield f"{self._last + timedelta(days=1)} balance {place}  {amount}~ 0 {CURRENCY}\n"


def place_of(view: StateView, posting: Posting) -> str:
    """Where a posting goes. ``view``: a state that knows the account."""
    if posting.account is None:
        return {Part.GRANTS: GRANTS, Part.BURNED: BURNED}[posting.part]
    found = account_state(view, posting.account)
    if found is None:
        raise AssertionError("credits moved to an account that there is not")
    return beancount_account(found, posting.part)


def _credits(micro: int) -> str:
    """Always with six digits: beancount takes the precision of what it sums from what is written."""
    whole, rest = divmod(abs(micro), MICRO_PER_CREDIT)
    return f"{'-' if micro < 0 else ''}{whole}.{rest:06d} {CURRENCY}"


def ledger_in_beancount(moves: Iterable[Movement], *, title: str) -> Iterator[str]:
    """A whole ledger: a transaction for each entry that moved credits, then what everybody has."""
    writer = BeancountWriter(title=title)
    yield writer.head()
    view: StateView = MemoryState()
    for move in moves:
        view = move.after
        if move.postings:
            yield writer.transaction(
                [(place_of(view, posting), posting.amount_micro) for posting in move.postings],
                time_unix_ms=move.entry.time_unix_ms,
                kind=move.entry.record.KIND.name.lower(),
                reason=reason_of(move).text,
                facts={"entry": str(move.index), "digest": move.digest.hex()},
            )
    for account in all_accounts(view):
        yield from writer.balances(account)
    yield from writer.system_balances(view)


def statement_in_beancount(
    lines: Iterable[StatementLine], *, before: StatementLine | None, title: str
) -> Iterator[str]:
    """One account's lines; whoever stands on the other side is `OTHERS`. ``before``: the line before them."""
    writer = BeancountWriter(title=title)
    yield writer.head()
    last = before
    if before is not None:
        had = {part: micro for part, micro in account_parts(before.balance).items() if micro}
        yield _against_others(writer, before, had, kind="opening", reason="brought forward", facts={})
    for line in lines:
        changes = (line.available_change, line.held_change, line.unvested_change)
        parts = account_parts(line.balance)
        moved = {part: micro for part, micro in zip(parts, changes, strict=True) if micro}
        facts = {"entry": str(line.index), "digest": line.digest.hex()}
        facts |= {"counterpart": line.counterpart_name} if line.counterpart_name else {}
        kind = line.kind.name.lower()
        yield _against_others(writer, line, moved, kind=kind, reason=line.reason.text, facts=facts)
        last = line
    if last is not None:
        yield from writer.balances(last.balance)


def _against_others(
    writer: BeancountWriter,
    line: StatementLine,
    moved: Mapping[Part, int],
    *,
    kind: str,
    reason: str,
    facts: Mapping[str, str],
) -> str:
    if not moved:
        return ""
    amounts = [(beancount_account(line.balance, part), micro) for part, micro in moved.items()]
    rest = -sum(moved.values())
    amounts += [(OTHERS, rest)] if rest else []
    return writer.transaction(amounts, time_unix_ms=line.time_unix_ms, kind=kind, reason=reason, facts=facts)
