"""`append`, `status`, `checkpoint`, `audit`, `fsck`: the log itself. Source: specs/cli.md §5."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from creditledger.cli.opening import is_writable, reading, writing
from creditledger.cli.options import directory_argument, json_option, ledger_argument
from creditledger.cli.output import as_line, emit, emit_bytes
from creditledger.cli.rounds import complete
from creditledger.errors import (
    MalformedRecordError,
    RefusedError,
)

if TYPE_CHECKING:
    from creditledger.ledger.ledger import Ledger


@click.command()
@ledger_argument
@click.option("--stdin", "from_stdin", is_flag=True, help="Read frames from standard input.")
@click.option("--ack", "acknowledges", is_flag=True, help="Answer each record once it is durable.")
@json_option
def append(ledger: Path, from_stdin: bool, acknowledges: bool, as_json: bool) -> None:
    """Log records from a stream of frames, and answer each with one line.

    A frame is u32be length and [[record, signature], [body...]] in canonical form, at most 4 MiB.
    The lines are ACK INDEX LEAF-HASH for a durable record, also a repeated one, and REFUSED ORDINAL
    ERROR-NAME for one that is not logged."""
    from creditledger.ledger.frames import append_frames

    if not from_stdin or not acknowledges:
        raise click.UsageError("say --stdin --ack: there is no other way to append yet")
    counts = {"ACK": 0, "REFUSED": 0}

    def answer(line: str) -> None:
        counts[line.partition(" ")[0]] += 1
        sys.stdout.write((as_line(_answer(line)) if as_json else line) + "\n")
        sys.stdout.flush()

    with writing(ledger) as opened:
        exit_code = append_frames(opened, sys.stdin, answer)
        if counts["ACK"]:
            complete(opened)
    if exit_code == MalformedRecordError.exit_code:
        raise MalformedRecordError(
            "the last frame is torn or too long", found=f"{sum(counts.values())} whole"
        )
    if exit_code:
        raise RefusedError("records were refused", expected="none", found=str(counts["REFUSED"]))


def _answer(line: str) -> dict[str, Any]:
    word, number, rest = line.split(" ")
    if word == "ACK":
        return {"index": int(number), "leaf_hash": rest}
    return {"refused": int(number), "error": rest}


@click.command()
@ledger_argument
@json_option
def status(ledger: Path, as_json: bool) -> None:
    """Show how far the log, its publication and its certified rounds have come."""
    from creditledger.ledger.status import status_of

    with reading(ledger) as opened:
        emit(status_of(opened), as_json=as_json)


@click.command()
@ledger_argument
@json_option
def checkpoint(ledger: Path, as_json: bool) -> None:
    """Print the signed checkpoint; where the operator's key is at hand, bring it up to date first.

    That publishes what is new, closes a round over it, certifies it as far as validators' keys lie
    in the ledger's directory, and settles and expires what is due."""
    with _up_to_date(ledger) as opened:
        note = opened.checkpoint()
        if not as_json:
            emit_bytes(note)
            return
        emit(_checkpoint(opened, note), as_json=True)


@contextmanager
def _up_to_date(path: Path) -> "Iterator[Ledger]":
    if not is_writable(path):
        with reading(path) as opened:
            yield opened
        return
    with writing(path) as opened:
        opened.expire_due()
        opened.settle_due()
        opened.complete_round()
        yield opened


def _checkpoint(ledger: "Ledger", note: bytes) -> dict[str, Any]:
    from creditledger.credits.reading import latest_certified_round

    verified = ledger.policy().verify_checkpoint(note)
    with ledger.read() as state:
        certified = latest_certified_round(state)
    return {
        "origin": verified.checkpoint.origin,
        "size": verified.checkpoint.size,
        "root": verified.checkpoint.root,
        "cosigned_unix_ms": verified.cosigned_unix_ms,
        "certified_round": None if certified is None else certified.round.number,
        "certified_size": None if certified is None else certified.round.log_size,
        "witnesses": [
            {"name": reply.name, "status": reply.status, "reason": str(reply.error) if reply.error else ""}
            for reply in ledger.witness_replies
        ],
        "note": note.decode(),
    }


@click.command()
@directory_argument
@json_option
def fsck(ledger: Path, as_json: bool) -> None:
    """Check every byte of a ledger's directory while nobody writes it; name the first fault."""
    from creditledger.ledger.fsck import fsck as check

    report = check(ledger)
    if report.error is not None:
        raise report.error
    emit({"ok": True, "entries": report.entries}, as_json=as_json)
