"""Answers under a key: found, refused to others, let go when old or many. Threat row H4."""

import pytest

from creditledger.credits.state import MemoryState
from creditledger.errors import ConflictError
from creditledger.service.pool import kept_answers
from creditledger.service.pool.kept_answers import KEPT_MS, Answer, KeyedRequest, find, is_key, keep

ANSWER = Answer(status=200, body=b"done")


def keyed(key: str, *, token: str = "", path: str = "/v1/records", body: bytes = b"x") -> KeyedRequest:
    return KeyedRequest.of(key.encode(), token=token, method="POST", path=path, body=body)


def test_an_answer_is_found_for_a_day_by_the_same_request_alone() -> None:
    kept = MemoryState()
    keep(kept, keyed("k"), ANSWER, now_unix_ms=1_000)
    assert find(kept, keyed("k"), now_unix_ms=1_000 + KEPT_MS - 1) == ANSWER
    assert find(kept, keyed("k"), now_unix_ms=1_000 + KEPT_MS) is None
    assert find(kept, keyed("other"), now_unix_ms=1_000) is None
    for other in (keyed("k", path="/v1/holds"), keyed("k", body=b"y")):
        with pytest.raises(ConflictError):
            find(kept, other, now_unix_ms=1_000)


def test_a_key_belongs_to_its_token() -> None:
    kept = MemoryState()
    keep(kept, keyed("k", token="t1"), ANSWER, now_unix_ms=1)
    assert find(kept, keyed("k", token="t2", body=b"y"), now_unix_ms=1) is None
    assert keyed("a", token="bc").place != keyed("ab", token="c").place


def test_the_old_go_and_leave_nothing() -> None:
    kept = MemoryState()
    for number in range(20):
        keep(kept, keyed(f"old-{number}"), ANSWER, now_unix_ms=number)
    keep(kept, keyed("new"), ANSWER, now_unix_ms=KEPT_MS + 100)
    assert len(list(kept.scan(b"a"))) == len(list(kept.scan(b"t"))) == 1
    assert kept.get(b"n") == (1).to_bytes(8, "big") + len(ANSWER.body).to_bytes(8, "big")
    assert find(kept, keyed("new"), now_unix_ms=KEPT_MS + 100) == ANSWER


def test_the_many_push_out_the_oldest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_answers, "ROWS_MAX", 10)
    kept = MemoryState()
    for number in range(25):
        keep(kept, keyed(f"k{number}"), ANSWER, now_unix_ms=number)
    found = [find(kept, keyed(f"k{number}"), now_unix_ms=25) for number in range(25)]
    assert found == [None] * 15 + [ANSWER] * 10
    monkeypatch.setattr(kept_answers, "BYTES_MAX", 100)
    keep(kept, keyed("long"), Answer(status=200, body=b"x" * 90), now_unix_ms=26)
    assert find(kept, keyed("long"), now_unix_ms=26) is not None
    assert len(list(kept.scan(b"a"))) == 3


@pytest.mark.parametrize("key", [b"", b" ", b"a b", b"x" * 65, b"\xff", b"a\n"])
def test_what_is_no_key(key: bytes) -> None:
    assert not is_key(key)
    assert is_key(b"!~" * 32)
