"""What may lie on a shelf of evidence: each refusal beside what is still taken. specs/service.md §6.1."""

from hashlib import sha256
from pathlib import Path

import pytest

from creditledger.errors import BusyError, ConflictError, RateLimitError, StorageError, VerificationError
from creditledger.ledger.disk_space import is_out_of_space
from creditledger.service import evidence_shelf
from creditledger.service.evidence_shelf import EvidenceShelf, Quota
from creditledger.validation.evidence import brought_name

NODE, OTHER = b"n" * 32, b"o" * 32
SMALL = Quota(bytes_each=100, files_each=3, bytes_all=150, free_bytes=0)


class Shelf(EvidenceShelf):
    """A shelf with a clock, to bring whole files to."""

    def __init__(self, folder: Path, quota: Quota = SMALL) -> None:
        self.now = 0.0
        self.folder = folder
        super().__init__(folder, quota=quota, monotonic=lambda: self.now)

    def bring(self, number: int, size: int, by: bytes = NODE) -> str:
        name, content = brought_name(bytes([number]) * 32, by), bytes([number]) * size
        with self.arrival(name, size=size, digest=sha256(content).digest(), by=by) as arrival:
            arrival.add(content)
            arrival.keep()
        return name


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path / "evidence")


def test_a_share_of_bytes_is_an_accounts_own(shelf: Shelf) -> None:
    shelf.bring(1, 60)
    with pytest.raises(RateLimitError) as refused:
        shelf.bring(2, 41)
    assert refused.value.retry_after_s > 0
    shelf.bring(2, 40)
    shelf.bring(2, 40, by=OTHER)


def test_a_share_of_files_is_an_accounts_own(shelf: Shelf) -> None:
    for number in range(3):
        shelf.bring(number, 1)
    with pytest.raises(RateLimitError):
        shelf.bring(3, 1)
    shelf.bring(3, 1, by=OTHER)


def test_all_together_have_a_share(shelf: Shelf) -> None:
    shelf.bring(1, 100)
    with pytest.raises(StorageError) as refused:
        shelf.bring(1, 51, by=OTHER)
    assert is_out_of_space(refused.value)
    shelf.bring(1, 50, by=OTHER)


def test_room_for_the_log_stays_free(tmp_path: Path) -> None:
    full = Shelf(tmp_path / "evidence", Quota(free_bytes=1 << 62))
    with pytest.raises(StorageError) as refused:
        full.bring(1, 1)
    assert is_out_of_space(refused.value)


def test_a_share_is_the_same_after_a_restart(shelf: Shelf) -> None:
    shelf.bring(1, 100)
    with pytest.raises(RateLimitError):
        Shelf(shelf.folder).bring(2, 1)


def test_what_was_erased_counts_no_more_but_is_not_looked_for_each_time(shelf: Shelf) -> None:
    name = shelf.bring(1, 100)
    (shelf.folder / name).unlink()
    with pytest.raises(RateLimitError):
        shelf.bring(2, 1)
    shelf.now = evidence_shelf.COUNT_SECONDS
    shelf.bring(2, 1)


def test_what_is_coming_counts_too(shelf: Shelf) -> None:
    with shelf.arrival("a", size=60, digest=bytes(32), by=NODE), pytest.raises(RateLimitError):
        shelf.bring(2, 41)
    shelf.bring(2, 41)


def test_one_key_does_not_take_all_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf = Shelf(tmp_path / "evidence", Quota(free_bytes=0))
    monkeypatch.setattr(evidence_shelf, "ARRIVALS_EACH_MAX", 1)
    with shelf.arrival("a", size=1, digest=bytes(32), by=NODE):
        with pytest.raises(BusyError):
            shelf.bring(2, 1)
        shelf.bring(2, 1, by=OTHER)
        monkeypatch.setattr(evidence_shelf, "ARRIVALS_MAX", 1)
        with pytest.raises(BusyError):
            shelf.bring(3, 1, by=OTHER)
    shelf.bring(2, 1)


def test_what_is_not_what_was_announced_leaves_nothing(shelf: Shelf) -> None:
    with shelf.arrival("a", size=1, digest=bytes(32), by=NODE) as arrival:
        arrival.add(b"x")
        with pytest.raises(VerificationError):
            arrival.keep()
    assert list(shelf.folder.iterdir()) == []
    shelf.bring(1, 100)


def test_who_comes_second_changes_nothing(shelf: Shelf) -> None:
    name = brought_name(b"\1" * 32, NODE)
    with shelf.arrival(name, size=1, digest=sha256(b"x").digest(), by=NODE) as arrival:
        arrival.add(b"x")
        (shelf.folder / name).write_bytes(b"first")
        with pytest.raises(ConflictError):
            arrival.keep()
    assert (shelf.folder / name).read_bytes() == b"first"
    assert [path.name for path in shelf.folder.iterdir()] == [name]
    assert shelf.holds(name, digest=sha256(b"first").digest())
    with pytest.raises(ConflictError):
        shelf.holds(name, digest=sha256(b"x").digest())


def test_what_a_kill_left_half_done_is_removed(shelf: Shelf) -> None:
    shelf.folder.mkdir()
    left, others = shelf.folder / (".building-" + "a" * 32), shelf.folder / ".building-x-0a0b0c0d"
    left.write_bytes(b"x" * 100)
    others.write_bytes(b"x")
    shelf.bring(1, 100)
    assert not left.exists()
    assert others.exists()
