"""specs/redemption.md §3 and §7: ids made by clients and queues."""

import uuid

from hypothesis import given
from hypothesis import strategies as st

from creditledger.redemption.client_id import capture_id, new_client_id, release_id


@given(st.integers(0, 2**48 - 1), st.binary(min_size=10, max_size=10))
def test_a_new_id_is_a_uuid_of_version_7(now: int, chance: bytes) -> None:
    made = uuid.UUID(bytes=new_client_id(now_unix_ms=now, random_bytes=lambda size: chance[:size]))
    assert (made.version, made.variant) == (7, uuid.RFC_4122)
    assert made.int >> 80 == now


def test_ids_sort_by_time_and_keep_their_chance() -> None:
    early = new_client_id(now_unix_ms=1, random_bytes=lambda size: b"\xff" * size)
    late = new_client_id(now_unix_ms=2, random_bytes=lambda size: bytes(size))
    assert early < late
    chances = iter(range(256))
    made = {
        new_client_id(now_unix_ms=1, random_bytes=lambda n: bytes([next(chances)]) * n) for _ in range(256)
    }
    assert len(made) == 256


@given(st.binary(min_size=32, max_size=32))
def test_a_hold_has_one_capture_id_and_one_release_id(hold: bytes) -> None:
    assert capture_id(hold) == capture_id(hold) != release_id(hold)
    assert len(capture_id(hold)) == len(release_id(hold)) == 16
