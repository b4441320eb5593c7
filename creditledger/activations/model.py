"""Which model: its shape, its constants, and one digest over its weights.

Source: specs/model.md §2.
"""

import struct
from collections.abc import Iterable
from dataclasses import dataclass, fields

from creditledger.errors import MalformedRecordError
from creditledger.quantities import Digest
from creditledger.transparency.merkle import leaf_hashes, root_from_leaf_hashes

TensorEntry = tuple[str, str, tuple[int, ...], bytes]
"""Name, dtype, shape and SHA-256 of the little-endian row-major bytes of one tensor."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelShape:
    """The integers that fix the work of a Llama-family model. Raises MalformedRecordError."""

    layers: int
    hidden: int
    """Width of the residual stream: channels per position at every layer boundary."""
    ff: int
    """Inner width of the feed-forward part."""
    heads: int
    kv_heads: int
    """Key and value heads, each shared by ``heads / kv_heads`` query heads."""
    head_dim: int
    vocab: int

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if type(value) is not int or not 0 < value < 2**31:
                raise MalformedRecordError(
                    f"model shape: {field.name} is unusable",
                    expected="an integer from 1 to 2^31-1",
                    found=repr(value)[:40],
                )
        if self.heads % self.kv_heads or self.head_dim % 2:
            raise MalformedRecordError(
                "model shape: heads do not fit",
                expected="kv_heads divides heads, head_dim even",
                found=f"{self.heads} heads, {self.kv_heads} kv_heads, head_dim {self.head_dim}",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelDescription:
    """One model, as a job and a profile name it: by digest, with what a runner must know."""

    digest: Digest
    """`model_digest` of the bf16 weights: the same for every file format that holds them."""
    shape: ModelShape
    name: str
    """For people only; nothing is decided by it."""
    rms_epsilon: float
    """Added to the mean square in RMSNorm; a float32 value."""
    rope_theta: float
    """Base of the rotary frequencies; a float32 value."""
    tie_embeddings: bool
    """Whether the logits use the embedding matrix again."""


def model_digest(tensors: Iterable[TensorEntry]) -> Digest:
    """The 32-byte RFC 6962 Merkle root over all tensors of a model, sorted by name.

    Each tensor: its HuggingFace name (ASCII, ``model.layers.0.self_attn.q_proj.weight``), its
    dtype as safetensors writes it (``BF16``), its shape (row-major, rows first) and the SHA-256
    of its little-endian bytes. The leaf data is::

        u16le length of name || name || u8 length of dtype || dtype
        || u8 number of dimensions || u64le per dimension || 32-byte SHA-256

    and is hashed as ``SHA-256(0x00 || data)``; a node is ``SHA-256(0x01 || left || right)``; names
    sort by bytes. Raises MalformedRecordError for no tensors, a repeated name or a field out of
    range. Source: specs/model.md §2."""
    leaves = sorted((_name_bytes(entry[0]), _leaf(*entry)) for entry in tensors)
    names = [name for name, _ in leaves]
    if not leaves or len(set(names)) != len(names):
        raise MalformedRecordError(
            "no digest for these tensors",
            expected="at least one tensor, every name once",
            found=f"{len(names)} tensors, {len(set(names))} names",
        )
    return root_from_leaf_hashes(leaf_hashes(data for _, data in leaves))


def _name_bytes(name: str) -> bytes:
    if not name.isascii() or not 0 < len(name) <= 1024:
        raise MalformedRecordError(
            "tensor name is unusable", expected="1 to 1024 ASCII letters", found=name[:60]
        )
    return name.encode("ascii")


def _leaf(name: str, dtype: str, shape: tuple[int, ...], sha256: bytes) -> bytes:
    if not dtype.isascii() or not 0 < len(dtype) <= 16 or len(shape) > 8 or len(sha256) != 32:
        raise MalformedRecordError(
            f"tensor {name[:80]} is not described properly",
            expected="dtype of 1 to 16 letters, at most 8 dimensions, 32-byte SHA-256",
            found=f"{dtype[:20]!r}, {len(shape)} dimensions, {len(sha256)} bytes",
        )
    named = _name_bytes(name)
    head = struct.pack("<H", len(named)) + named + struct.pack("<B", len(dtype)) + dtype.encode()
    return head + struct.pack(f"<B{len(shape)}Q", len(shape), *shape) + sha256
