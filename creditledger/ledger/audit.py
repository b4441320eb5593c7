"""Audit: replay a whole public log as a stranger would. Source: specs/ledger.md §7."""

from dataclasses import dataclass
from pathlib import Path

from creditledger.errors import (
    BusyError,
    ConsistencyProofError,
    CreditLedgerError,
    MalformedRecordError,
    StorageError,
    VerificationError,
)
from creditledger.ledger.directory import LedgerDirectory
from creditledger.ledger.replica import Replica
from creditledger.ledger.source import DirectorySource, LogSource
from creditledger.ledger.verified_tiles import VerifiedTiles
from creditledger.records.round import Certificate, Round
from creditledger.transparency.checkpoint import parse_checkpoint_note
from creditledger.transparency.fork import ForkEvidence, make_fork, verify_fork
from creditledger.transparency.trust_policy import TrustPolicy


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditReport:
    """What a replay found."""

    entries: int
    """Entries that were proven and folded."""
    rounds: int
    certified: int
    """Rounds with a certificate by a quorum."""
    checkpoint_size: int
    """The size that the checkpoint speaks of; 0 if none was accepted."""
    note: bytes
    """The checkpoint's note; empty if none was accepted."""
    error: CreditLedgerError | None
    """The first thing that does not hold."""
    evidence: ForkEvidence | None = None
    """What convicts a log that signed two histories."""

    @property
    def ok(self) -> bool:
        """Whether everything up to the checkpoint holds."""
        return self.error is None

    @property
    def problem(self) -> str:
        """The error in words; empty if there is none."""
        return "" if self.error is None else str(self.error)


def audit(path: str | Path, *, now_unix_ms: int, policy: TrustPolicy | None = None) -> AuditReport:
    """Audit the ``public`` folder of a ledger's directory under its policy, or another.

    Raises MalformedRecordError for a policy that cannot be read, StorageError for a disk that fails."""
    directory = LedgerDirectory(Path(path))
    trusted = TrustPolicy.load(directory.policy) if policy is None else policy
    return audit_source(DirectorySource(directory.public), trusted, now_unix_ms=now_unix_ms)


def audit_source(
    source: LogSource, policy: TrustPolicy, *, now_unix_ms: int, seen: bytes | None = None
) -> AuditReport:
    """Audit a public log. What does not hold is reported; only an unreachable source raises.

    ``seen``: the note of the last checkpoint that was accepted, which the log must continue. Where it
    does not, and the log signed both, the report carries the evidence."""
    replica = Replica(source, policy, seen=None if seen is None else parse_checkpoint_note(seen))
    rounds = certified = 0
    error: CreditLedgerError | None = None
    evidence: ForkEvidence | None = None
    try:
        for _, entry in replica.steps(now_unix_ms):
            rounds += isinstance(entry.record, Round)
            certified += isinstance(entry.record, Certificate)
    except (StorageError, BusyError):
        raise
    except CreditLedgerError as found:
        error = found
        if seen is not None and isinstance(found, ConsistencyProofError):
            evidence = _evidence(source, policy, seen, now_unix_ms)
    return AuditReport(
        entries=replica.size,
        rounds=rounds,
        certified=certified,
        checkpoint_size=replica.checkpoint.size if replica.note and replica.checkpoint else 0,
        note=replica.note,
        error=error,
        evidence=evidence,
    )


def _evidence(source: LogSource, policy: TrustPolicy, seen: bytes, now_unix_ms: int) -> ForkEvidence | None:
    """What convicts the log, or None where it may only have become shorter."""
    shown = source.checkpoint()
    try:
        checkpoint = policy.verify_checkpoint(shown, now_unix_ms=now_unix_ms).checkpoint
        found = make_fork(seen, shown, VerifiedTiles(source, checkpoint).node)
        verify_fork(found.encode(), policy)
    except (MalformedRecordError, VerificationError):
        return None
    return found
