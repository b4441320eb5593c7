"""How a pool's service lets in whom: the file ``service.toml``. Source: specs/service.md §4."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from creditledger.errors import MalformedRecordError
from creditledger.ledger.directory import is_there, read_file
from creditledger.records.parameters import Admission

FILE_BYTES_MAX: Final = 16 * 1024
PER_MINUTE_MAX: Final = 1_000_000_000


class AdmissionPolicy(StrEnum):
    """Whom the service admits."""

    OPEN = "open"
    INVITE = "invite"
    APPROVAL = "approval"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Requests or submissions in a minute; 0 for as many as come."""

    submissions_per_minute: int = 6_000
    """Of one account."""
    requests_per_minute: int = 60_000
    """Of one token."""
    anonymous_per_minute: int = 60_000
    """Of all together who read without a token."""
    strangers_per_minute: int = 600
    """Of all together whom no account and no token speaks for: registrations, requests to join, submissions
    of the committee without a token, signatures that do not verify."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GateSettings:
    """What ``service.toml`` says; without it, what the ledger's parameters say."""

    policy: AdmissionPolicy | None = None
    """None: approval where the ledger admits by approval, else open."""
    is_private: bool = False
    """Nothing is read or submitted without a token."""
    are_metrics_private: bool = False
    is_submitting_private: bool = False
    """Nothing is submitted without a token."""
    limits: Limits = field(default_factory=Limits)

    @classmethod
    def load(cls, path: Path) -> "GateSettings":
        """The settings in a file, else the defaults. Raises MalformedRecordError, StorageError."""
        if not is_there(path):
            return cls()
        return cls.parse(read_file(path, what="service.toml", most=FILE_BYTES_MAX))

    @classmethod
    def parse(cls, content: bytes) -> "GateSettings":
        """The settings that these bytes say. Raises MalformedRecordError, also for unknown keys."""
        try:
            tables = tomllib.loads(content.decode())
        except (ValueError, RecursionError) as error:
            raise MalformedRecordError(f"service.toml is not TOML: {str(error)[:200]}") from None
        _require_known(tables, ("admission", "reading", "submitting", "metrics", "limits"), "the file")
        limits = {name: _count(value, name) for name, value in _table(tables, "limits", *_LIMITS).items()}
        is_private = _flag(tables, "reading")
        return cls(
            policy=_policy(_table(tables, "admission", "policy")),
            is_private=is_private,
            are_metrics_private=_flag(tables, "metrics") or is_private,
            is_submitting_private=_flag(tables, "submitting") or is_private,
            limits=Limits(**limits),
        )

    def policy_for(self, admission: int) -> AdmissionPolicy:
        """Whom to admit to a ledger whose parameters say ``admission``.

        Raises MalformedRecordError for a policy that its rules do not bear out."""
        if admission == Admission.APPROVAL:
            return self.policy or AdmissionPolicy.APPROVAL
        if self.policy in (AdmissionPolicy.INVITE, AdmissionPolicy.APPROVAL):
            raise MalformedRecordError(
                "service.toml is stricter than the ledger's parameters, by which anybody may register",
                expected='policy = "open", or parameters with admission = "approval"',
                found=self.policy.value,
            )
        return AdmissionPolicy.OPEN


_LIMITS: Final = tuple(Limits.__dataclass_fields__)


def _table(tables: Mapping[str, Any], name: str, *known: str) -> Mapping[str, Any]:
    table = tables.get(name, {})
    if not isinstance(table, dict):
        raise MalformedRecordError(f"[{name}] is not a table", found=type(table).__name__)
    _require_known(table, known, f"[{name}]")
    return table


def _require_known(found: Mapping[str, Any], known: tuple[str, ...], what: str) -> None:
    unknown = sorted(set(found) - set(known))
    if unknown:
        raise MalformedRecordError(
            f"{what} has an unknown key", expected=", ".join(known), found=ascii(unknown[0])[:60]
        )


def _policy(table: Mapping[str, Any]) -> AdmissionPolicy | None:
    if "policy" not in table:
        return None
    try:
        return AdmissionPolicy(table["policy"])
    except ValueError:
        raise MalformedRecordError(
            "admission policy is not a known word",
            expected=" or ".join(AdmissionPolicy),
            found=ascii(table["policy"])[:40],
        ) from None


def _flag(tables: Mapping[str, Any], name: str) -> bool:
    value = _table(tables, name, "private").get("private", False)
    if not isinstance(value, bool):
        raise MalformedRecordError(f"[{name}] private is not true or false", found=ascii(value)[:40])
    return value


def _count(value: Any, name: str) -> int:
    if type(value) is not int or not 0 <= value <= PER_MINUTE_MAX:
        raise MalformedRecordError(
            f"{name} is no number of requests", expected=f"0..{PER_MINUTE_MAX}", found=ascii(value)[:40]
        )
    return value
