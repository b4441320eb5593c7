"""`doctor`: what this installation has, and what it lacks. Source: specs/cli.md §13."""

import importlib
import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Final

import click

from creditledger import __version__
from creditledger.cli.options import json_option
from creditledger.cli.output import emit, note
from creditledger.errors import StorageError

PACKAGES: Final = ("cryptography", "py-ecc", "msgpack", "lmdb", "numpy", "click", "rich")
EXTRAS: Final = {
    "py-arkworks-bls12381": "native",
    "gguf": "demo",
    "tokenizers": "demo",
    "torch": "torch",
    "starlette": "service",
    "uvicorn": "service",
    "httpx2": "service",
    "matplotlib": "plots",
}


@click.command()
@json_option
def doctor(as_json: bool) -> None:
    """Report versions, backends, model and cache; warn of what is missing or slow. Exits 0."""
    warnings: list[str] = []
    answer = {
        "version": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: _version(name, warnings) for name in PACKAGES},
        "extras": {name: _version(name) for name in EXTRAS},
        "bls": _bls(warnings),
        "msgpack": _msgpack(warnings),
        "lmdb_library": _lmdb(warnings),
        "sqlite_library": importlib.import_module("sqlite3").sqlite_version,
        "model": _model(warnings),
        "cache": _cache(warnings),
    }
    emit(answer | {"warnings": warnings}, as_json=as_json)
    if not as_json:
        for warning in warnings:
            note(f"warning: {warning}")


def _version(name: str, warnings: list[str] | None = None) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        if warnings is not None:
            warnings.append(f"{name} is not installed")
        return None


def _bls(warnings: list[str]) -> str:
    from creditledger.transparency.bls import PyEccBackend, default_backend

    backend = default_backend()
    if isinstance(backend, PyEccBackend):
        warnings.append("BLS is pure Python, seconds a round: pip install 'creditledger[native]'")
        return "py-ecc"
    return type(backend).__name__.removesuffix("Backend").lower()


def _msgpack(warnings: list[str]) -> str:
    import msgpack

    if msgpack.Packer.__module__.endswith("fallback"):
        warnings.append("msgpack runs without its C extension: minting is slower")
        return "pure"
    return "c"


def _lmdb(warnings: list[str]) -> str | None:
    try:
        return ".".join(map(str, importlib.import_module("lmdb").version()))
    except (ImportError, AttributeError):
        warnings.append("lmdb cannot be loaded: ledgers in a directory cannot be opened")
        return None


def _model(warnings: list[str]) -> Path | None:
    from creditledger.activations.runners.default_model import default_model_file

    try:
        return default_model_file()
    except StorageError as error:
        warnings.append(str(error))
        return None


def _cache(warnings: list[str]) -> Path:
    from creditledger.activations.runners.weight_cache import default_cache_dir

    folder = default_cache_dir()
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not os.access(existing, os.W_OK | os.X_OK):
        warnings.append(f"the cache folder {folder} cannot be written")
    return folder
