"""Audit: replay a whole public log as a stranger would. Source: specs/ledger.md §7."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from creditledger.credits import reading
from creditledger.credits.reading import CanaryCounts, Fault
from creditledger.credits.state import StateView
from creditledger.errors import (
    BusyError,
    CreditLedgerError,
    StorageError,
)
from creditledger.ledger.directory import LedgerDirectory
from creditledger.ledger.last_seen import LastSeen
from creditledger.ledger.replica import Replica
from creditledger.ledger.source import DirectorySource, LogSource
from creditledger.ledger.spilling_state import SpillingState
from creditledger.records.round import Certificate, Round
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
    seen_size: int | None
    """The size that was seen last time; None where nothing was."""
    faults: Mapping[bytes, tuple[Fault, ...]]
    """What validators are named for, by BLS key; those that are named for nothing are left out."""
    canaries: CanaryCounts
    error: CreditLedgerError | None
    """The first thing that does not hold."""

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
    source: LogSource, policy: TrustPolicy, *, now_unix_ms: int, memory: LastSeen | None = None
) -> AuditReport:
    """Audit a public log. What does not hold is reported; only an unreachable source raises.

    ``memory``: the last checkpoint seen, which the log must continue and which is brought up to date. Where
    the log signed two histories the error is a ForkError. Raises BusyError, StorageError."""
    replica = Replica(source, policy, memory=memory, state=SpillingState())
    rounds = certified = 0
    error: CreditLedgerError | None = None
    try:
        for _, entry in replica.steps(now_unix_ms):
            rounds += isinstance(entry.record, Round)
            certified += isinstance(entry.record, Certificate)
    except (StorageError, BusyError):
        raise
    except CreditLedgerError as found:
        error = found
    state = replica.state if replica.size else None
    return AuditReport(
        faults={} if state is None else _faults(state),
        canaries=CanaryCounts() if state is None else reading.canary_counts(state),
        entries=replica.size,
        rounds=rounds,
        certified=certified,
        checkpoint_size=0 if replica.checkpoint is None else replica.checkpoint.size,
        seen_size=None if replica.seen is None else replica.seen.size,
        error=error,
    )


def _faults(state: StateView) -> dict[bytes, tuple[Fault, ...]]:
    committee = reading.parameters_in_force(state).committee
    found = {member.bls_key: reading.validator_faults(state, member.bls_key) for member in committee}
    return {key: faults for key, faults in found.items() if faults}
