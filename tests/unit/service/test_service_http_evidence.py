"""Fetching evidence: what is nothing, what no answer, and what not believed. specs/service.md §6.2."""

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from hashlib import sha256

import pytest

from creditledger.errors import BusyError, IntegrityError, MalformedRecordError
from creditledger.minting.handover import HANDOVER_BYTES_MAX
from creditledger.service.http_evidence import EvidencePlace, HttpEvidence
from fakes.cast import ed25519
from fakes.hostile_server import answering

LEDGER, NODE, ROOT = b"l" * 32, b"n" * 32, b"r" * 32
ABSENT = (404, b'{"error":"UnknownIdError"}')
Told = tuple[int, bytes]
Fetch = Callable[..., HttpEvidence]


@pytest.fixture
def fetching() -> Iterator[Fetch]:
    """Evidence from a pool, after a node's own place where there is one, that answer all requests alike."""
    with ExitStack() as opened:

        def make(pool: Told, node: Told | None = None) -> HttpEvidence:
            places = [] if node is None else [(NODE, node)]
            found = HttpEvidence(
                [
                    EvidencePlace(url=opened.enter_context(answering(_telling(*told))), audience=audience)
                    for audience, told in [*places, (LEDGER, pool)]
                ],
                signer=ed25519("member"),
                ledger_id=LEDGER,
                timeout_s=5,
            )
            opened.callback(found.close)
            return found

        yield make


def _telling(status: int, content: bytes) -> Callable[[str, socket.socket], None]:
    def answer(path: str, connection: socket.socket) -> None:
        head = f"HTTP/1.1 {status} x\r\ncontent-length: {len(content)}\r\nconnection: close\r\n\r\n"
        connection.sendall(head.encode() + content)

    return answer


def test_only_the_pools_own_word_says_that_there_is_nothing(fetching: Fetch) -> None:
    """Whoever stands between, or a pool that has no such path, would else make a node fail its check."""
    assert fetching(ABSENT).handover(ROOT, holder=NODE) is None
    for told in ((404, b"not found"), (404, b'{"error":"UnknownPath"}'), (403, ABSENT[1]), (500, b"")):
        with pytest.raises(BusyError):
            fetching(told).handover(ROOT, holder=NODE)


def test_a_nodes_place_that_is_away_holds_up_nothing(fetching: Fetch) -> None:
    assert fetching((200, b"pool's"), node=(200, b"node's")).handover(ROOT, holder=NODE) == b"node's"
    for told in ((503, b""), (404, b"?"), (200, b"x" * (HANDOVER_BYTES_MAX + 1))):
        assert fetching((200, b"pool's"), node=told).handover(ROOT, holder=NODE) == b"pool's"
        assert fetching(ABSENT, node=told).handover(ROOT, holder=NODE) is None
    with pytest.raises(BusyError):
        fetching((503, b""), node=ABSENT).handover(ROOT, holder=NODE)


def test_what_is_named_by_its_digest_is_held_against_it(fetching: Fetch) -> None:
    true, digest = b"true", sha256(b"true").digest()
    assert fetching((200, true), node=(200, b"false")).sealed_sketches(digest) == true
    assert fetching((200, true), node=(200, b"false")).profile(digest) == true
    assert fetching((200, b"false")).profile(digest) is None


def test_an_answer_of_any_length_is_cut(fetching: Fetch) -> None:
    most = b"x" * HANDOVER_BYTES_MAX
    assert fetching((200, most)).handover(ROOT, holder=NODE) == most
    with pytest.raises(BusyError):
        fetching((200, most + b"x")).handover(ROOT, holder=NODE)


def test_whether_there_are_inputs_is_asked_without_fetching_them(fetching: Fetch) -> None:
    assert fetching((200, b"")).has_inputs(ROOT, holder=NODE)
    assert not fetching((404, b"")).has_inputs(ROOT, holder=NODE)


def test_a_refutation_that_was_shipped_before_is_shipped(fetching: Fetch) -> None:
    name = f"{ROOT.hex()}-1-0.refutation"
    fetching((201, b'{"name":"x"}')).ship(name, b"sealed")
    fetching((200, b'{"name":"x"}')).ship(name, b"sealed")
    with pytest.raises(IntegrityError):
        fetching((409, b"{}")).ship(name, b"sealed")
    with pytest.raises(BusyError):
        fetching((507, b"{}")).ship(name, b"sealed")
    with pytest.raises(MalformedRecordError):
        fetching((201, b"{}")).ship("../" + name, b"sealed")


def test_one_place_is_the_pools() -> None:
    place = EvidencePlace(url="http://node.example", audience=NODE)
    with pytest.raises(MalformedRecordError):
        HttpEvidence([place], signer=ed25519("member"), ledger_id=LEDGER)
