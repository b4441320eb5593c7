"""`audit`: what a stranger finds in a published log. Source: specs/cli.md §5."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from creditledger.cli.options import json_option, published_argument
from creditledger.cli.output import emit, note
from creditledger.errors import (
    BusyError,
    CreditLedgerError,
    IntegrityError,
    StorageError,
    VerificationError,
)

if TYPE_CHECKING:
    from creditledger.ledger.audit import AuditReport
    from creditledger.ledger.last_seen import LastSeen
    from creditledger.ledger.source import LogSource
    from creditledger.transparency.trust_policy import TrustPolicy


@click.command()
@published_argument
@click.option("--policy", "policy_path", type=click.Path(path_type=Path), help="Default: LEDGER/policy.")
@click.option(
    "--seen", "seen_path", type=click.Path(path_type=Path), help="Where the last checkpoint is kept."
)
@click.option("--evidence", "evidence_path", type=click.Path(path_type=Path), help="Where a fork is written.")
@json_option
def audit(
    ledger: Path | str,
    policy_path: Path | None,
    seen_path: Path | None,
    evidence_path: Path | None,
    as_json: bool,
) -> None:
    """Replay the published log as a stranger would, and say what holds.

    LEDGER is a directory, or the http(s) URL of a published log. The checkpoint is kept: what the log
    shows next time must continue it, and a fork becomes a file that convinces others."""
    from creditledger.ledger.audit import audit_source
    from creditledger.ledger.clock import system_clock
    from creditledger.ledger.last_seen import LastSeen

    policy = trusted(ledger, policy_path)
    seen = LastSeen(seen_path or default_seen_folder())
    before = seen.note(policy)
    with source_of(ledger) as source:
        report = audit_source(source, policy, now_unix_ms=system_clock(), seen=before)
    if report.evidence is not None:
        raise fork_error(report, evidence_path or evidence_file(seen, policy, report))
    if report.error is not None:
        raise as_finding(report.error)
    _keep(seen, policy, report.note, is_asked=seen_path is not None)
    emit(
        {
            "ok": True,
            "entries": report.entries,
            "checkpoint_size": report.checkpoint_size,
            "rounds": report.rounds,
            "certified_rounds": report.certified,
            "seen_size": _size(before),
        },
        as_json=as_json,
    )


def trusted(ledger: Path | str, policy_path: Path | None) -> "TrustPolicy":
    """The policy to read ``ledger`` under. UsageError where a URL comes without one."""
    from creditledger.ledger.directory import LedgerDirectory
    from creditledger.transparency.trust_policy import TrustPolicy

    if policy_path is None:
        if isinstance(ledger, str):
            raise click.UsageError("a log at a URL is read under your own policy: name it with --policy")
        policy_path = LedgerDirectory(ledger).policy
    return TrustPolicy.load(policy_path)


@contextmanager
def source_of(ledger: Path | str) -> "Iterator[LogSource]":
    """The published files of a directory, or behind a URL (which takes the extra ``service``)."""
    if isinstance(ledger, Path):
        from creditledger.ledger.directory import LedgerDirectory
        from creditledger.ledger.source import DirectorySource

        yield DirectorySource(LedgerDirectory(ledger).public)
        return
    try:
        from creditledger.service.http_source import HttpSource
    except ImportError as error:
        raise StorageError(
            "a log at a URL takes the package httpx2: pip install 'creditledger[service]'"
        ) from error
    source = HttpSource(ledger)
    try:
        yield source
    finally:
        source.close()


def default_seen_folder() -> Path:
    """``$XDG_STATE_HOME/creditledger/seen``, or the same below ``~/.local/state``."""
    import os

    base = os.environ.get("XDG_STATE_HOME")
    return (Path(base) if base else Path.home() / ".local" / "state") / "creditledger" / "seen"


def _keep(seen: "LastSeen", policy: "TrustPolicy", checkpoint: bytes, *, is_asked: bool) -> None:
    try:
        seen.keep(policy, checkpoint)
    except StorageError as error:
        if is_asked:
            raise
        note(f"warning: the checkpoint could not be kept, so the next audit will not miss a fork: {error}")


def fork_error(report: "AuditReport", path: Path) -> VerificationError:
    """Write the evidence that ``report`` carries; the error that names the file. Raises StorageError."""
    from creditledger.ledger.directory import replace_file

    if report.evidence is None or report.error is None:
        raise IntegrityError("there is no evidence to write")
    replace_file(path, report.evidence.encode())
    return VerificationError(
        f"the log signed two histories: the evidence is in {path}",
        expected=report.error.expected,
        found=report.error.found,
    )


def evidence_file(seen: "LastSeen", policy: "TrustPolicy", report: "AuditReport") -> Path:
    """Where evidence goes unless somebody says otherwise: beside the last checkpoint seen."""
    from creditledger.transparency.checkpoint import parse_checkpoint_note

    if report.evidence is None:
        raise IntegrityError("there is no evidence to write")
    sizes = (parse_checkpoint_note(of).size for of in (report.evidence.first, report.evidence.second))
    kept = seen.path(policy)
    return kept.with_name(f"{kept.name}.fork-{'-'.join(map(str, sizes))}")


def _size(checkpoint: bytes | None) -> int | None:
    from creditledger.transparency.checkpoint import parse_checkpoint_note

    return None if checkpoint is None else parse_checkpoint_note(checkpoint).size


def as_finding(error: CreditLedgerError) -> CreditLedgerError:
    """Whatever an audit finds is a failed verification, also a record that the rules refuse."""
    if isinstance(error, VerificationError | IntegrityError | BusyError):
        return error
    message = f"the log does not hold: {type(error).__name__}: {error}"
    return VerificationError(message, expected=error.expected, found=error.found)
