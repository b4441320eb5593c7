"""A node that serves the last span answers for its tokens as well. Source: specs/check.md §9."""

from collections.abc import Callable

import numpy as np
import pytest

from creditledger.activations.commitment import verify_tokens
from creditledger.activations.sampler import Sampler
from creditledger.errors import OpeningError
from creditledger.records.receipt import OutputKind
from creditledger.records.verdict import Outcome, Reason
from creditledger.validation.judgement import Judgement
from creditledger.validation.validator import Committed
from fakes.tiny_llama import SHAPE, inputs_of
from fakes.working_pool import WorkingPool

PROMPT = 40
GREEDY = Sampler.greedy()
SEEDED = Sampler.seeded(bytes(range(32)), temperature_milli=900)
Draw = Callable[[np.ndarray, int], int]


def served(pool: WorkingPool, sampler: Sampler, draw: Draw, *, positions: int = 300) -> tuple[dict, dict]:
    """Node 1 runs the last span: a prompt at once, then token by token; what it opens, and what it drew."""
    rows = inputs_of(SHAPE, positions, seed=5)
    outputs = pool.model.honest(rows, 2, 4)
    scores = pool.model.model.logits(outputs)
    minter, drew = pool.minter(1), {}
    job = pool.order(positions=positions)
    with minter.session(pool.work_order(job, 2), sampler=sampler) as session:
        session.record(inputs=rows[:PROMPT], outputs=outputs[:PROMPT], positions=range(PROMPT))
        for position in range(PROMPT - 1, positions):
            if position >= PROMPT:
                where = slice(position, position + 1)
                session.record(
                    inputs=rows[where], outputs=outputs[where], positions=range(position, position + 1)
                )
            drew[position] = draw(scores[position], position)
            session.drew([drew[position]])
    assert minter.failures == {}
    assert session.receipts
    openings = {one.receipt.window_start: one for one in minter._dispatch._pending}
    minter.flush()
    return openings, drew


def judged(pool: WorkingPool) -> list[Judgement]:
    pool.certify()
    committed = next(action for action in pool.step(0) if isinstance(action, Committed))
    return list(committed.judgements.values())


@pytest.mark.parametrize("sampler", [GREEDY, SEEDED], ids=["greedy", "seeded"])
def test_honest_tokens_are_upheld(pool: WorkingPool, sampler: Sampler) -> None:
    """Drawn from a fused kernel's rows, judged by the reference's; whole windows and the short end."""
    openings, drew = served(pool, sampler, sampler.pick)
    receipts = [one.receipt for one in openings.values()]
    assert [receipt.positions for receipt in receipts] == [256, 44]
    assert {receipt.output_kind for receipt in receipts} == {OutputKind.TOKENS}
    assert {receipt.sampler for receipt in receipts} == {sampler.digest}
    assert {(j.outcome, j.reason) for j in judged(pool)} == {(Outcome.UPHELD, Reason.MATCH)}
    received = [drew.get(position) for position in range(256)]
    first = openings[0]
    verify_tokens(*first.opening, receipt=first.receipt, received=received)
    with pytest.raises(OpeningError):
        verify_tokens(*first.opening, receipt=first.receipt, received=[*received[:-1], received[-1] ^ 1])


def second_best(sampler: Sampler) -> Draw:
    return lambda scores, position: int(np.argsort(sampler.keys(scores, position))[-2])


def one_wrong(sampler: Sampler) -> Draw:
    """The last token of the first window only: the position whose token comes after the window's rows."""
    return lambda scores, position: (second_best if position == 255 else _pick)(sampler)(scores, position)


def _pick(sampler: Sampler) -> Draw:
    return sampler.pick


@pytest.mark.parametrize("sampler", [GREEDY, SEEDED], ids=["greedy", "seeded"])
@pytest.mark.parametrize("cheat", [second_best, one_wrong], ids=["all", "one"])
def test_tokens_that_the_scores_do_not_support_are_refuted(
    pool: WorkingPool, sampler: Sampler, cheat: Callable[[Sampler], Draw]
) -> None:
    """The rows are honest; one token from elsewhere is enough."""
    served(pool, sampler, cheat(sampler))
    outcomes = [(j.outcome, j.reason) for j in judged(pool)]
    assert (Outcome.REFUTED, Reason.TOKENS) in outcomes
    assert outcomes.count((Outcome.REFUTED, Reason.TOKENS)) == (2 if cheat is second_best else 1)


def test_greedy_tokens_do_not_pass_for_seeded_ones(pool: WorkingPool) -> None:
    served(pool, SEEDED, lambda scores, _: int(np.argmax(scores)))
    assert {j.reason for j in judged(pool)} == {Reason.TOKENS}


def test_a_middle_span_draws_no_tokens(pool: WorkingPool) -> None:
    """No validator can score what is not the last layer's: the check stays open and earns nothing."""
    rows = inputs_of(SHAPE, 256, seed=5)
    minter = pool.minter(0)
    with minter.session(pool.work_order(pool.order(), 0), sampler=GREEDY) as session:
        session.record(inputs=rows, outputs=pool.model.honest(rows, 0, 2), positions=range(256))
    assert session.receipts
    minter.flush()
    assert {(j.outcome, j.reason) for j in judged(pool)} == {(Outcome.INCONCLUSIVE, Reason.NO_PROFILE)}


def test_tokens_without_a_sampler_are_counted(pool: WorkingPool) -> None:
    minter = pool.minter(0)
    with minter.session(pool.work_order(pool.order(), 0)) as session:
        session.drew([1])
    assert minter.failures == {"ActivationError": 1}
