"""What a cluster is given: three scripts, a directory, and the lines of its slurm.conf.

Source: specs/redemption.md §10."""

import json
import os
import shlex
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Final

from creditledger.errors import MalformedRecordError, StorageError
from creditledger.ledger.keyring import KeyFile, KeyRole, load_key, save_key
from creditledger.redemption.queues.slurm.gate import FOLDERS
from creditledger.redemption.queues.slurm.settings import SlurmSettings

LUA: Final = "job_submit.lua"
GATE: Final = "prolog_gate.sh"
DOORBELL_SCRIPT: Final = "epilog_doorbell.sh"
DOORBELL: Final = "doorbell"
SPENDER_KEY: Final = "spender.key"
_SAFE: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-")


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """What was written, and what an administrator does next."""

    directory: Path
    files: tuple[Path, ...]
    slurm_conf: tuple[str, ...]
    """Lines to add; the script in Lua goes beside slurm.conf."""
    spender: bytes
    """Public key that accounts delegate to, 32 bytes."""


def install(
    directory: Path,
    settings: SlurmSettings,
    *,
    ledger_id: bytes,
    slurm_user: str | None = None,
    slurm_conf: str | None = None,
    random_secret: bytes,
) -> Installation:
    """Write everything into ``directory``. Again: settings and scripts are replaced, the key stays.

    ``slurm_user``: whom the controller runs as, if it is somebody else than we are; ``slurm_conf``: where
    slurm.conf is, if not where Slurm looks by itself; ``random_secret``: 32 bytes for the key.
    Raises StorageError, MalformedRecordError for names that Slurm would not take."""
    for account in settings.all_jobs_of:
        if not account or set(account) - _SAFE:
            raise MalformedRecordError("not a Slurm account", expected="[A-Za-z0-9_.-]+", found=account[:60])
    scripts = (LUA, GATE, DOORBELL_SCRIPT)
    places = _places(directory, settings, slurm_conf=slurm_conf)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for folder in FOLDERS:
            (directory / folder).mkdir(exist_ok=True)
        (directory / DOORBELL).touch()
        for name in scripts:
            _write(directory / name, _filled(name, places))
        if slurm_user is not None:
            for name in (*FOLDERS, DOORBELL):
                shutil.chown(directory / name, user=slurm_user)
    except (OSError, LookupError) as error:
        raise StorageError(f"queue cannot be installed: {error}", found=str(directory)[-100:]) from error
    settings.save(directory)
    return Installation(
        directory=directory,
        files=tuple(directory / name for name in scripts),
        slurm_conf=_lines(directory, is_shadow=settings.is_shadow),
        spender=_spender(directory / SPENDER_KEY, ledger_id, random_secret),
    )


def _lines(directory: Path, *, is_shadow: bool) -> tuple[str, ...]:
    gate = () if is_shadow else (f"PrologSlurmctld={directory / GATE}",)
    return ("JobSubmitPlugins=lua", *gate, f"EpilogSlurmctld={directory / DOORBELL_SCRIPT}")


def _places(directory: Path, settings: SlurmSettings, *, slurm_conf: str | None) -> dict[str, str]:
    """What stands in the scripts' places."""
    accounts = ", ".join(f"[{json.dumps(account)}] = true" for account in settings.all_jobs_of)
    return {
        "@DIRECTORY@": shlex.quote(str(directory)),
        "@SLURM_CONF@": "" if slurm_conf is None else f"export SLURM_CONF={shlex.quote(slurm_conf)}",
        "@SCONTROL@": shlex.quote(shutil.which("scontrol") or "scontrol"),
        "@SHADOW@": "true" if settings.is_shadow else "false",
        "@USER_ID@": str(os.getuid()),
        "@ACCOUNTS@": accounts,
    }


def _filled(name: str, places: Mapping[str, str]) -> str:
    text = files("creditledger.redemption.queues.slurm").joinpath(name).read_text("utf-8")
    for place, value in places.items():
        text = text.replace(place, value)
    return text


def _write(path: Path, text: str) -> None:
    building = path.with_suffix(".new")
    building.write_text(text, encoding="utf-8")
    building.chmod(0o755)
    building.replace(path)


def _spender(path: Path, ledger_id: bytes, secret: bytes) -> bytes:
    if not path.exists():
        save_key(path, KeyFile(role=KeyRole.CLIENT, secret=secret, ledger_id=ledger_id))
    return load_key(path, roles=(KeyRole.CLIENT,), ledger_id=ledger_id).ed25519().public_key
