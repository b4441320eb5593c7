"""The state's views agree with a plain sorted dict, and the map's root with its entries."""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from creditledger.credits.account import Totals
from creditledger.credits.rounds import RoundInfo
from creditledger.credits.state import (
    DIRTY,
    MapNodes,
    MemoryState,
    Overlay,
    State,
    StateView,
    decode_row,
    encode_row,
)
from creditledger.errors import IntegrityError
from creditledger.records.round import Round
from creditledger.transparency.sparse_merkle import EMPTY_MAP_ROOT, SparseMerkleMap, verify_map_proof
from fakes.cast import fake_digest

KEYS = st.binary(min_size=1, max_size=4).map(lambda key: bytes(byte % 3 for byte in key))
WRITES = st.lists(st.tuples(KEYS, st.none() | st.binary(max_size=2)), max_size=30)
PREFIXES = (b"", b"\0", b"\1", b"\0\0", b"\1\2", b"\2\2\2", b"\0\1\2\0", b"\xff")


def write(view: StateView, model: dict[bytes, bytes], writes: list[tuple[bytes, bytes | None]]) -> None:
    for key, value in writes:
        if value is None:
            view.delete(key)
            model.pop(key, None)
        else:
            view.put(key, value)
            model[key] = value


def require_same(view: StateView, model: dict[bytes, bytes]) -> None:
    for prefix in PREFIXES:
        expected = sorted((key, value) for key, value in model.items() if key.startswith(prefix))
        assert list(view.scan(prefix)) == expected
    for key in (b"\0", b"\1\1", b"\2\0\1"):
        assert view.get(key) == model.get(key)


@given(WRITES, WRITES, WRITES)
def test_memory_and_overlays_read_like_a_sorted_dict(first: list, second: list, third: list) -> None:
    base, model = MemoryState(), {}
    write(base, model, first)
    require_same(base, model)
    kept = dict(model)
    overlay = Overlay(base)
    write(overlay, model, second)
    require_same(overlay, model)
    upper = Overlay(overlay)
    write(upper, model, third)
    require_same(upper, model)
    require_same(base, kept)
    upper.merge()
    overlay.merge()
    require_same(base, model)


@given(
    st.dictionaries(st.binary(min_size=1, max_size=3), st.binary(max_size=3), max_size=20), st.integers(0, 20)
)
def test_the_root_depends_only_on_the_entries(entries: dict[bytes, bytes], cut: int) -> None:
    """One commit or two, any order: one root, and no dirty marker is left."""
    once, twice = State(MemoryState()), State(MemoryState())
    for key, value in entries.items():
        once.put_map(key, value)
    items = list(reversed(entries.items()))
    for part in (items[:cut], items[cut:]):
        for key, value in part:
            twice.put_map(key, value)
        twice.commit_map()
    assert once.commit_map() == twice.map_root == once.map_root
    assert list(once.view.scan(DIRTY)) == []


def test_an_older_root_stays_provable() -> None:
    state = State(MemoryState())
    assert state.map_root == EMPTY_MAP_ROOT
    state.put_map(b"k", b"old")
    old = state.commit_map()
    state.put_map(b"k", b"new")
    state.put_map(b"l", b"other")
    assert state.map_root == old
    new = state.commit_map()
    tree = SparseMerkleMap(MapNodes(state.view))
    verify_map_proof(root=old, key=b"k", value=b"old", proof=tree.prove(old, b"k"))
    verify_map_proof(root=old, key=b"l", value=None, proof=tree.prove(old, b"l"))
    verify_map_proof(root=new, key=b"k", value=b"new", proof=tree.prove(new, b"k"))


def test_a_commit_on_an_overlay_leaves_the_base_alone() -> None:
    base = MemoryState()
    State(base).put_map(b"k", b"v")
    before = dict(base.scan(b""))
    root = State(Overlay(base)).commit_map()
    assert dict(base.scan(b"")) == before
    assert State(base).commit_map() == root


def test_a_commit_that_was_proposed_is_not_made_again_and_leaves_the_same_rows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of the same root and the same changes; of any others it is made anew."""
    made: list[bytes] = []
    update = SparseMerkleMap.update

    def counted(tree: SparseMerkleMap, root: bytes, changes: Mapping[bytes, bytes | None]) -> bytes:
        made.append(root)
        return update(tree, root, changes)

    monkeypatch.setattr(SparseMerkleMap, "update", counted)

    def marked(*keys: bytes) -> MemoryState:
        view = MemoryState()
        for key in keys:
            State(view).put_map(key, b"v")
        return view

    base, other, third = marked(b"k", b"l"), marked(b"k", b"l"), marked(b"k", b"m")
    State(Overlay(base)).commit_map()
    assert len(made) == 1
    State(base).commit_map()
    assert len(made) == 1
    State(other).commit_map()
    assert len(made) == 2
    assert dict(base.scan(b"")) == dict(other.scan(b""))
    assert State(third).commit_map() != State(other).map_root
    assert len(made) == 3


ROUND = Round(number=7, log_size=9, log_root=bytes(32), map_root=bytes(32), parameters=bytes(32))
ROWS = [
    Totals(granted_micro=2**63 - 1, burned_micro=3),
    RoundInfo(round=ROUND, digest=fake_digest("round"), index=9, certificate_index=12, certified_unix_ms=5),
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: type(row).__name__)
def test_decoding_a_row_undoes_encoding(row: Totals | RoundInfo) -> None:
    assert decode_row(type(row), encode_row(row)) == row


@pytest.mark.parametrize("stored", [b"", b"\x90", b"\xc0", encode_row(Totals()) + b"\0"])
def test_a_row_that_was_not_written_so_is_an_integrity_error(stored: bytes) -> None:
    with pytest.raises(IntegrityError):
        decode_row(Totals, stored)
