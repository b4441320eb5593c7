"""A pool's rules as a TOML file. Source: specs/parameters.md §2."""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click

from creditledger.cli.options import read_input
from creditledger.errors import MalformedRecordError
from creditledger.records.parameters import (
    Admission,
    HardwarePrice,
    LevyUse,
    Member,
    ModelTerms,
    Parameters,
    ProfileTerms,
)

FILE_BYTES_MAX: Final = 1_000_000
PROFILE_BYTES_MAX: Final = 65_535
LINE_DOTS_MAX: Final = 100
"""In a line. A dotted key costs the square of its parts: one of 64 KiB would take 13 seconds."""

_PLAIN: Final = ("rule_set", "grace_ms", "clock_tolerance_ms")
_TABLES: Final[Mapping[str, Mapping[str, str]]] = {
    "rates": {
        "check_floor_ppm": "check_floor_ppm",
        "probation": "probation_micro",
        "always_check": "always_check_micro",
    },
    "vesting": {"rounds": "vesting_rounds", "time_ms": "vesting_ms", "value": "vesting_micro"},
    "levy": {"ppm": "levy_ppm", "use": "levy_use"},
}
"""Key in the file and field of the record, by table."""
_MODEL: Final = ("layers", "hidden", "ff", "heads", "kv_heads", "head_dim")
_TOP: Final = (
    *_PLAIN,
    *_TABLES,
    "admission",
    "transfers_allowed",
    "committee",
    "models",
    "hardware",
    "profiles",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ParametersFile:
    """What a file says, before it is known who sits on the committee."""

    members: tuple[Member, ...]
    """Empty if the file names no committee."""
    quorum: int
    changes: Mapping[str, Any]
    """The fields of `Parameters` that differ from the defaults."""
    profiles: tuple[bytes, ...]
    """Encoded calibration profiles, in the order of the record."""

    def apply(self, defaults: Parameters) -> Parameters:
        """``defaults`` with what the file changes. Raises MalformedRecordError."""
        return defaults.replace(**self.changes)


def read_parameters(path: Path) -> ParametersFile:
    """The rules in the file at ``path``; file names in it are relative to it.

    Raises UsageError for a missing file, MalformedRecordError for unknown keys and unfit values,
    AmountError, KeyFormatError, RoleError, StorageError."""
    content = read_input(path, most=FILE_BYTES_MAX)
    if any(line.count(b".") > LINE_DOTS_MAX for line in content.split(b"\n")):
        raise MalformedRecordError(f"{path} has a line of many dots", expected=f"at most {LINE_DOTS_MAX}")
    try:
        tables = tomllib.loads(content.decode())
    except (ValueError, RecursionError) as error:
        raise MalformedRecordError(f"{path} is not TOML: {error}") from None
    _require_known(tables, _TOP, "the file")
    changes: dict[str, Any] = {name: tables[name] for name in _PLAIN if name in tables}
    for table, fields in _TABLES.items():
        changes |= _fields(_table(tables, table), fields, table)
    if "admission" in tables:
        changes["admission"] = _code(Admission, tables["admission"], "admission")
    if "transfers_allowed" in tables:
        changes["transfers_allowed"] = _flag(tables["transfers_allowed"])
    if "models" in tables:
        changes["models"] = tuple(sorted(map(_model, _rows(tables, "models")), key=lambda terms: terms.model))
    if "hardware" in tables:
        changes["hardware"] = tuple(sorted(map(_price, _rows(tables, "hardware")), key=lambda p: p.name))
    terms, profiles = _profiles(path.parent, tables.get("profiles", []))
    members, quorum = _committee(path.parent, tables)
    return ParametersFile(
        members=members, quorum=quorum, changes=changes | {"profiles": terms}, profiles=profiles
    )


def _fields(table: Mapping[str, Any], fields: Mapping[str, str], name: str) -> dict[str, Any]:
    _require_known(table, fields, f"[{name}]")
    found: dict[str, Any] = {}
    for key, value in table.items():
        field = fields[key]
        if field == "levy_use":
            found[field] = _code(LevyUse, value, "levy use")
        else:
            found[field] = _amount(value) if field.endswith("_micro") else value
    return found


def _committee(folder: Path, tables: Mapping[str, Any]) -> tuple[tuple[Member, ...], int]:
    from creditledger.ledger.keyring import KeyRole, load_public_key

    table = _table(tables, "committee")
    if not table:
        return (), 1
    _require_known(table, ("members", "quorum"), "[committee]")
    keys = [
        load_public_key(_existing(folder, name), role=KeyRole.VALIDATOR)
        for name in _sequence(table.get("members"), "committee members")
    ]
    members = [
        Member(bls_key=key.public, proof_of_possession=key.proof_of_possession, audit_key=key.audit_key)
        for key in keys
    ]
    if not members:
        raise MalformedRecordError("[committee] has no members", expected="at least one public key file")
    return tuple(members), table.get("quorum", len(members) // 2 + 1)


def _model(row: Mapping[str, Any]) -> ModelTerms:
    _require_known(row, ("digest", "name", "micro_per_tflop", *_MODEL), "[[models]]", needed=True)
    digits = row["digest"]
    if not isinstance(digits, str) or len(digits) != 64 or set(digits) - set("0123456789abcdef"):
        raise MalformedRecordError("model digest is not lower-case hex", expected="64 digits")
    return ModelTerms(
        model=bytes.fromhex(digits),
        name=row["name"],
        micro_per_tflop=_amount(row["micro_per_tflop"]),
        **{name: row[name] for name in _MODEL},
    )


def _price(row: Mapping[str, Any]) -> HardwarePrice:
    _require_known(row, ("name", "micro_per_gpu_second"), "[[hardware]]", needed=True)
    return HardwarePrice(name=row["name"], micro_per_gpu_second=_amount(row["micro_per_gpu_second"]))


def _profiles(folder: Path, names: Any) -> tuple[tuple[ProfileTerms, ...], tuple[bytes, ...]]:
    if not _sequence(names, "profiles"):
        return (), ()
    from creditledger.activations.calibration import CalibrationProfile

    found: list[tuple[ProfileTerms, bytes]] = []
    for name in names:
        encoded = read_input(_existing(folder, name), most=PROFILE_BYTES_MAX)
        profile = CalibrationProfile.decode(encoded)
        terms = ProfileTerms(model=profile.model, layer_stop=profile.layer_stop, profile=profile.digest)
        found.append((terms, encoded))
    found.sort(key=lambda pair: (pair[0].model, pair[0].layer_stop))
    return tuple(terms for terms, _ in found), tuple(encoded for _, encoded in found)


def _existing(folder: Path, name: Any) -> Path:
    if not isinstance(name, str) or not (folder / name).is_file():
        raise click.UsageError(f"no such file: {str(name)[:200]!r}, named in the parameters")
    return folder / name


def _amount(value: Any) -> int:
    """Micro-credits: an integer, or text like ``"2.5credits"``."""
    from creditledger.redemption.amount import parse_amount

    if type(value) is int:
        return value
    if isinstance(value, str):
        return parse_amount(value)
    raise MalformedRecordError("not an amount", expected="an integer or text", found=type(value).__name__)


def _flag(value: Any) -> int:
    if not isinstance(value, bool):
        raise MalformedRecordError("transfers_allowed is not true or false", found=ascii(value)[:40])
    return int(value)


def _code(codes: type[Admission] | type[LevyUse], value: Any, what: str) -> int:
    names: dict[str, int] = {code.name.lower(): int(code) for code in codes}
    if not isinstance(value, str) or value not in names:
        raise MalformedRecordError(
            f"{what} is not a known word", expected=" or ".join(names), found=ascii(value)[:40]
        )
    return names[value]


def _table(tables: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    table = tables.get(name, {})
    if not isinstance(table, dict):
        raise MalformedRecordError(f"[{name}] is not a table", found=type(table).__name__)
    return table


def _rows(tables: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    rows = _sequence(tables[name], name)
    if not all(isinstance(row, dict) for row in rows):
        raise MalformedRecordError(f"[[{name}]] holds something else than tables")
    return rows


def _sequence(value: Any, what: str) -> list[Any]:
    if not isinstance(value, list):
        raise MalformedRecordError(f"{what} is not an array", found=type(value).__name__)
    return value


def _require_known(
    found: Mapping[str, Any], known: Mapping[str, Any] | Sequence[str], what: str, *, needed: bool = False
) -> None:
    unknown = sorted(set(found) - set(known))
    if unknown:
        raise MalformedRecordError(
            f"{what} has an unknown key", expected=", ".join(known), found=ascii(unknown[0])[:60]
        )
    missing = [name for name in known if needed and name not in found]
    if missing:
        raise MalformedRecordError(f"{what} lacks a key", expected=missing[0])
