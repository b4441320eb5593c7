"""A witness's directory: made whole, run once, one name and one key for life."""

import os
import shutil
from pathlib import Path

import pytest

from creditledger.errors import (
    BusyError,
    ConflictError,
    CreditLedgerError,
    IntegrityError,
    KeyFormatError,
    MalformedRecordError,
    RoleError,
    StorageError,
)
from creditledger.service.witness_directory import WitnessDirectory
from creditledger.transparency.cosignature import CosignatureSigner
from creditledger.transparency.keys import Ed25519Signer
from fakes.small_log import SmallLog

LOG, NEXT_KEY = SmallLog(), SmallLog(key="second")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    WitnessDirectory.create(tmp_path / "w", name="witness.example/w", random_bytes=os.urandom)
    return tmp_path / "w"


def test_a_witness_stays_who_it_is(path: Path) -> None:
    opened = WitnessDirectory(path)
    vkey = opened.signer.vkey
    assert (opened.name, opened.second, opened.logs) == ("witness.example/w", None, ())
    assert (path / "witness.key").stat().st_mode & 0o777 == 0o600
    opened.watch([LOG.vkey, LOG.vkey])
    opened.add_ml_dsa(random_bytes=os.urandom)
    second = opened.second
    assert second is not None
    opened.close()
    again = WitnessDirectory(path)
    again.add_ml_dsa(random_bytes=os.urandom)
    assert again.second is not None
    assert (again.signer.vkey, again.second.vkey) == (vkey, second.vkey)
    assert (path / "witness-ml-dsa-44.key").stat().st_mode & 0o777 == 0o600
    assert [log.vkey for log in again.logs] == [LOG.vkey]
    again.require_name("witness.example/w")
    with pytest.raises(ConflictError):
        again.require_name("witness.example/v")
    again.close()


def test_logs_are_added_without_touching_what_the_operator_wrote(path: Path) -> None:
    written = f"# ours\nlogs/v0\n\nvkey {LOG.vkey}\nqpd 5\ncontact a@b.example"
    (path / "logs").write_text(written)
    opened = WitnessDirectory(path)
    opened.watch([LOG.vkey])
    assert (path / "logs").read_text() == written
    opened.watch([NEXT_KEY.vkey, LOG.vkey])
    assert (path / "logs").read_text().startswith(written + "\n\nvkey ")
    assert [(log.vkey, log.requests_per_day) for log in opened.logs] == [
        (LOG.vkey, 5),
        (NEXT_KEY.vkey, 86_400),
    ]
    cosigner = CosignatureSigner("w", Ed25519Signer(bytes(32)))
    before = (path / "logs").read_bytes()
    with pytest.raises(MalformedRecordError):
        opened.watch([cosigner.vkey])
    assert (path / "logs").read_bytes() == before
    opened.close()


def test_one_process_at_a_time(path: Path) -> None:
    opened = WitnessDirectory(path)
    with pytest.raises(BusyError, match="another process"):
        WitnessDirectory(path)
    opened.close()
    opened.close()
    WitnessDirectory(path).close()


def test_a_directory_that_holds_anything_is_not_made_a_witness(path: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    WitnessDirectory.create(tmp_path / "empty", name="w", random_bytes=os.urandom)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    for taken in (path, tmp_path / "full"):
        before = sorted(taken.rglob("*"))
        with pytest.raises(StorageError):
            WitnessDirectory.create(taken, name="w", random_bytes=os.urandom)
        assert sorted(taken.rglob("*")) == before
    with pytest.raises(KeyFormatError):
        WitnessDirectory.create(tmp_path / "new", name="a b", random_bytes=os.urandom)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("name", "content", "error"),
    [
        ("witness.key", None, StorageError),
        ("witness.key", b"{}", KeyFormatError),
        ("name", None, StorageError),
        ("name", b"a b\n", IntegrityError),
        ("name", b"\xff\n", IntegrityError),
        ("logs", None, StorageError),
        ("logs", b"logs/v1\n", MalformedRecordError),
        ("lock", None, StorageError),
        ("state", None, StorageError),
        ("witness-ml-dsa-44.key", b"{}", KeyFormatError),
    ],
)
def test_a_damaged_directory_is_never_taken_for_a_new_one(
    path: Path, name: str, content: bytes | None, error: type[CreditLedgerError]
) -> None:
    """A witness that begins anew with its old key would cosign a second history."""
    if content is not None:
        (path / name).write_bytes(content)
    elif name == "state":
        shutil.rmtree(path / name)
    else:
        (path / name).unlink()
    for _ in range(2):  # a refusal lets go of the lock
        with pytest.raises(error):
            WitnessDirectory(path)
    assert WitnessDirectory.is_at(path)


def test_a_key_of_another_role_does_not_cosign(path: Path) -> None:
    from creditledger.ledger.keyring import KeyFile, KeyRole

    key = KeyFile.new(KeyRole.CLIENT, random_bytes=os.urandom)
    (path / "witness.key").write_bytes(key.encode())
    with pytest.raises(RoleError):
        WitnessDirectory(path)
