"""`statement` and `export`: what moved an account's credits, or everybody's. Source: specs/cli.md §6."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from creditledger.cli.archiving import export_archive
from creditledger.cli.opening import account_id, reading
from creditledger.cli.options import OUTPUT_FILE, json_option, ledger_argument
from creditledger.cli.output import emit, emit_rows
from creditledger.cli.text_output import write_text
from creditledger.redemption.row_text import csv_text, jsonl_text

if TYPE_CHECKING:
    from creditledger.ledger.ledger import Ledger
    from creditledger.redemption.movements import Movement
    from creditledger.redemption.statement import StatementLine

FORMATS: Final = ("csv", "jsonl", "beancount")
ARCHIVE: Final = "archive"

_SHOWN: Final = ("index", "day", "why", "change", "available", "held", "unvested")
"""What a person is shown of each line: the rest does not fit beside it."""
_POSTING: Final = (
    "index", "time_unix_ms", "time", "kind", "reason", "account", "name", "part", "amount_micro", "digest",
)  # fmt: skip


@click.command()
@ledger_argument
@click.argument("account")
@click.option("--from", "from_text", metavar="YYYY-MM-DD", help="First day, UTC.")
@click.option("--to", "to_text", metavar="YYYY-MM-DD", help="Last day, UTC.")
@click.option(
    "--format", "text_format", type=click.Choice(("table", *FORMATS)), default="table", show_default=True
)
@click.option("-o", "--output", type=OUTPUT_FILE, metavar="FILE")
@json_option
def statement(
    ledger: Path,
    account: str,
    from_text: str | None,
    to_text: str | None,
    text_format: str,
    output: Path | None,
    as_json: bool,
) -> None:
    """List every entry that moved the credits of ACCOUNT: why, and the balance after it."""
    from creditledger.credits import reading as credits
    from creditledger.redemption.statement import statement as replay
    from creditledger.redemption.statement_row import COLUMNS, statement_row

    _require_fit(text_format, output, as_json=as_json)
    begin, end = _period(from_text, to_text)
    with reading(ledger) as opened:
        with opened.read() as state:
            found = account_id(state, account)
            info = credits.latest_certified_round(state)
        lines = replay(opened, found)
    earlier = [line for line in lines if line.time_unix_ms < begin]
    within = [line for line in lines if begin <= line.time_unix_ms < end]
    rows = [statement_row(line) for line in within]
    if text_format != "table":
        texts = {
            "csv": lambda: csv_text(rows, COLUMNS),
            "jsonl": lambda: jsonl_text(rows),
            "beancount": lambda: _beancount(earlier[-1:], within),
        }
        write_text(texts[text_format](), output)
        if output is not None:
            emit(
                {"account": found, "format": text_format, "file": output, "count": len(rows)}, as_json=as_json
            )
        return
    answer: dict[str, Any] = {
        "account": found,
        "round": None if info is None else info.round.number,
        "round_size": None if info is None else info.round.log_size,
        "opening": _parts(earlier[-1:]),
        "closing": _parts((earlier + within)[-1:]),
    }
    if as_json:
        emit(answer | {"lines": rows}, as_json=True)
        return
    emit_rows([_shown(row) for row in rows], as_json=False, title="statement, in credits")
    said = {name: _said(answer[name]) for name in ("opening", "closing")}
    emit(answer | said, as_json=False)


@click.command()
@ledger_argument
@click.option("--format", "text_format", type=click.Choice((*FORMATS, ARCHIVE)), required=True)
@click.option("-o", "--output", type=OUTPUT_FILE, metavar="FILE")
@json_option
def export(ledger: Path, text_format: str, output: Path | None, as_json: bool) -> None:
    """Write out everything that ever moved in the ledger, as double entry, or the whole ledger.

    Each entry that moved credits is one transaction, which sums to zero. As an archive it is what `import`
    takes on another machine, private keys included."""
    if text_format == ARCHIVE:
        if output is None:
            raise click.UsageError("--format archive takes -o FILE")
        export_archive(ledger, output, as_json=as_json)
        return
    from creditledger.redemption.beancount import ledger_in_beancount

    _require_fit(text_format, output, as_json=as_json)
    counted = [0]
    with reading(ledger) as opened:
        moves = _counted(opened, counted)
        texts = {
            "csv": lambda: csv_text((row for move in moves for row in _posting_rows(move)), _POSTING),
            "jsonl": lambda: jsonl_text(_transaction(move) for move in moves if move.postings),
            "beancount": lambda: ledger_in_beancount(moves, title=opened.origin),
        }
        write_text(texts[text_format](), output)
    if output is not None:
        emit({"format": text_format, "file": output, "count": counted[0]}, as_json=as_json)


def _require_fit(text_format: str, output: Path | None, *, as_json: bool) -> None:
    if text_format == "table" and output is not None:
        raise click.UsageError(f"-o takes --format {' or '.join(FORMATS)}")
    if text_format != "table" and output is None and as_json:
        raise click.UsageError("--json and --format both say what stdout gets: give -o FILE, or one of them")


def _period(from_text: str | None, to_text: str | None) -> tuple[int, int]:
    """First millisecond, and the first after the last day. Raises UsageError, MalformedRecordError."""
    from creditledger.credits.spending import DAY_MS
    from creditledger.quantities import AMOUNT_MAX
    from creditledger.redemption.utc_time import begin_of, parse_day

    begin = 0 if from_text is None else begin_of(parse_day(from_text))
    end = AMOUNT_MAX if to_text is None else begin_of(parse_day(to_text)) + DAY_MS
    if end <= begin:
        raise click.UsageError(f"--to {to_text} is before --from {from_text}")
    return begin, end


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    from creditledger.redemption.amount import format_credits

    name = row["counterpart_name"]
    change = row["available_change"]
    parts = [change, row["available_after"], row["held_after"], row["unvested_after"]]
    about = [row["index"], row["time"][:10], row["reason"] + (f", {name}" if name else "")]
    return dict(zip(_SHOWN, [*about, *map(format_credits, parts)], strict=True))


def _parts(last: "list[StatementLine]") -> dict[str, int]:
    """What the account had after the last of some lines; nothing before the first."""
    line = last[0] if last else None
    return {
        "available_micro": 0 if line is None else line.available_after,
        "held_micro": 0 if line is None else line.balance.held_micro,
        "unvested_micro": 0 if line is None else line.balance.unvested_micro,
    }


def _said(parts: dict[str, int]) -> str:
    from creditledger.redemption.amount import format_credits

    return ", ".join(
        f"{format_credits(micro)} {name.removesuffix('_micro')}" for name, micro in parts.items()
    )


def _beancount(earlier: "list[StatementLine]", within: "list[StatementLine]") -> Iterator[str]:
    from creditledger.redemption.beancount import statement_in_beancount

    before = earlier[-1] if earlier else None
    return statement_in_beancount(within, before=before, title="statement")


def _counted(opened: "Ledger", counted: list[int]) -> "Iterator[Movement]":
    from creditledger.redemption.movements import movements

    for move in movements(opened):
        counted[0] += bool(move.postings)
        yield move


def _posting_rows(move: "Movement") -> list[dict[str, Any]]:
    row = _transaction(move)
    return [row | posting for posting in row.pop("postings")]


def _transaction(move: "Movement") -> dict[str, Any]:
    from creditledger.credits.reading import account_state
    from creditledger.redemption.reason import reason_of
    from creditledger.redemption.utc_time import moment_text

    rows = []
    for posting in move.postings:
        known = None if posting.account is None else account_state(move.after, posting.account)
        rows.append(
            {
                "account": posting.account,
                "name": None if known is None else known.name,
                "part": posting.part.value,
                "amount_micro": posting.amount_micro,
            }
        )
    return {
        "index": move.index,
        "time_unix_ms": move.entry.time_unix_ms,
        "time": moment_text(move.entry.time_unix_ms),
        "kind": move.entry.record.KIND.name.lower(),
        "reason": reason_of(move).text,
        "digest": move.digest,
        "postings": rows,
    }
