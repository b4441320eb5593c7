"""Key files: one key, one role, one ledger."""

import json
import os
import stat
from pathlib import Path

import pytest

from creditledger.errors import KeyFormatError, RoleError, StorageError
from creditledger.ledger.keyring import (
    KeyFile,
    KeyRole,
    PublicKeyFile,
    bind_key,
    load_key,
    load_public_key,
    save_key,
    save_public_key,
)
from ledger_pools import VALIDATOR, seed, validator_seat

NODE = KeyFile(role=KeyRole.NODE, secret=seed("node"))


@pytest.mark.parametrize("role", KeyRole)
def test_a_key_file_is_read_back(role: KeyRole, tmp_path: Path) -> None:
    key = KeyFile.new(role, random_bytes=os.urandom)
    save_key(tmp_path / "k", key)
    assert load_key(tmp_path / "k") == key
    assert stat.S_IMODE((tmp_path / "k").stat().st_mode) == 0o600


def test_the_file_says_what_the_specification_shows(tmp_path: Path) -> None:
    assert json.loads(NODE.encode()) == {
        "creditledger_key": 1,
        "role": "node",
        "ed25519": seed("node").hex(),
        "ledger": None,
    }
    assert json.loads(VALIDATOR.encode()).keys() == {"creditledger_key", "role", "bls", "x25519", "ledger"}


def test_an_existing_file_is_never_overwritten(tmp_path: Path) -> None:
    save_key(tmp_path / "k", NODE)
    with pytest.raises(StorageError):
        save_key(tmp_path / "k", KeyFile.new(KeyRole.NODE, random_bytes=os.urandom))
    assert load_key(tmp_path / "k") == NODE


def test_a_key_is_refused_in_another_role(tmp_path: Path) -> None:
    save_key(tmp_path / "k", NODE)
    assert load_key(tmp_path / "k", roles=(KeyRole.CLIENT, KeyRole.NODE)) == NODE
    with pytest.raises(RoleError):
        load_key(tmp_path / "k", roles=(KeyRole.CLIENT,))


def test_a_bound_key_is_refused_by_another_ledger(tmp_path: Path) -> None:
    save_key(tmp_path / "k", NODE)
    assert load_key(tmp_path / "k", ledger_id=seed("other")) == NODE
    bound = bind_key(tmp_path / "k", ledger_id=seed("ledger"))
    assert bound.ledger_id == seed("ledger")
    assert bind_key(tmp_path / "k", ledger_id=seed("ledger")) == bound
    assert load_key(tmp_path / "k", ledger_id=seed("ledger")) == bound
    for use in (load_key, bind_key):
        with pytest.raises(RoleError):
            use(tmp_path / "k", ledger_id=seed("other"))
    assert stat.S_IMODE((tmp_path / "k").stat().st_mode) == 0o600


def test_a_secret_is_never_shown() -> None:
    for key in (NODE, VALIDATOR):
        assert key.secret.hex() not in repr(key)
        assert repr(key.secret) not in repr(key)
    with pytest.raises(KeyFormatError) as caught:
        KeyFile.decode(NODE.encode().replace(b'"role": "node"', b'"role": "nobody"'))
    assert seed("node").hex() not in f"{caught.value}{caught.value.expected}{caught.value.found}"


def test_each_role_signs_in_its_own_way() -> None:
    assert NODE.ed25519().public_key == NODE.public().public
    assert VALIDATOR.bls().public_key == validator_seat().bls_key
    with pytest.raises(RoleError):
        NODE.bls()
    with pytest.raises(RoleError):
        VALIDATOR.ed25519()


def _changed(**changes: object) -> bytes:
    fields = json.loads(NODE.encode()) | changes
    return json.dumps({name: value for name, value in fields.items() if value != "absent"}).encode()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"\xff",
        b"[" * 5_000,
        _changed(creditledger_key=2),
        _changed(creditledger_key=True),
        _changed(creditledger_key="absent"),
        _changed(role="absent"),
        _changed(role="admin"),
        _changed(role="validator"),
        _changed(ed25519="absent"),
        _changed(ed25519=seed("node").hex().upper()),
        _changed(ed25519=seed("node").hex()[:-2]),
        _changed(ed25519=7),
        _changed(ledger="00"),
        _changed(ledger="absent"),
        _changed(note="more"),
        b'{"role": "node", ' + NODE.encode().lstrip()[1:],
    ],
)
def test_any_other_content_is_refused(content: bytes) -> None:
    assert KeyFile.decode(_changed()) == NODE
    with pytest.raises(KeyFormatError):
        KeyFile.decode(content)


def test_the_public_side_is_read_back(tmp_path: Path) -> None:
    seat = validator_seat()
    validator = PublicKeyFile(
        role=KeyRole.VALIDATOR,
        public=seat.bls_key,
        proof_of_possession=seat.proof_of_possession,
        audit_key=seat.audit_key,
    )
    for name, key in (("v", validator), ("n", NODE.public())):
        save_public_key(tmp_path / name, key)
        assert load_public_key(tmp_path / name, role=key.role) == key
        with pytest.raises(StorageError):
            save_public_key(tmp_path / name, key)
    with pytest.raises(RoleError):
        load_public_key(tmp_path / "n", role=KeyRole.VALIDATOR)


def test_a_private_file_is_no_public_one() -> None:
    with pytest.raises(KeyFormatError):
        PublicKeyFile.decode(NODE.encode())
    with pytest.raises(KeyFormatError):
        KeyFile.decode(NODE.public().encode())
