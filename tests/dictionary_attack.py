"""What an attacker without keys does to a published ledger: guess prompts, derive, compare. Threat D9.

Everything that follows from a guess and from published values is computed for every guess, with numpy where
there is arithmetic; what needs a key or a salt is tried with all zeros and with each candidate given."""

import hashlib
import hmac
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from creditledger.activations.bf16 import round_bf16, to_bf16_bits
from creditledger.activations.runners.numerics import FUSED
from creditledger.activations.runners.rotary import Rotation
from creditledger.activations.runners.weights import LayerWeights, LoadedModel
from creditledger.activations.sketch import SketchContext, sketch_seed
from creditledger.records import canonical
from creditledger.records.receipt import Receipt

STRETCH: Final = 16
"""So many equal bytes in a row are a match, at whatever offset they are published."""
CHUNK: Final = 512
_ZERO: Final = bytes(32)
_PREFILTER: Final = 1 << 24
Guesses = NDArray[np.uint8]
"""``(guesses, positions)``: tokens."""
Bytes = NDArray[np.uint8]
Match = tuple[int, str]
"""Which guess, and what of it is published."""


class Published:
    """All stretches of 16 bytes of what anybody can read."""

    def __init__(self, contents: Iterable[bytes]) -> None:
        words: list[NDArray[np.uint64]] = []
        self._stretches: set[bytes] = set()
        for content in {bytes(content) for content in contents}:
            self._stretches |= {content[at : at + STRETCH] for at in range(len(content) - STRETCH + 1)}
            if len(content) >= 8:
                windows = sliding_window_view(np.frombuffer(content, np.uint8), 8)
                words.append(np.unique(np.ascontiguousarray(windows).view("<u8")))
        self._words = np.unique(np.concatenate(words))
        self._filter = np.zeros(_PREFILTER, dtype=bool)
        self._filter[_folded(self._words)] = True

    def __contains__(self, value: bytes) -> bool:
        """Whether the first or the last 16 bytes of ``value`` are published; a digest may be cut short."""
        return value[:STRETCH] in self._stretches or value[-STRETCH:] in self._stretches

    def touches(self, values: Bytes) -> NDArray[np.int64]:
        """Indices of the rows of ``(n, bytes)`` of which 16 bytes in a row are published."""
        words = np.ascontiguousarray(values).view("<u8")
        # 16 bytes in a row hold one of these words whole, whatever the offset.
        near, place = np.nonzero(self._filter[_folded(words)])
        found = words[near, place]
        is_exact = self._words[np.searchsorted(self._words, found).clip(max=len(self._words) - 1)] == found
        exact = np.unique(near[is_exact])
        return np.array([index for index in exact if self._shows(values[index])], dtype=np.int64)

    def _shows(self, value: Bytes) -> bool:
        content = value.tobytes()
        starts = range(len(content) - STRETCH + 1)
        return any(content[at : at + STRETCH] in self._stretches for at in starts)


def _folded(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    return (words ^ (words >> np.uint64(24)) ^ (words >> np.uint64(48))) % np.uint64(_PREFILTER)


def runs(model: LoadedModel, rows: NDArray[np.float32], layer: int) -> NDArray[np.float32]:
    """One layer of many sequences ``(n, positions, hidden)`` at once, as a fused bf16 kernel runs it.

    A sequence's rows do not depend on which others it is run with."""
    weights, shape = model.layer(layer), model.description.shape
    turn = Rotation(model.description, FUSED, first=0, count=rows.shape[1]).turn
    normed = _norm(model, rows, weights.input_norm)
    heads = (shape.heads, shape.kv_heads, shape.kv_heads)
    projected = [
        _linear(normed, matrix).reshape(*rows.shape[:2], count, shape.head_dim)
        for matrix, count in zip((weights.query, weights.key, weights.value), heads, strict=True)
    ]
    queries, keys, values = turn(projected[0]), turn(projected[1]), projected[2]
    group = shape.heads // shape.kv_heads
    keys, values = (np.repeat(part, group, axis=2).swapaxes(1, 2) for part in (keys, values))
    scores = queries.swapaxes(1, 2) @ keys.swapaxes(2, 3)
    scores *= np.float32(shape.head_dim**-0.5)
    scores += np.triu(np.full(scores.shape[-2:], -np.inf, np.float32), k=1)
    np.exp(scores - scores.max(axis=-1, keepdims=True), out=scores)
    scores /= scores.sum(axis=-1, keepdims=True)
    context = round_bf16(np.ascontiguousarray((scores @ values).swapaxes(1, 2)))
    rows = round_bf16(rows + _linear(context.reshape(*rows.shape[:2], -1), weights.output))
    return round_bf16(rows + _feed_forward(_norm(model, rows, weights.post_attention_norm), weights))


def _norm(model: LoadedModel, rows: NDArray[np.float32], weight: NDArray[np.float32]) -> NDArray[np.float32]:
    mean_square = np.mean(np.square(rows), axis=-1, keepdims=True)
    return round_bf16(rows / np.sqrt(mean_square + np.float32(model.description.rms_epsilon)) * weight)


def _linear(rows: NDArray[np.float32], matrix: NDArray[np.float32]) -> NDArray[np.float32]:
    return round_bf16(rows @ matrix.T)


def _feed_forward(rows: NDArray[np.float32], weights: LayerWeights) -> NDArray[np.float32]:
    gate = _linear(rows, weights.gate)
    gate = round_bf16(gate / (1 + np.exp(-gate)) * _linear(rows, weights.up))
    return _linear(gate, weights.down)


@dataclass(frozen=True, kw_only=True)
class Attack:
    """Guesses against one pool. ``matches`` is empty if nothing published helps."""

    model: LoadedModel
    published: Published
    receipts: Sequence[Receipt]
    """All that is logged, decoded: their fields give the signs of their sketches away."""
    exponents: dict[int, NDArray[np.int8]]
    """Of the published profiles, by layer_stop."""
    vocabulary: Sequence[str]
    candidates: Sequence[bytes] = ()
    """Values of 16 or 32 bytes to try as a key or salt, for the guesses of the shortlist."""
    statistics: Sequence[bytes] = ()
    """What validators measured, to the byte: an attacker with their kernels could measure it again."""
    shortlist: frozenset[int] = frozenset()
    _signs: dict[bytes, NDArray[np.float64]] = field(default_factory=dict)

    def matches(self, guesses: Guesses) -> set[Match]:
        """What of which guess is published."""
        found: set[Match] = set()
        for start in range(0, len(guesses), CHUNK):
            found |= self._chunk(guesses[start : start + CHUNK], start)
        return found

    def leaks(self, guess: Guesses) -> dict[str, bytes]:
        """All that is derived of one guess without any key, by name: one value of each name."""
        rows, sketches = self._computed(guess[np.newaxis])
        derived = dict(self._derived(guess.tolist(), *_of(0, rows, sketches), [b"", _ZERO]))
        return derived | {name: part[0].tobytes() for name, part in _raw(rows, sketches).items()}

    def _chunk(self, guesses: Guesses, first: int) -> set[Match]:
        rows, sketches = self._computed(guesses)
        found: set[Match] = set()
        for name, part in _raw(rows, sketches).items():
            found |= {(first + int(index), name) for index in self.published.touches(part)}
        for index, guess in enumerate(guesses):
            keys = [b"", _ZERO, *(self.candidates if first + index in self.shortlist else ())]
            derived = self._derived(guess.tolist(), *_of(index, rows, sketches), keys)
            found |= {(first + index, name) for name, value in derived if value in self.published}
        return found

    def _computed(self, guesses: Guesses) -> tuple[list[Bytes], list[Bytes]]:
        """Rows by boundary, and sketches by receipt: each ``(guesses, positions, bytes)``."""
        rows = [self.model.embedding(guesses.reshape(-1).tolist()).reshape(*guesses.shape, -1)]
        for layer in range(self.model.description.shape.layers):
            rows.append(runs(self.model, rows[-1], layer))
        sketches = [self._sketches(receipt, rows[receipt.layer_stop]) for receipt in self.receipts]
        return [to_bf16_bits(part).view(np.uint8) for part in rows], sketches

    def _sketches(self, receipt: Receipt, rows: NDArray[np.float32]) -> Bytes:
        """What the receipt's node would have sketched of each guess. Source: specs/check.md §2."""
        count, width = rows.shape[1:]
        seed = sketch_seed(SketchContext.of_receipt(receipt), receipt.output_root)
        signs = self._signs.get(seed)
        if signs is None:
            streams = [
                hashlib.shake_128(seed + struct.pack("<I", block)).digest(8 * width)
                for block in range((count + 31) // 32)
            ]
            bits = np.unpackbits(np.frombuffer(b"".join(streams), np.uint8), bitorder="little")
            signs = self._signs[seed] = bits.reshape(-1, 2, width)[:count] * 2.0 - 1.0
        scale = np.ldexp(np.float32(1), self.exponents[receipt.layer_stop].astype(np.int32) + 12)
        units = np.clip(np.rint(rows * scale), -(2.0**38), 2.0**38).astype(np.float64)
        sums = np.matmul(signs, units[..., np.newaxis])[..., 0]
        stored = np.clip(np.ldexp(sums, -20), -65_504, 65_504) + 0.0
        return stored.astype("<f2").view(np.uint8)

    def _derived(
        self, tokens: list[int], boundaries: list[list[bytes]], sketches: list[bytes], keys: list[bytes]
    ) -> Iterator[tuple[str, bytes]]:
        """Every value with a name, for one guess. ``boundaries``: rows by layer; ``keys``: b"" is none."""
        for name, encoded in self._texts(tokens):
            yield name, encoded
            yield from _digests(name, encoded, keys)
        for layer, rows in enumerate(boundaries):
            named = f"rows before layer {layer}"
            yield from _digests(named, b"".join(rows), keys)
            for row in (rows[0], rows[-1]):
                yield from _digests(f"row before layer {layer}", row, keys)
            for key in keys:
                yield from _tree(f"tree before layer {layer}", rows, key)
        for number, opened in enumerate(sketches):
            for key in keys:
                yield f"commitment {number}", _sha256(b"cl/sketch" + key + opened)
            yield from _digests(f"sketch {number}", opened, keys)
        for measured in self.statistics:
            for key in keys:
                yield "evidence", _sha256(b"creditledger/v1/evidence\0" + key + measured)

    def _texts(self, tokens: list[int]) -> Iterator[tuple[str, bytes]]:
        text = " ".join(self.vocabulary[token] for token in tokens).encode()
        yield "text", text
        for width in ("B", "<H", "<I", ">I"):
            yield f"tokens {width}", b"".join(struct.pack(width, token) for token in tokens)
        yield "tokens msgpack", canonical.encode(list(tokens))
        for seed in (_sha256(text), hashlib.sha256(b"".join(struct.pack("<I", t) for t in tokens)).digest()):
            yield "sampler", _sha256(b"cl/sampler" + struct.pack("<BI32s", 2, 1000, seed))


def _raw(rows: list[Bytes], sketches: list[Bytes]) -> dict[str, Bytes]:
    """What is published as it is if it is published: ``(guesses, bytes)``."""
    named = {f"rows before layer {layer}": part for layer, part in enumerate(rows)}
    named |= {f"sketch {number}": part for number, part in enumerate(sketches)}
    return {name: part.reshape(len(part), -1) for name, part in named.items()}


def _of(index: int, rows: list[Bytes], sketches: list[Bytes]) -> tuple[list[list[bytes]], list[bytes]]:
    """One guess's own rows, by layer, and sketches."""
    return [[row.tobytes() for row in part[index]] for part in rows], [
        part[index].tobytes() for part in sketches
    ]


def _digests(name: str, content: bytes, keys: Sequence[bytes]) -> Iterator[tuple[str, bytes]]:
    for key in keys:
        yield f"SHA-256 of {name}", _sha256(key + content)
        if key:
            yield f"HMAC of {name}", hmac.digest(key, content, "sha256")


def _tree(name: str, rows: Sequence[bytes], key: bytes) -> Iterator[tuple[str, bytes]]:
    """Root and outer leaves of specs/check.md §1: ``key`` as the boundary's key, and as every row's salt."""
    sha256 = hashlib.sha256
    for prefixes in _leaf_prefixes(key, len(rows)):
        level = [sha256(prefix + row).digest() for prefix, row in zip(prefixes, rows, strict=True)]
        yield name, level[0]
        yield name, level[-1]
        while len(level) > 1:
            pairs = zip(level[::2], level[1::2], strict=False)
            odd = level[len(level) & ~1 :]
            level = [sha256(b"\1cl/node" + left + right).digest() for left, right in pairs] + odd
        yield name, level[0]


@lru_cache(maxsize=4096)
def _leaf_prefixes(key: bytes, count: int) -> list[list[bytes]]:
    salts = [[key[:16]] * count]
    if len(key) == 32:
        salts.append([hmac.digest(key, struct.pack("<I", at), "sha256")[:16] for at in range(count)])
    return [
        [b"\0cl/leaf" + struct.pack("<I", at) + salt for at, salt in enumerate(of_rows)] for of_rows in salts
    ]


def _sha256(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()
