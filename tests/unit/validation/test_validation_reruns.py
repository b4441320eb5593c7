"""Spans that run elsewhere: begun ahead, never too many, judged as here. Source: specs/validation.md §11."""

import pytest

from creditledger.activations.bf16 import Float32Array
from creditledger.errors import ActivationError, BusyError
from creditledger.records.verdict import Outcome
from creditledger.validation.reruns import PendingRerun, RerunOutputs, RerunsHere
from creditledger.validation.validator import Committed, Validator
from fakes.working_pool import WorkingPool

JOBS = 4


class CountedReruns(RerunsHere):
    """Runs here, as late as may be, and counts what is under way."""

    def __init__(self, pool: WorkingPool, *, at_once: int) -> None:
        runner = pool.model.runner
        super().__init__({runner.model.digest: runner})
        self.at_once = at_once
        self.under_way = self.most = self.begun = 0
        self.fault: Exception | None = None

    def begin(self, model: bytes, inputs: Float32Array, **layers: int) -> PendingRerun:
        run = super().begin(model, inputs, **layers)
        self.begun += 1
        self.under_way += 1
        self.most = max(self.most, self.under_way)

        def wait() -> RerunOutputs:
            self.under_way -= 1
            if self.fault is not None:
                raise self.fault
            return run()

        return wait


@pytest.fixture
def worked(pool: WorkingPool) -> WorkingPool:
    for number in range(JOBS):
        pool.run(pool.order(tag=number))
    pool.certify()
    return pool


def checking(pool: WorkingPool, reruns: CountedReruns) -> Validator:
    """Validator 0 with a journal that nobody has open."""
    return pool.validator(0, reruns=reruns, journal=pool.folder / "journal of reruns")


def outcomes(validator: Validator) -> list[Outcome]:
    committed = [action for action in validator.step() if isinstance(action, Committed)]
    return [one.outcome for action in committed for one in action.judgements.values()]


@pytest.mark.parametrize(("at_once", "most"), [(1, 1), (3, 3), (100, 2 * JOBS)])
def test_no_more_spans_are_begun_than_may_be(worked: WorkingPool, at_once: int, most: int) -> None:
    reruns = CountedReruns(worked, at_once=at_once)
    assert outcomes(checking(worked, reruns)) == [Outcome.UPHELD] * 2 * JOBS
    assert (reruns.most, reruns.begun, reruns.under_way) == (most, 2 * JOBS, 0)


def test_what_nobody_could_run_is_judged_another_time(worked: WorkingPool) -> None:
    """Nothing is bound, let alone as inconclusive: the same validator judges it all once it can be run."""
    reruns = CountedReruns(worked, at_once=2)
    validator = checking(worked, reruns)
    reruns.fault = BusyError("workers are lost")
    with pytest.raises(BusyError, match="workers are lost"):
        validator.step()
    reruns.fault = None
    assert outcomes(validator) == [Outcome.UPHELD] * 2 * JOBS


def test_inputs_that_no_model_takes_are_no_inputs(worked: WorkingPool) -> None:
    reruns = CountedReruns(worked, at_once=2)
    reruns.fault = ActivationError("inputs are not finite")
    assert outcomes(checking(worked, reruns)) == [Outcome.INCONCLUSIVE] * 2 * JOBS
