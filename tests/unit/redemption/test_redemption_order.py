"""specs/redemption.md §3: what the client keeps, and what each node gets of it."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from creditledger.activations.delivered import boundary_key
from creditledger.errors import MalformedRecordError, UnknownIdError
from creditledger.records.job import Job, PlanSpan
from creditledger.redemption.amount import parse_amount
from creditledger.redemption.client_id import capture_id, release_id
from creditledger.redemption.order import Order

VECTORS = Path(__file__).resolve().parents[2] / "vectors" / "redemption"
SECRET = bytes(range(32))


def job() -> Job:
    return Job(
        id=b"\1" * 16,
        client=b"\2" * 32,
        model=b"\3" * 32,
        plan=(
            PlanSpan(layer_start=0, layer_stop=5, node=b"\4" * 32),
            PlanSpan(layer_start=5, layer_stop=12, node=b"\5" * 32),
        ),
        max_positions=512,
        max_price_micro=1_000_000,
        hold_id=b"\6" * 16,
        parameters=b"\7" * 32,
        expires_unix_ms=1_700_000_000_000,
    )


ORDER = Order(job=job(), secret=SECRET)


@given(st.binary(min_size=32, max_size=32))
def test_an_order_survives_its_file(secret: bytes) -> None:
    order = Order(job=job(), secret=secret)
    assert Order.decode(order.encode()) == order


def test_each_node_gets_its_two_keys_and_no_more() -> None:
    """Neighbours share the key of the boundary between them; nobody gets the secret."""
    first, second = ORDER.work_order(0), ORDER.work_order(5)
    assert (first.input_key, first.output_key) == (boundary_key(SECRET, 0), boundary_key(SECRET, 5))
    assert first.output_key == second.input_key
    assert second.output_key == boundary_key(SECRET, 12)
    assert first.span.node == b"\4" * 32
    assert SECRET not in first.encode() + second.encode()


@pytest.mark.parametrize("layer", [1, 12, -1])
def test_no_work_order_for_a_layer_where_no_span_begins(layer: int) -> None:
    with pytest.raises(UnknownIdError):
        ORDER.work_order(layer)


def test_the_secret_is_not_shown() -> None:
    assert SECRET.hex() not in repr(ORDER)
    assert repr(SECRET)[2:-1] not in repr(ORDER)


def test_what_is_no_order_is_refused() -> None:
    encoded = ORDER.encode()
    for changed in (
        encoded[:-1],
        encoded + b"\0",
        b"",
        job().encode(),
        encoded.replace(b"cl/job", b"cl/jop"),
    ):
        with pytest.raises(MalformedRecordError):
            Order.decode(changed)


def test_vectors_hold() -> None:
    """The bytes of specs/redemption.md, as anybody else would compute them."""
    order = json.loads((VECTORS / "job-file.json").read_text())
    assert order["encoded"] == ORDER.encode().hex()
    assert order["secret"] == SECRET.hex()
    for key in order["boundary_keys"]:
        assert boundary_key(SECRET, key["layer"]).hex() == key["key"]
    for case in json.loads((VECTORS / "hold-ids.json").read_text())["cases"]:
        hold = bytes.fromhex(case["hold"])
        assert (capture_id(hold).hex(), release_id(hold).hex()) == (case["capture_id"], case["release_id"])
    for case in json.loads((VECTORS / "amounts.json").read_text())["cases"]:
        assert parse_amount(case["text"]) == case["micro"]
