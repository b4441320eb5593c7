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
    ForkError,
    IntegrityError,
    StorageError,
    VerificationError,
)

if TYPE_CHECKING:
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
    from creditledger.ledger.reader_folders import seen_folder

    policy = trusted(ledger, policy_path)
    seen = LastSeen(seen_path or seen_folder(), policy)
    with source_of(ledger) as source:
        memory = _usable(seen, is_asked=seen_path is not None)
        report = audit_source(source, policy, now_unix_ms=system_clock(), memory=memory)
    if report.error is not None:
        raise as_finding(report.error, seen, evidence_path)
    emit(
        {
            "ok": True,
            "entries": report.entries,
            "checkpoint_size": report.checkpoint_size,
            "rounds": report.rounds,
            "certified_rounds": report.certified,
            "seen_size": report.seen_size,
            "canaries_committed": report.canaries.committed,
            "canaries_opened": report.canaries.opened,
            "faulty_validators": [
                {"bls_key": key, "faults": [fault.value for fault in faults]}
                for key, faults in report.faults.items()
            ],
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


def _usable(seen: "LastSeen", *, is_asked: bool) -> "LastSeen | None":
    """The memory; None, with a warning, where none is kept, none can be, and nobody asked for one."""
    try:
        with seen.locked():
            return seen
    except StorageError as error:
        if is_asked or seen.path.exists():
            raise
        note(f"warning: the checkpoint cannot be kept, so the next audit will miss a fork: {error}")
        return None


def as_finding(error: CreditLedgerError, seen: "LastSeen", evidence_path: Path | None) -> CreditLedgerError:
    """Whatever an audit finds is a failed verification, also a record that the rules refuse.

    A fork's evidence is written to ``evidence_path``, by default beside the last checkpoint seen."""
    if isinstance(error, ForkError):
        return with_evidence(error, evidence_path or evidence_file(seen, error))
    if isinstance(error, VerificationError | IntegrityError | BusyError | StorageError):
        return error
    message = f"the log does not hold: {type(error).__name__}: {error}"
    return VerificationError(message, expected=error.expected, found=error.found)


def evidence_file(seen: "LastSeen", error: ForkError) -> Path:
    """Where evidence goes unless somebody says otherwise."""
    return seen.path.with_name(f"{seen.path.name}.fork-{'-'.join(map(str, error.sizes))}")


def with_evidence(error: ForkError, path: Path) -> ForkError:
    """The error with its evidence in a file; that it cannot be written does not hide the fork."""
    from creditledger.ledger.directory import replace_file

    said, file = str(error), str(path)
    try:
        replace_file(path, error.evidence)
    except StorageError as failed:
        said, file = f"{said}; the evidence could not be written: {failed}", ""
    return ForkError(
        said,
        evidence=error.evidence,
        sizes=error.sizes,
        file=file,
        expected=error.expected,
        found=error.found,
    )
