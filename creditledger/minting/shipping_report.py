"""How shipping goes, in a file beside the outbox: for the node's owner, and after a restart.

Source: specs/minting.md §10."""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from creditledger.errors import CreditLedgerError, MalformedRecordError
from creditledger.ledger.directory import is_there, read_file, replace_file

FILE: Final = "shipping.json"
_BYTES_MAX: Final = 8_192
_TEXT_MAX: Final = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class ShippingReport:
    """What the shipper last noted. Times are the node's clock; 0 and "" for never."""

    delivered: int = 0
    """Batches that the log acknowledged, since the outbox was made."""
    last_delivered_unix_ms: int = 0
    missing_inputs: int = 0
    """Windows whose batch went without inputs: their checks may find none."""
    error: str = ""
    """The class of what stopped the last attempt; empty once one went well."""
    message: str = ""
    since_unix_ms: int = 0
    """When that error first came."""

    @classmethod
    def read(cls, outbox: Path) -> "ShippingReport":
        """The report beside the submissions in ``outbox``. Raises StorageError, MalformedRecordError."""
        path = outbox / FILE
        if not is_there(path):
            return cls()
        try:
            told = json.loads(read_file(path, what="shipping report", most=_BYTES_MAX))
            return cls(**{name: _of_kind(told[name], kind) for name, kind in _KINDS.items()})
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise MalformedRecordError("not a shipping report", found=str(path)[-100:]) from error

    def keep(self, outbox: Path) -> None:
        """Make it durable. Raises StorageError."""
        replace_file(outbox / FILE, json.dumps(asdict(self)).encode() + b"\n", mode=0o600)

    def after(
        self, *, delivered: int, missing_inputs: int, stopped_by: Exception | None, now_unix_ms: int
    ) -> "ShippingReport":
        """The report after one more attempt."""
        found = self
        if delivered:
            found = replace(found, delivered=found.delivered + delivered, last_delivered_unix_ms=now_unix_ms)
        if missing_inputs:
            found = replace(found, missing_inputs=found.missing_inputs + missing_inputs)
        if stopped_by is None:
            return replace(found, error="", message="", since_unix_ms=0)
        error, message = type(stopped_by).__name__, _told(stopped_by)
        since = found.since_unix_ms if found.error == error else now_unix_ms
        return replace(found, error=error, message=message, since_unix_ms=since)


_KINDS: Final = {
    "delivered": int,
    "last_delivered_unix_ms": int,
    "missing_inputs": int,
    "error": str,
    "message": str,
    "since_unix_ms": int,
}


def _told(error: Exception) -> str:
    found = error.found if isinstance(error, CreditLedgerError) else ""
    return (f"{error} (found {found})" if found else str(error))[:_TEXT_MAX]


def _of_kind(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise TypeError(kind.__name__)
    return value
