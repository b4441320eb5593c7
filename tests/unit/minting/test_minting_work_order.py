"""What a client hands to a node. Source: specs/minting.md §1."""

import pytest

from creditledger.errors import MalformedRecordError
from creditledger.minting.work_order import WorkOrder
from creditledger.records import canonical
from creditledger.records.job import Job, PlanSpan
from fakes.cast import fake_id
from fakes.committee import fake_digest

JOB = Job(
    id=fake_id("job"),
    client=fake_digest("client"),
    model=fake_digest("model"),
    plan=(
        PlanSpan(layer_start=0, layer_stop=2, node=fake_digest("node 0")),
        PlanSpan(layer_start=2, layer_stop=4, node=fake_digest("node 1")),
    ),
    max_positions=512,
    max_price_micro=100,
    hold_id=fake_id("hold"),
    parameters=fake_digest("parameters"),
    expires_unix_ms=1,
)
ORDER = WorkOrder(job=JOB, layer_start=2, input_key=b"i" * 32, output_key=b"o" * 32)


def test_decoding_undoes_encoding() -> None:
    assert WorkOrder.decode(ORDER.encode()) == ORDER
    assert ORDER.span.node == fake_digest("node 1")


def test_its_text_form_shows_no_key() -> None:
    assert (b"i" * 32).hex() not in repr(ORDER)
    assert repr(b"i" * 32) not in repr(ORDER)


@pytest.mark.parametrize("change", ["tag", "version", "rest", "key"])
def test_other_bytes_are_refused(change: str) -> None:
    values = canonical.decode(ORDER.encode())
    assert isinstance(values, list)
    match change:
        case "tag":
            values[0] = b"cl/other"
        case "version":
            values[1] = 2
        case "rest":
            values.append(0)
        case "key":
            values[-1] = b"o" * 31
    with pytest.raises(MalformedRecordError):
        WorkOrder.decode(canonical.encode(values))


def test_the_span_must_be_the_jobs() -> None:
    with pytest.raises(MalformedRecordError, match="begins at this layer"):
        ORDER.replace(layer_start=1)
