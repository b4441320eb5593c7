"""One digest per model, whatever file its weights came from."""

import hashlib
from dataclasses import replace

import pytest

from creditledger.activations.model import ModelShape, TensorEntry, model_digest
from creditledger.errors import MalformedRecordError

SHA = hashlib.sha256(b"weights").digest()
SHAPE = ModelShape(layers=2, hidden=64, ff=96, heads=4, kv_heads=2, head_dim=16, vocab=260)


def _node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def _leaf(name: bytes, dims: bytes, sha: bytes) -> bytes:
    data = len(name).to_bytes(2, "little") + name + b"\x04BF16" + dims + sha
    return hashlib.sha256(b"\x00" + data).digest()


def test_three_tensors_make_an_rfc_6962_tree_sorted_by_name() -> None:
    entries: list[TensorEntry] = [
        ("c", "BF16", (), SHA),
        ("a", "BF16", (2, 3), SHA),
        ("b", "BF16", (300,), SHA),
    ]
    a = _leaf(b"a", b"\x02" + b"\x02" + bytes(7) + b"\x03" + bytes(7), SHA)
    b = _leaf(b"b", b"\x01" + b"\x2c\x01" + bytes(6), SHA)
    c = _leaf(b"c", b"\x00", SHA)
    assert model_digest(entries) == _node(_node(a, b), c)
    assert model_digest(reversed(entries)) == model_digest(entries)


@pytest.mark.parametrize(
    "other",
    [
        ("b", "BF16", (2, 3), SHA),
        ("a", "F16", (2, 3), SHA),
        ("a", "BF16", (3, 2), SHA),
        ("a", "BF16", (6,), SHA),
        ("a", "BF16", (2, 3), bytes(32)),
    ],
)
def test_every_part_of_a_tensor_counts(other: TensorEntry) -> None:
    assert model_digest([other]) != model_digest([("a", "BF16", (2, 3), SHA)])


@pytest.mark.parametrize(
    "entries",
    [
        [],
        [("a", "BF16", (2,), SHA), ("a", "BF16", (3,), SHA)],
        [("", "BF16", (2,), SHA)],
        [("ä", "BF16", (2,), SHA)],
        [("a", "", (2,), SHA)],
        [("a", "BF16", (1,) * 9, SHA)],
        [("a", "BF16", (2,), SHA[:31])],
    ],
)
def test_what_has_no_encoding_is_refused(entries: list[TensorEntry]) -> None:
    with pytest.raises(MalformedRecordError):
        model_digest(entries)


def test_a_shape_whose_heads_fit_is_accepted_and_others_refused() -> None:
    assert replace(SHAPE, heads=6, kv_heads=3).heads == 6
    for change in ({"kv_heads": 3}, {"head_dim": 15}, {"layers": 0}, {"ff": 2**31}):
        with pytest.raises(MalformedRecordError, match="model shape"):
            replace(SHAPE, **change)
