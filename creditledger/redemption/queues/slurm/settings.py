"""How one Slurm cluster is sold: written when the queue is installed. Source: specs/redemption.md §10."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Final

from creditledger.errors import StorageError
from creditledger.redemption.queues.settings_file import load_settings, save_settings

SETTINGS_FILE: Final = "settings.json"
HOUR_MS: Final = 3_600_000


@dataclass(frozen=True, slots=True, kw_only=True)
class SlurmSettings:
    """What the queue must know that neither Slurm nor the ledger says."""

    cluster: str
    """Slurm's name for it."""
    queue: str
    """The queue's account in the ledger, as 64 hex digits."""
    classes: Mapping[str, str] = field(default_factory=dict)
    """Hardware class of each GPU type; a type that is not here is a class of its own name."""
    untyped: str | None = None
    """Class of a GPU that is asked for without a type."""
    processors: str | None = None
    """Class of a processor, for jobs of ``all_jobs_of`` that ask for no GPU."""
    accounts: Mapping[str, str] = field(default_factory=dict)
    """The ledger's name of each Slurm account; one that is not here has the same name in both."""
    all_jobs_of: tuple[str, ...] = ()
    """Slurm accounts whose jobs without GPUs are paid for as well."""
    gpus_per_node: int | None = None
    """What a job gets that asks for whole nodes."""
    slack_ms: int = 60_000
    """Held beyond the time limit: Slurm ends a job some seconds late."""
    start_within_ms: int = 7 * 24 * HOUR_MS
    """How long a paid job may wait for its turn."""
    is_shadow: bool = False
    """Whether Slurm's scripts were written to hold nothing back: then nothing may be charged."""
    settle_within_ms: int = 24 * HOUR_MS
    """How long after its end a job can still be charged."""

    def class_of(self, gpu_type: str) -> str | None:
        """Hardware class of a GPU type, ``""`` being none in particular; None if there is none."""
        return self.classes.get(gpu_type, gpu_type) if gpu_type else self.untyped

    def ledger_name(self, account: str) -> str:
        """The ledger's name, or id in hex, for a Slurm account."""
        return self.accounts.get(account, account)

    def save(self, directory: Path) -> None:
        """Write `SETTINGS_FILE` there, whole and durably. Raises StorageError."""
        save_settings(directory / SETTINGS_FILE, asdict(self))

    @classmethod
    def load(cls, directory: Path) -> "SlurmSettings":
        """Read what `save` wrote. Raises StorageError without it, MalformedRecordError."""
        path = directory / SETTINGS_FILE
        found = load_settings(path, _checked)
        if found is None:
            raise StorageError("no queue is installed here", found=str(path)[-100:])
        return cls(**found)


_TEXTS: Final = ("cluster", "queue", "untyped", "processors")
_TABLES: Final = ("classes", "accounts")


def _checked(found: Any) -> dict[str, Any]:
    """The fields, each of its type. Raises ValueError, TypeError."""
    if not isinstance(found, dict) or set(found) != {each.name for each in fields(SlurmSettings)}:
        raise ValueError("its fields are others")
    for name, value in found.items():
        if name in _TEXTS:
            good = isinstance(value, str) or (value is None and name in _TEXTS[2:])
        elif name in _TABLES:
            good = isinstance(value, dict) and all(isinstance(item, str) for item in value.values())
        elif name == "is_shadow":
            good = isinstance(value, bool)
        elif name == "all_jobs_of":
            good = isinstance(value, list) and all(isinstance(item, str) for item in value)
        else:
            good = (type(value) is int and value >= 0) or (value is None and name == "gpus_per_node")
        if not good:
            raise ValueError(f"{name} is of another type")
    bytes.fromhex(found["queue"])
    return {**found, "all_jobs_of": tuple(found["all_jobs_of"])}
