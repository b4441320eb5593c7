"""What every store promises, run on each of them."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from creditledger.errors import StorageError
from creditledger.ledger.lmdb_store import LmdbStore
from creditledger.ledger.memory_store import MemoryStore
from creditledger.ledger.postgres_store import PostgresStore
from creditledger.ledger.store import KEY_BYTES_MAX, Prefixed, Store
from postgres_server import new_schema

STORES: dict[str, Callable[[Path, str], Store]] = {
    "memory": lambda path, url: MemoryStore(),
    "lmdb": lambda path, url: LmdbStore.create(path / "store"),
    "postgres": lambda path, url: PostgresStore.create(new_schema(url)),
}


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path, postgres: str) -> Iterator[Store]:
    made = STORES[request.param](tmp_path, postgres)
    yield made
    made.close()


def rows(store: Store, prefix: bytes = b"") -> list[tuple[bytes, bytes]]:
    with store.read() as view:
        return list(view.scan(prefix))


def test_what_is_written_is_read(store: Store) -> None:
    with store.write() as view:
        view.put(b"key", b"value")
        view.put(b"empty", b"")
        assert view.get(b"key") == b"value"
    with store.read() as view:
        assert (view.get(b"key"), view.get(b"empty"), view.get(b"other")) == (b"value", b"", None)


def test_an_exception_undoes_the_whole_transaction(store: Store) -> None:
    with store.write() as view:
        view.put(b"a", b"1")
    with pytest.raises(ZeroDivisionError), store.write() as view:  # noqa: PT012
        view.put(b"a", b"2")
        view.put(b"b", b"2")
        raise ZeroDivisionError
    assert rows(store) == [(b"a", b"1")]


def test_the_writer_sees_its_own_changes_in_a_scan(store: Store) -> None:
    with store.write() as view:
        for key in (b"pa", b"pb", b"pd"):
            view.put(key, key)
    with store.write() as view:
        view.put(b"pc", b"new")
        view.delete(b"pb")
        view.put(b"q", b"outside")
        assert list(view.scan(b"p")) == [(b"pa", b"pa"), (b"pc", b"new"), (b"pd", b"pd")]


def test_a_scan_is_in_byte_order_and_passes_no_row_over(store: Store) -> None:
    keys = [b"k" + number.to_bytes(2, "big") for number in range(1_000)]
    with store.write() as view:
        for key in reversed(keys):
            view.put(key, b"")
        view.put(b"j\xff", b"")
        view.put(b"l", b"")
    assert [key for key, _ in rows(store, b"k")] == keys


def test_a_reader_cannot_write(store: Store) -> None:
    with store.read() as view:
        with pytest.raises(StorageError):
            view.put(b"a", b"1")
        with pytest.raises(StorageError):
            view.delete(b"a")
    assert rows(store) == []


def test_deleting_what_is_not_there_is_no_error(store: Store) -> None:
    with store.write() as view:
        view.delete(b"nothing")
    assert rows(store) == []


@pytest.mark.parametrize(
    ("size", "fits"), [(1, True), (KEY_BYTES_MAX, True), (0, False), (KEY_BYTES_MAX + 1, False)]
)
def test_keys_have_a_length_that_every_store_takes(store: Store, size: int, fits: bool) -> None:
    key = b"k" * size
    if fits:
        with store.write() as view:
            view.put(key, b"v")
        assert rows(store) == [(key, b"v")]
        return
    with pytest.raises(StorageError), store.write() as view:  # noqa: PT012
        view.put(b"other", b"v")
        view.put(key, b"v")
    assert rows(store) == []


def test_a_closed_store_says_so(store: Store) -> None:
    store.close()
    store.close()
    with pytest.raises(StorageError), store.read():
        pass
    with pytest.raises(StorageError), store.write():
        pass


def test_a_prefixed_view_sees_only_its_own(store: Store) -> None:
    with store.write() as view:
        view.put(b"ta", b"outside")
        own = Prefixed(view, b"s")
        own.put(b"a", b"1")
        own.put(b"b", b"2")
        own.delete(b"b")
        assert own.get(b"a") == b"1"
        assert list(own.scan(b"")) == [(b"a", b"1")]
    assert rows(store) == [(b"sa", b"1"), (b"ta", b"outside")]


changes = st.lists(
    st.tuples(st.binary(min_size=1, max_size=3), st.one_of(st.none(), st.binary(max_size=4))), max_size=12
)


@given(transactions=st.lists(st.tuples(changes, st.booleans()), max_size=6))
def test_all_stores_agree_with_a_dict(
    transactions: list[tuple[list[tuple[bytes, bytes | None]], bool]],
    tmp_path_factory: pytest.TempPathFactory,
    postgres: str,
) -> None:
    """The same committed and abandoned transactions leave the same rows everywhere."""
    stores = [make(tmp_path_factory.mktemp("store"), postgres) for make in STORES.values()]
    expected: dict[bytes, bytes] = {}
    for edits, commits in transactions:
        if commits:
            for key, value in edits:
                expected.pop(key, None)
                if value is not None:
                    expected[key] = value
        for store in stores:
            _edit(store, edits, commits)
    for store in stores:
        assert rows(store) == sorted(expected.items())
        store.close()


def _edit(store: Store, edits: list[tuple[bytes, bytes | None]], commits: bool) -> None:
    try:
        with store.write() as view:
            for key, value in edits:
                if value is None:
                    view.delete(key)
                else:
                    view.put(key, value)
            if not commits:
                raise KeyError
    except KeyError:
        pass
