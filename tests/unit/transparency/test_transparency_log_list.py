"""Lists of logs: what witnesses share, and nothing else."""

import pytest

from creditledger.errors import MalformedRecordError
from creditledger.transparency.cosignature import CosignatureSigner
from creditledger.transparency.keys import Ed25519Signer
from creditledger.transparency.log_list import WatchedLog, parse_log_list
from fakes.small_log import SmallLog

A, B = SmallLog(), SmallLog(key="second")
VKEY = str(A.vkey)
COSIGNER = str(CosignatureSigner("w", Ed25519Signer(bytes(32))).vkey)


def test_a_list_is_read_as_people_write_it() -> None:
    content = f"""
    # List: testing
logs/v0

# first
vkey {VKEY}
origin none
qpd 24
contact sysadmin (at) log.example

vkey {B.vkey}\r
origin other log
qpd 9223372036854775807
  contact é
"""
    assert parse_log_list(content.encode()) == (
        WatchedLog(vkey=A.vkey, origin=A.origin, requests_per_day=24, contact="sysadmin (at) log.example"),
        WatchedLog(vkey=B.vkey, origin="other log", requests_per_day=2**63 - 1, contact="é"),
    )
    assert parse_log_list(b"logs/v0") == ()


def test_what_is_written_is_read_back() -> None:
    logs = (
        WatchedLog(vkey=A.vkey, origin=A.origin),
        WatchedLog(vkey=B.vkey, origin="other log", requests_per_day=1, contact="x y"),
    )
    assert parse_log_list(b"logs/v0\n" + b"\n".join(log.encode() for log in logs)) == logs


@pytest.mark.parametrize(
    "lines",
    [
        "",
        "logs/v1",
        "vkey {vkey}\nqpd 1\ncontact x",
        "logs/v0\nlogs/v0",
        "logs/v0\nvkey {vkey}",
        "logs/v0\nvkey {vkey}\nqpd 1",
        "logs/v0\nvkey {vkey}\ncontact x\nqpd 1",
        "logs/v0\nvkey {vkey}\nqpd 0\ncontact x",
        "logs/v0\nvkey {vkey}\nqpd 01\ncontact x",
        "logs/v0\nvkey {vkey}\nqpd -1\ncontact x",
        "logs/v0\nvkey {vkey}\nqpd 1\ncontact",
        "logs/v0\nvkey {vkey}\nqpd 1\ncontact a\x1bb",
        "logs/v0\nvkey {vkey}\norigin\nqpd 1\ncontact x",
        "logs/v0\nvkey {vkey}\norigin {long}\nqpd 1\ncontact x",
        "logs/v0\nvkey {vkey}\nbastion none\nqpd 1\ncontact x",
        "logs/v0\nvkey {vkey}x\nqpd 1\ncontact x",
        "logs/v0\nvkey {cosigner}\nqpd 1\ncontact x",
        "logs/v0\n" + "vkey {vkey}\nqpd 1\ncontact x\n" * 2,
    ],
)
def test_other_lists_are_refused(lines: str) -> None:
    filled = lines.format(vkey=VKEY, cosigner=COSIGNER, long="x" * 256)
    with pytest.raises(MalformedRecordError):
        parse_log_list(filled.encode())


def test_a_list_must_be_text() -> None:
    with pytest.raises(MalformedRecordError):
        parse_log_list(b"logs/v0\n# \xff\n")
