"""Rows between the demo's nodes: taken only with the sender's word for every window of them."""

from dataclasses import replace

import numpy as np
import pytest

from creditledger.activations.bf16 import Bf16Bits
from creditledger.cli.demonstration.crossing import Crossing, handed_over, require_handed_over
from creditledger.errors import MalformedRecordError, SignatureError, VerificationError
from creditledger.quantities import ZERO_DIGEST
from creditledger.records import canonical
from creditledger.records.job import Job, PlanSpan
from ledger_pools import signer

LEDGER = bytes([7]) * 32
KEY = bytes([9]) * 32
CLIENT, NODE = signer("client"), signer("node")
JOB = Job(
    id=bytes(16),
    client=CLIENT.public_key,
    model=bytes([1]) * 32,
    plan=(
        PlanSpan(layer_start=0, layer_stop=2, node=NODE.public_key),
        PlanSpan(layer_start=2, layer_stop=4, node=signer("other").public_key),
    ),
    max_positions=300,
    max_price_micro=1_000,
    hold_id=bytes([1]) * 16,
    parameters=ZERO_DIGEST,
    expires_unix_ms=1,
)


def rows() -> Bf16Bits:
    return np.arange(300 * 4, dtype=np.uint16).reshape(300, 4)


def crossing(boundary: int = 0) -> Crossing:
    """Two windows, the second of them short."""
    sender = CLIENT if boundary == 0 else NODE
    return handed_over(
        rows(),
        job=JOB.digest(LEDGER),
        sender=sender.public_key,
        boundary=boundary,
        key=KEY,
        signer=sender,
        ledger_id=LEDGER,
    )


def require(given: Crossing, boundary: int = 0) -> None:
    require_handed_over(given, job=JOB, boundary=boundary, key=KEY, ledger_id=LEDGER)


@pytest.mark.parametrize("boundary", [0, 2])
def test_rows_are_taken_from_whom_the_plan_names(boundary: int) -> None:
    """The client before the first span, else the node of the span before."""
    assert len(crossing(boundary).handovers) == 2
    require(crossing(boundary), boundary)


def test_rows_without_the_senders_word_are_refused() -> None:
    given = crossing()
    other = given.rows.copy()
    other[299, 3] ^= 1
    with pytest.raises(VerificationError):
        require(replace(given, rows=other))
    with pytest.raises(VerificationError, match="not one handover for each window"):
        require(replace(given, handovers=given.handovers[:1]))
    with pytest.raises(VerificationError):
        require(replace(given, handovers=given.handovers[::-1]))
    with pytest.raises(VerificationError):
        require(given, boundary=2)


def test_a_word_that_another_signed_is_refused() -> None:
    forged = handed_over(
        rows(),
        job=JOB.digest(LEDGER),
        sender=CLIENT.public_key,
        boundary=0,
        key=KEY,
        signer=NODE,
        ledger_id=LEDGER,
    )
    with pytest.raises(SignatureError):
        require(forged)


def test_a_crossing_survives_the_wire() -> None:
    found = Crossing.decode(crossing().encode())
    np.testing.assert_array_equal(found.rows, rows())
    assert found.handovers == crossing().handovers


@pytest.mark.parametrize(
    "values",
    [
        [0, b"", []],
        [3, b"1234", []],
        [1, b"", []],
        [1, b"1234", [5]],
        [1, b"1234"],
        [b"1", b"1234", []],
        7,
    ],
)
def test_other_bytes_are_no_crossing(values: object) -> None:
    assert Crossing.decode(canonical.encode([1, b"1234", []])).rows.shape == (1, 2)
    with pytest.raises(MalformedRecordError):
        Crossing.decode(canonical.encode(values))  # type: ignore[arg-type]
