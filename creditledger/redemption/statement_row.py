"""A statement's lines as every file and answer has them. Source: specs/cli.md §6."""

from typing import Any, Final

from creditledger.redemption.statement import StatementLine
from creditledger.redemption.utc_time import moment_text

COLUMNS: Final = (
    "index", "time_unix_ms", "time", "kind", "reason", "about", "counterpart", "counterpart_name",
    "available_change", "held_change", "unvested_change", "available_after", "held_after", "unvested_after",
    "digest",
)  # fmt: skip


def statement_row(line: StatementLine) -> dict[str, Any]:
    """One line: its `COLUMNS`, in their order."""
    return {
        "index": line.index,
        "time_unix_ms": line.time_unix_ms,
        "time": moment_text(line.time_unix_ms),
        "kind": line.kind.name.lower(),
        "reason": line.reason.text,
        "about": line.reason.about,
        "counterpart": line.reason.counterpart,
        "counterpart_name": line.counterpart_name,
        "available_change": line.available_change,
        "held_change": line.held_change,
        "unvested_change": line.unvested_change,
        "available_after": line.available_after,
        "held_after": line.balance.held_micro,
        "unvested_after": line.balance.unvested_micro,
        "digest": line.digest,
    }
