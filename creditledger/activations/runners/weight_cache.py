"""A converted model on disk: one file of bf16 bits to map into memory, and its JSON header.

The folder is written beside its place and renamed, so it is there whole or not at all. A tensor's
SHA-256 is checked whenever it is read: a damaged cache is refused, never used.
"""

import hashlib
import json
import math
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np

from creditledger.activations.bf16 import Bf16Bits
from creditledger.activations.model import ModelDescription, ModelShape, model_digest
from creditledger.activations.runners.model_source import (
    ModelSource,
    NamedTensor,
    expected_tensors,
    require_tensors,
)
from creditledger.errors import StorageError

Progress = Callable[[int, int], None]
"""Called with the number of tensors converted and the number of all."""

_FORMAT: Final = 1
_ALIGNMENT: Final = 64
_WEIGHTS, _HEADER, _TOKENIZER = "weights.bf16", "header.json", "tokenizer.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class CachedTensor:
    """Where one tensor lies in the weights file, and what it must hash to."""

    shape: tuple[int, ...]
    offset: int
    sha256: str


class WeightCache:
    """The weights of one model, read from its cache folder."""

    def __init__(self, folder: Path) -> None:
        """Open ``folder``. Raises StorageError when it is not a whole cache of this format."""
        self.folder = folder
        try:
            header = json.loads((folder / _HEADER).read_bytes())
            self._tensors = {name: _cached(entry) for name, entry in header["tensors"].items()}
            self.description = _description(header, self._tensors)
            size = (folder / _WEIGHTS).stat().st_size
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise _damaged(folder, found=str(error)) from error
        if size != _end(self._tensors):
            raise _damaged(folder, found=f"{size} bytes instead of {_end(self._tensors)}")

    def tensor(self, name: str) -> Bf16Bits:
        """The bf16 bits of tensor ``name``, mapped read-only. Raises StorageError if damaged."""
        entry = self._tensors[name]
        mapped: Bf16Bits = np.memmap(self.folder / _WEIGHTS, np.dtype("<u2"), "r", entry.offset, entry.shape)
        if hashlib.sha256(mapped.data).hexdigest() != entry.sha256:
            raise _damaged(self.folder, found=f"other bytes in {name}")
        return mapped

    def tokenizer_json(self) -> str | None:
        """The tokenizer's document, None when the model came without one."""
        file = self.folder / _TOKENIZER
        return file.read_text("utf-8") if file.is_file() else None


def default_cache_dir() -> Path:
    """``$XDG_CACHE_HOME/creditledger/models``, or the same below ``~/.cache``."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "creditledger" / "models"


def cache_key(files: Sequence[Path]) -> str:
    """Changes when a file of the model is another one: by place, size or time of change."""
    facts = [[str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns] for file in files]
    return hashlib.sha256(json.dumps([_FORMAT, facts]).encode()).hexdigest()[:32]


def write_cache(
    folder: Path, source: ModelSource, files: Sequence[Path], *, progress: Progress | None = None
) -> None:
    """Convert ``source``, read from ``files``, into the new cache ``folder``.

    Raises StorageError when the disk does not take it; then nothing is left behind."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=".draft-", dir=folder.parent))
    except OSError as error:
        raise _unwritable(folder, error) from error
    try:
        _write_draft(draft, source, files, progress)
        _publish(draft, folder)
    except OSError as error:
        raise _unwritable(folder, error) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _write_draft(draft: Path, source: ModelSource, files: Sequence[Path], progress: Progress | None) -> None:
    expected = expected_tensors(source.shape, tie_embeddings=source.tie_embeddings)
    tensors: dict[str, CachedTensor] = {}
    with (draft / _WEIGHTS).open("wb") as stream:
        for named in source.tensors():
            tensors[named[0]] = _append(stream, named)
            if progress is not None:
                progress(len(tensors), len(expected))
        stream.flush()
        os.fsync(stream.fileno())
    require_tensors({name: entry.shape for name, entry in tensors.items()}, expected)
    if source.tokenizer_json is not None:
        (draft / _TOKENIZER).write_text(source.tokenizer_json, "utf-8")
    header = _header(source, files, tensors)
    (draft / _HEADER).write_text(json.dumps(header, indent=1), "utf-8")


def _append(stream: BinaryIO, named: NamedTensor) -> CachedTensor:
    _, bits = named
    encoded = np.ascontiguousarray(bits, dtype="<u2")
    stream.write(bytes(-stream.tell() % _ALIGNMENT))
    offset = stream.tell()
    stream.write(encoded.data)
    sha256 = hashlib.sha256(encoded.data).hexdigest()
    return CachedTensor(shape=encoded.shape, offset=offset, sha256=sha256)


def _publish(draft: Path, folder: Path) -> None:
    try:
        draft.rename(folder)
    except OSError:
        # Another process may have converted the same files first: theirs is as good as ours.
        if not (folder / _HEADER).is_file():
            raise


def _header(source: ModelSource, files: Sequence[Path], tensors: dict[str, CachedTensor]) -> dict[str, Any]:
    return {
        "format": _FORMAT,
        "name": source.name,
        "shape": asdict(source.shape),
        "rms_epsilon": source.rms_epsilon,
        "rope_theta": source.rope_theta,
        "tie_embeddings": source.tie_embeddings,
        "source": [_source_entry(file) for file in files],
        "tensors": {name: asdict(entry) for name, entry in tensors.items()},
    }


def _source_entry(file: Path) -> dict[str, Any]:
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return {"name": file.name, "size": file.stat().st_size, "sha256": digest}


def _description(header: dict[str, Any], tensors: dict[str, CachedTensor]) -> ModelDescription:
    if header["format"] != _FORMAT:
        raise ValueError(f"format {header['format']}")
    entries = [(name, "BF16", entry.shape, bytes.fromhex(entry.sha256)) for name, entry in tensors.items()]
    return ModelDescription(
        digest=model_digest(entries),
        shape=ModelShape(**header["shape"]),
        name=header["name"],
        rms_epsilon=header["rms_epsilon"],
        rope_theta=header["rope_theta"],
        tie_embeddings=header["tie_embeddings"],
    )


def _cached(entry: dict[str, Any]) -> CachedTensor:
    return CachedTensor(shape=tuple(entry["shape"]), offset=entry["offset"], sha256=entry["sha256"])


def _end(tensors: dict[str, CachedTensor]) -> int:
    return max(entry.offset + 2 * math.prod(entry.shape) for entry in tensors.values())


def _damaged(folder: Path, *, found: str) -> StorageError:
    return StorageError(
        f"cached weights are damaged: delete {folder} and load the model again",
        expected="the bytes that were converted",
        found=found,
    )


def _unwritable(folder: Path, error: OSError) -> StorageError:
    return StorageError(
        f"cannot keep converted weights in {folder.parent}: {error.strerror or error}",
        expected="a writable folder with space",
        found=type(error).__name__,
    )
