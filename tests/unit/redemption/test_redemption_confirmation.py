"""specs/redemption.md §3: the client countersigns what it received, up to the first difference."""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import pytest

from creditledger.activations.delivered import boundary_key, delivered_root
from creditledger.errors import ActivationError
from creditledger.records.job import PlanSpan
from creditledger.records.receipt import BF16_NUMERICS, OutputKind, Receipt
from creditledger.redemption.confirmation import Confirmation, confirm_receipts
from unit.redemption.test_redemption_order import SECRET, job

LEDGER = bytes(32)
POSITIONS = 600
JOB = job()


def rows(boundary: int, *, positions: int = POSITIONS) -> np.ndarray[Any, np.dtype[np.float32]]:
    """What crosses a boundary: the same in every run, different at every boundary."""
    generator = np.random.default_rng(boundary)
    return generator.standard_normal((POSITIONS, 8), dtype=np.float32)[:positions]


def root(boundary: int, start: int, stop: int) -> bytes:
    key = boundary_key(SECRET, boundary)
    return delivered_root(rows(boundary)[start:stop], boundary_key=key, first_position=start)


def chain(span: PlanSpan) -> list[Receipt]:
    """An honest node's receipts over all positions."""
    receipts: list[Receipt] = []
    for start in range(0, POSITIONS, 256):
        stop = min(start + 256, POSITIONS)
        receipts.append(
            Receipt(
                job=JOB.digest(LEDGER),
                node=span.node,
                layer_start=span.layer_start,
                layer_stop=span.layer_stop,
                window_start=start,
                positions=stop - start,
                input_root=root(span.layer_start, start, stop),
                output_root=root(span.layer_stop, start, stop),
                sketch=bytes(32),
                previous=receipts[-1].digest(LEDGER) if receipts else bytes(32),
                model=JOB.model,
                numerics=BF16_NUMERICS,
                output_kind=OutputKind.ACTIVATIONS,
                sampler=bytes(32),
                started_unix_ms=0,
                duration_ms=1,
            )
        )
    return receipts


FIRST, SECOND = (chain(span) for span in JOB.plan)


def confirm(
    outputs: Mapping[int, Any] | None,
    *,
    first: list[Receipt] = FIRST,
    second: list[Receipt] = SECOND,
    checked: Collection[bytes] | None = None,
) -> Confirmation:
    chains = {0: first, 5: second}
    return confirm_receipts(JOB, chains, secret=SECRET, ledger_id=LEDGER, outputs=outputs, checked=checked)


def accepted(found: Confirmation) -> dict[int, int]:
    return {head.layer_start: head.positions for head in found.heads}


@pytest.mark.parametrize("boundaries", [(12,), (5, 12), (0, 12), (0, 5, 12)])
def test_honest_chains_are_accepted_whole(boundaries: tuple[int, ...]) -> None:
    """The last boundary anchors all: each span's output is the next one's input."""
    found = confirm({boundary: rows(boundary) for boundary in boundaries})
    assert accepted(found) == {0: POSITIONS, 5: POSITIONS}
    assert found.refused == ()
    assert [head.receipt for head in found.heads] == [FIRST[-1].digest(LEDGER), SECOND[-1].digest(LEDGER)]
    assert [head.node for head in found.heads] == [span.node for span in JOB.plan]


@pytest.mark.parametrize("window", [0, 1, 2])
def test_a_chain_is_accepted_up_to_its_first_wrong_output(window: int) -> None:
    wrong = [*SECOND]
    wrong[window] = wrong[window].replace(output_root=bytes(32))
    found = confirm({12: rows(12)}, second=wrong)
    kept = {layer: count for layer, count in ((0, 256 * window), (5, 256 * window)) if count}
    assert accepted(found) == kept
    assert len(found.refused) == 2 * (3 - window)


def test_a_node_is_not_paid_for_what_the_next_one_did_not_receive() -> None:
    """E12: the first span's output must be the second's input; the second is not blamed for it."""
    wrong = [FIRST[0], FIRST[1].replace(output_root=bytes(32)), FIRST[2]]
    found = confirm({12: rows(12)}, first=wrong)
    assert accepted(found) == {0: 256, 5: POSITIONS}
    assert found.refused == tuple(wrong[1:])


def test_a_node_that_claims_another_input_than_was_sent_is_not_paid() -> None:
    wrong = [FIRST[0].replace(input_root=bytes(32)), *FIRST[1:]]
    assert accepted(confirm({0: rows(0), 12: rows(12)}, first=wrong)) == {5: POSITIONS}
    assert accepted(confirm({12: rows(12)}, first=wrong)) == {0: POSITIONS, 5: POSITIONS}


def test_work_beyond_what_was_received_is_not_countersigned() -> None:
    """A window counts whole or not at all."""
    assert accepted(confirm({12: rows(12, positions=300)})) == {0: 256, 5: 256}
    assert accepted(confirm({12: rows(12, positions=599)})) == {0: 512, 5: 512}


def test_without_the_last_boundary_nothing_is_anchored() -> None:
    found = confirm({0: rows(0)})
    assert found.heads == ()
    assert len(found.refused) == 6
    assert accepted(confirm({5: rows(5)})) == {0: POSITIONS}


def test_without_rows_all_that_is_logged_is_accepted() -> None:
    wrong = [FIRST[0].replace(output_root=bytes(32)), *FIRST[1:]]
    assert accepted(confirm(None, first=wrong)) == {0: POSITIONS, 5: POSITIONS}


def test_a_span_without_receipts_has_no_head() -> None:
    assert accepted(confirm(None, second=[])) == {0: POSITIONS}
    assert accepted(confirm({5: rows(5), 12: rows(12)}, second=[])) == {0: POSITIONS}
    assert accepted(confirm({12: rows(12)}, second=[])) == {}


@pytest.mark.parametrize("outputs", [[1.0], np.zeros(3), np.zeros((2, 2), dtype=np.float64)])
def test_what_is_no_array_of_rows_is_refused(outputs: object) -> None:
    with pytest.raises(ActivationError):
        confirm({12: outputs})


def test_only_receipts_that_were_checked_are_countersigned() -> None:
    """A chain ends before the first that was not, whatever comes after it."""
    digests = [receipt.digest(LEDGER) for receipt in FIRST]
    assert accepted(confirm(None, checked=digests)) == {0: POSITIONS}
    assert accepted(confirm(None, checked=digests[:1])) == {0: 256}
    assert accepted(confirm(None, checked=digests[1:])) == {}
    assert confirm(None, checked=[]).refused == (*SECOND, *FIRST)
    wrong = {12: rows(12)[::-1].copy()}
    assert accepted(confirm(wrong, checked=[receipt.digest(LEDGER) for receipt in SECOND])) == {}
