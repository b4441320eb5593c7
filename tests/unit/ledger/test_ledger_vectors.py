"""The bytes that specs/ledger.md promises."""

import hashlib
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from creditledger.errors import IntegrityError, StorageError
from creditledger.ledger.head import HeadFile
from creditledger.ledger.keyring import KeyFile, PublicKeyFile
from creditledger.ledger.lmdb_store import LmdbStore
from creditledger.ledger.local_witness import WitnessFile
from creditledger.records.entry import Submission
from creditledger.transparency.checkpoint import Checkpoint, sign_checkpoint
from creditledger.transparency.keys import Ed25519Signer
from creditledger.transparency.note import Ed25519NoteSigner
from ledger_pools import registration

FOLDER = Path(__file__).parents[2] / "vectors" / "ledger"


def vector(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FOLDER / name).read_text())
    return found


def test_values_are_stored_with_their_checksum(tmp_path: Path) -> None:
    import lmdb

    cases = vector("stored-values.json")["cases"]
    store = LmdbStore.create(tmp_path / "store")
    with store.write() as view:
        for case in cases:
            view.put(bytes.fromhex(case["key"]), bytes.fromhex(case["value"]))
    store.close()
    with lmdb.open(str(tmp_path / "store")) as environment, environment.begin() as transaction:
        for case in cases:
            assert transaction.get(bytes.fromhex(case["key"])).hex() == case["stored"]


def test_the_head_is_this_note(tmp_path: Path) -> None:
    case = vector("head.json")
    operator = Ed25519Signer(bytes.fromhex(case["operator_seed"]))
    file = HeadFile(tmp_path / "head", origin=case["log"], operator=operator.public_key)
    head = Checkpoint(origin=case["log"], size=case["size"], root=bytes.fromhex(case["root"]))
    file.create(head, operator)
    assert (tmp_path / "head").read_bytes() == block(case["head"].encode())
    assert file.read() == head
    other = Checkpoint(origin="another.example/log", size=head.size, root=head.root)
    signer = Ed25519NoteSigner(case["log"], operator)
    (tmp_path / "head").write_bytes(block(sign_checkpoint(other, [signer])))
    with pytest.raises(IntegrityError, match="another log"):
        file.read()
    (tmp_path / "head").write_bytes(block(case["head"].replace("\n7\n", "\n8\n").encode()))
    with pytest.raises(IntegrityError, match="not the operator's"):
        file.read()


def test_a_new_head_goes_over_the_older_of_two(tmp_path: Path) -> None:
    case = vector("head.json")
    operator = Ed25519Signer(bytes.fromhex(case["operator_seed"]))
    path = tmp_path / "head"
    heads = [Checkpoint(origin=case["log"], size=size, root=bytes([size]) * 32) for size in range(1, 6)]
    HeadFile(path, origin=case["log"], operator=operator.public_key).create(heads[0], operator)
    for older, newer in pairwise(heads):
        file = HeadFile(path, origin=case["log"], operator=operator.public_key)
        assert file.read() == older
        file.replace(newer, operator)
        assert file.read() == newer
        whole = path.read_bytes()
        at = whole.index(f"\n{newer.size}\n".encode()) // 4_096 * 4_096
        for torn in (
            whole[:at] + bytes(4_096) + whole[at + 4_096 :],
            whole[: at + 100] + b"?" + whole[at + 101 :],
        ):
            path.write_bytes(torn)
            assert file.read() == older
        path.write_bytes(whole)


def test_a_head_is_not_put_over_what_was_not_read(tmp_path: Path) -> None:
    operator = Ed25519Signer(bytes(32))
    file = HeadFile(tmp_path / "head", origin="pool.example/test", operator=operator.public_key)
    head = Checkpoint(origin="pool.example/test", size=1, root=bytes(32))
    file.create(head, operator)
    with pytest.raises(StorageError, match="not read"):
        file.replace(head, operator)
    file.read()
    file.replace(head, operator)


def block(note: bytes) -> bytes:
    """A place of the head file."""
    content = note.ljust(4_064, b"\0")
    return content + hashlib.sha256(content).digest()


@pytest.mark.parametrize("case", vector("key-files.json")["cases"], ids=lambda case: case["role"])
def test_key_files_are_these(case: dict[str, str]) -> None:
    key = KeyFile.decode(case["private"].encode())
    assert key.encode() == case["private"].encode()
    public = PublicKeyFile.decode(case["public"].encode())
    assert public.encode() == case["public"].encode()
    signers = {"validator": lambda: key.bls().public_key, "log": lambda: key.ml_dsa("log").vkey.public_key}
    expected = signers.get(case["role"], lambda: key.ed25519().public_key)()
    assert (public.public, public.audit_key) == (expected, key.audit_public_key())


def test_a_frame_is_these_bytes() -> None:
    case = vector("frames.json")
    frame = bytes.fromhex(case["frame"])
    assert frame[4:].hex() == case["submission"]
    assert int.from_bytes(frame[:4], "big") == len(frame) - 4
    assert Submission.decode(frame[4:]) == registration(bytes.fromhex(case["ledger"]), "alice")


def test_the_witness_state_is_these_bytes(tmp_path: Path) -> None:
    case = vector("frames.json")["witness_state"]
    state = WitnessFile(tmp_path / "witness")
    for origin, size, root in case["rows"]:
        state.put(origin, expected=None, new=Checkpoint(origin=origin, size=size, root=bytes.fromhex(root)))
    assert (tmp_path / "witness").read_bytes().hex() == case["encoded"]
