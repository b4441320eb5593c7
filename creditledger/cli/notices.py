"""What runs low, told with the answers of verbs that spend. Source: specs/cli.md §6."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from creditledger.cli.output import emit, note

if TYPE_CHECKING:
    from creditledger.ledger.ledger import Ledger
    from creditledger.redemption.notice import Notice


def notices_after(opened: "Ledger", account: bytes, *, delegate: bytes | None = None) -> "Sequence[Notice]":
    """What is to be told once ``delegate``, by default the account itself, has spent for ``account``."""
    from creditledger.credits.reading import WHOLE_ACCOUNT
    from creditledger.ledger.clock import system_clock
    from creditledger.redemption.position import spending_notices

    whose = WHOLE_ACCOUNT if delegate is None or delegate == account else delegate
    with opened.read() as state:
        return spending_notices(state, account, delegate=whose, now_unix_ms=system_clock())


def answer_with_notices(answer: dict[str, Any], notices: "Sequence[Notice]", *, as_json: bool) -> None:
    """The answer, with the notices in JSON; for a person they are lines on stderr."""
    if as_json:
        from creditledger.redemption.position_row import notice_rows

        emit(answer | {"notices": notice_rows(notices)}, as_json=True)
        return
    emit(answer, as_json=False)
    tell(notices)


def tell(notices: "Sequence[Notice]") -> None:
    """What runs low, to a person: one line each on stderr."""
    for notice in notices:
        note(notice.text)
