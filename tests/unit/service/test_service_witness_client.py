"""A witness may answer anything, slowly, or not at all: the client takes only what verifies, and in time."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from creditledger.errors import (
    BusyError,
    ConsistencyProofError,
    CreditLedgerError,
    MalformedRecordError,
    SignatureError,
    UnknownIdError,
)
from creditledger.service.witness_client import ANSWER_BYTES_MAX, HttpCosigner, cosigners_of
from creditledger.transparency.cosignature import CosignatureSigner, MlDsaCosignatureSigner
from creditledger.transparency.keys import Ed25519Signer
from creditledger.transparency.quorum import PolicyLog, PolicyWitness
from creditledger.transparency.trust_policy import TrustPolicy
from creditledger.transparency.witness import StaleSizeError, parse_add_checkpoint
from fakes.small_log import SmallLog

LOG = SmallLog()
REQUEST = LOG.request(2, 5)
WITNESS = CosignatureSigner("witness.example/w", Ed25519Signer(b"\x05" * 32))
SECOND = MlDsaCosignatureSigner("witness.example/w", b"\x06" * 32)
OTHER = CosignatureSigner("witness.example/other", Ed25519Signer(b"\x07" * 32))
LINE = WITNESS.cosign(LOG.head(5).text, timestamp=7).line
SECOND_LINE = SECOND.cosign(LOG.head(5).text, timestamp=7).line
OTHER_LINE = OTHER.cosign(LOG.head(5).text, timestamp=7).line
FALSE_LINE = WITNESS.cosign(LOG.head(6).text, timestamp=7).line


@contextmanager
def answering(*parts: bytes, pause: float = 0) -> Iterator[tuple[str, list[bytes]]]:
    """A server that reads each request whole and says ``parts``, with a pause after each; what it read."""
    heard: list[bytes] = []
    stop = threading.Event()

    def serve() -> None:
        while not stop.is_set():
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            with connection:
                heard.append(_request(connection))
                try:
                    for part in parts:
                        connection.sendall(part)
                        if stop.wait(pause):
                            return
                except OSError:
                    continue

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}", heard
        finally:
            stop.set()
            listening.shutdown(socket.SHUT_RDWR)
            thread.join(30)


def _request(connection: socket.socket) -> bytes:
    read = b""
    while b"\r\n\r\n" not in read:
        read += connection.recv(65_536)
    head, _, body = read.partition(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    while len(body) < length:
        body += connection.recv(65_536)
    return head + b"\r\n\r\n" + body


def response(status: int, content: bytes, *more: bytes) -> bytes:
    head = b"HTTP/1.1 %d x\r\ncontent-length: %d\r\n" % (status, len(content))
    return head + b"".join(line + b"\r\n" for line in more) + b"\r\n" + content


def cosign(url: str, *, signer: CosignatureSigner | MlDsaCosignatureSigner = WITNESS) -> bytes:
    cosigner = HttpCosigner("w", signer.vkey, url, timeout_s=5)
    try:
        return cosigner.cosign(REQUEST)
    finally:
        cosigner.close()


def test_one_post_whose_line_is_verified() -> None:
    with answering(response(200, OTHER_LINE + LINE + SECOND_LINE)) as (url, heard):
        assert cosign(url) == LINE
        assert cosign(url + "/prefix/", signer=SECOND) == SECOND_LINE
    assert [request.split(b"\r\n")[0] for request in heard] == [
        b"POST /add-checkpoint HTTP/1.1",
        b"POST /prefix/add-checkpoint HTTP/1.1",
    ]
    assert parse_add_checkpoint(heard[0].partition(b"\r\n\r\n")[2]) == REQUEST


@pytest.mark.parametrize(
    ("status", "content", "error"),
    [
        (200, FALSE_LINE, SignatureError),
        (200, LINE + FALSE_LINE, SignatureError),
        (200, OTHER_LINE, SignatureError),
        (200, b"", MalformedRecordError),
        (200, b"\n", MalformedRecordError),
        (200, LINE[:-1], MalformedRecordError),
        (200, LINE + b"\n", MalformedRecordError),
        (200, LINE * 17, MalformedRecordError),
        (200, b"\xff\n", MalformedRecordError),
        (200, LINE + b"x" * ANSWER_BYTES_MAX, MalformedRecordError),
        (400, b"no\n", MalformedRecordError),
        (403, b"no\n", SignatureError),
        (404, b"no\n", UnknownIdError),
        (409, b"", MalformedRecordError),
        (409, b"7", MalformedRecordError),
        (409, b"07\n", MalformedRecordError),
        (409, b"-7\n", MalformedRecordError),
        (409, b"7\n\n", MalformedRecordError),
        (409, b"9223372036854775808\n", MalformedRecordError),
        (409, b"2\n", ConsistencyProofError),
        (413, b"no\n", MalformedRecordError),
        (422, b"no\n", ConsistencyProofError),
        (429, b"no\n", BusyError),
        (500, LINE, BusyError),
        (503, LINE, BusyError),
        (507, b"\x1b[2Jno\n", BusyError),
        (204, b"", MalformedRecordError),
        (418, b"no\n", MalformedRecordError),
    ],
)
def test_every_other_answer_is_an_error(status: int, content: bytes, error: type[CreditLedgerError]) -> None:
    with answering(response(status, content)) as (url, _), pytest.raises(error) as refusal:
        cosign(url)
    assert type(refusal.value) is error
    assert refusal.value.found.isprintable()


def test_a_stale_size_is_told() -> None:
    for stored in (0, 1, 3, 2**63 - 1):
        with answering(response(409, b"%d\n" % stored)) as (url, _), pytest.raises(StaleSizeError) as refusal:
            cosign(url)
        assert refusal.value.stored_size == stored


def test_no_redirect_is_followed() -> None:
    with answering(response(200, LINE)) as (good, heard):
        for status in (301, 307, 308):
            moved = response(status, b"", b"location: %s/add-checkpoint" % good.encode())
            with answering(moved) as (url, _), pytest.raises(MalformedRecordError):
                cosign(url)
        assert heard == []
        assert cosign(good) == LINE


def test_nothing_is_unpacked() -> None:
    import gzip

    packed = response(200, gzip.compress(LINE), b"content-encoding: gzip")
    with answering(packed) as (url, heard), pytest.raises(MalformedRecordError):
        cosign(url)
    assert b"accept-encoding: identity" in heard[0].lower()


@pytest.mark.parametrize("parts", [(), (b"SSH-2.0-x\r\n",), (response(200, LINE)[:-5],), (b"HTTP/1.1 200",)])
def test_whoever_hangs_up_is_away(parts: tuple[bytes, ...]) -> None:
    with answering(*parts) as (url, _), pytest.raises(BusyError):
        cosign(url)


def test_a_witness_that_is_not_there_is_away() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    for away in (url, "http://no-such-host.invalid"):
        with pytest.raises(BusyError, match="cannot be reached"):
            cosign(away)


@pytest.mark.parametrize(
    "parts",
    [
        pytest.param((b"",) * 100, id="says nothing"),
        pytest.param((b"HTTP/1.1 200 x\r\n", *(b"a: b\r\n",) * 100), id="sends headers without end"),
        pytest.param((b"HTTP/1.1 200 x\r\n\r\n", *(b"A",) * 100), id="sends a body without a length"),
        pytest.param((response(200, LINE)[:60], *(b"A",) * 100), id="sends its body byte by byte"),
    ],
)
def test_a_slow_witness_is_given_up_in_time(parts: tuple[bytes, ...]) -> None:
    """However often another byte comes."""
    with answering(*parts, pause=0.2) as (url, _):
        begun = time.monotonic()
        with pytest.raises(BusyError, match="is late"):
            HttpCosigner("w", WITNESS.vkey, url, timeout_s=0.6).cosign(REQUEST)
        assert time.monotonic() - begun < 4


def test_one_cosigner_serves_many_threads() -> None:
    with answering(response(200, LINE)) as (url, _):
        cosigner = HttpCosigner("w", WITNESS.vkey, url)
        lines: list[bytes] = []
        threads = [threading.Thread(target=lambda: lines.append(cosigner.cosign(REQUEST))) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        cosigner.close()
    assert lines == [LINE] * 8


@pytest.mark.parametrize(
    "url",
    [
        "",
        "w.example",
        "ftp://w.example",
        "file:///etc/passwd",
        "http://",
        "http://w.example?x",
        "http://w.example/#x",
        "http://user:secret@w.example",
        "http://w.example:99999",
        "http://w.example:0",
        "http://w.example/a b",
        "http://w.example/\n",
        "http://[::1",
        "http://wé.example",
    ],
)
def test_other_urls_are_refused(url: str) -> None:
    with pytest.raises(MalformedRecordError):
        HttpCosigner("w", WITNESS.vkey, url)


def test_a_policy_names_its_witnesses() -> None:
    near = PolicyWitness(name="near", vkey=WITNESS.vkey)
    far = PolicyWitness(name="far", vkey=OTHER.vkey, url="https://w.example/a/")
    policy = TrustPolicy(logs=(PolicyLog(vkey=LOG.vkey),), witnesses=(near, far), quorum="far")
    (cosigner,) = cosigners_of(policy, timeout_s=1)
    assert (cosigner.name, cosigner.vkey, cosigner.url) == ("far", OTHER.vkey, "https://w.example/a")
    cosigner.close()
    with pytest.raises(MalformedRecordError):
        cosigners_of(replace(policy, witnesses=(near, replace(far, url="gopher://w.example"))))
