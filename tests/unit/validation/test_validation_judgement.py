"""Windows, prefixes and short ends. Source: specs/validation.md §5."""

from collections.abc import Mapping

import numpy as np
import pytest

from creditledger.activations.embedding_bound import EmbeddingLengths
from creditledger.activations.runners.layer_runner import LayerRunner
from creditledger.activations.sealing import OpenedInputs
from creditledger.minting.receipt_maker import MintedReceipt
from creditledger.records.verdict import Outcome, Reason
from creditledger.validation.judgement import Judgement, judge_receipt
from creditledger.validation.validator import Committed
from fakes.tiny_llama import SHAPE, inputs_of
from fakes.working_pool import Kernel, WorkingModel, WorkingPool


class CountingRunner:
    """Counts how often and how far a model is run."""

    def __init__(self, runner: LayerRunner) -> None:
        self._runner = runner
        self.model = runner.model
        self.lengths: list[int] = []

    def reference(self, inputs: np.ndarray, **span: int) -> np.ndarray:
        self.lengths.append(len(inputs))
        return self._runner.reference(inputs, **span)

    def yardstick(self, inputs: np.ndarray, **span: int) -> np.ndarray:
        return self._runner.yardstick(inputs, **span)

    def embedding_lengths(self) -> EmbeddingLengths:
        return self._runner.embedding_lengths()


def minted(
    pool: WorkingPool, positions: int, kernel: Kernel | None = None
) -> tuple[list[MintedReceipt], list[OpenedInputs]]:
    """Node 0's receipts with their openings, and the inputs as a validator opens them."""
    job = pool.order(tag=("minted", positions), positions=positions)
    minter, order = pool.minter(0), pool.work_order(job, 0)
    made: list[MintedReceipt] = []
    rows = inputs_of(SHAPE, positions, seed=5)
    opened: list[OpenedInputs] = []
    with minter.session(order) as session:
        keep = session._keep

        def noticed(window, one) -> None:
            made.append(one)
            opened.append(
                OpenedInputs(rows=window.inputs, boundary_key=order.input_key, first_position=window.start)
            )
            keep(window, one)

        session._keep = noticed
        outputs = (kernel or pool.model.honest)(rows, 0, 2)
        session.record(inputs=rows, outputs=outputs, positions=range(positions))
    assert session.receipts
    return made, opened


def judge_last(
    model: WorkingModel, made: list[MintedReceipt], opened: list[OpenedInputs | None], **changes: object
) -> Judgement:
    arguments: dict = {
        "prefix": [one.receipt for one in made[:-1]],
        "opening": made[-1].opening,
        "inputs": opened,
        "runner": model.runner,
        "profile": model.profiles[2],
        "before": made[-2].opening if len(made) > 1 else None,
    }
    return judge_receipt(made[-1].receipt, **(arguments | changes))


def noise_after(model: WorkingModel, first: int) -> Kernel:
    """Honest up to ``first``, then nothing was run."""

    def run(inputs: np.ndarray, layer_start: int, layer_stop: int) -> np.ndarray:
        outputs = model.honest(inputs, layer_start, layer_stop)
        outputs[first:] = model.noise(inputs, layer_start, layer_stop)[first:]
        return outputs

    return run


@pytest.mark.parametrize("positions", [32, 256, 300, 512])
def test_honest_windows_are_upheld_at_every_length(
    pool: WorkingPool, working_model: WorkingModel, positions: int
) -> None:
    """A last window of any length passes: alone from 32 positions on, else with the one before."""
    judgement = judge_last(working_model, *minted(pool, positions))
    assert (judgement.outcome, judgement.reason) == (Outcome.UPHELD, Reason.MATCH)
    assert judgement.statistics.positions == {32: 32, 256: 256, 300: 300, 512: 256}[positions]


def test_a_short_end_alone_says_too_little(pool: WorkingPool, working_model: WorkingModel) -> None:
    judgement = judge_last(working_model, *minted(pool, 31))
    assert (judgement.outcome, judgement.reason) == (Outcome.INCONCLUSIVE, Reason.TOO_SHORT)


def test_a_cheat_in_a_short_end_is_found_with_the_window_before(
    pool: WorkingPool, working_model: WorkingModel
) -> None:
    """20 positions of noise after 256 honest ones."""
    made, opened = minted(pool, 276, noise_after(working_model, 256))
    assert judge_last(working_model, made, opened).outcome == Outcome.REFUTED


def test_a_cheat_in_a_later_window_leaves_the_earlier_one_alone(
    pool: WorkingPool, working_model: WorkingModel
) -> None:
    made, opened = minted(pool, 512, noise_after(working_model, 256))
    assert judge_last(working_model, made[:1], opened[:1]).outcome == Outcome.UPHELD
    assert judge_last(working_model, made, opened).outcome == Outcome.REFUTED


def test_a_gap_in_the_prefix_is_no_data(pool: WorkingPool, working_model: WorkingModel) -> None:
    """The second window cannot be re-executed without the first one's inputs."""
    made, opened = minted(pool, 512)
    judgement = judge_last(working_model, made, [None, opened[1]])
    assert (judgement.outcome, judgement.reason) == (Outcome.INCONCLUSIVE, Reason.NO_DATA)


def test_without_a_profile_nothing_is_decided(pool: WorkingPool, working_model: WorkingModel) -> None:
    judgement = judge_last(working_model, *minted(pool, 256), profile=None)
    assert (judgement.outcome, judgement.reason) == (Outcome.INCONCLUSIVE, Reason.NO_PROFILE)


def test_statistics_bind_without_telling(pool: WorkingPool, working_model: WorkingModel) -> None:
    """The evidence digest depends on every statistic and on its salt."""
    made, opened = minted(pool, 256)
    judgement = judge_last(working_model, made, opened)
    assert judgement.evidence_digest(bytes(32)) != judgement.evidence_digest(b"\1" * 32)
    other = judge_last(working_model, *minted(pool, 288, working_model.degraded("int8")))
    assert judgement.statistics_bytes() != other.statistics_bytes()
    assert judgement.evidence_digest(bytes(32)) != other.evidence_digest(bytes(32))


def test_a_span_is_run_once_for_all_its_windows(pool: WorkingPool) -> None:
    """Three windows due: one prefill of all positions for each span."""
    receipts = pool.run(pool.order(positions=700), positions=700)
    runner = CountingRunner(pool.model.runner)
    pool.certify()
    validator = pool.validator(0, runner=runner, journal=pool.folder / "counting")
    actions = validator.step()
    validator.close()
    judged: Mapping[bytes, Judgement] = next(a.judgements for a in actions if isinstance(a, Committed))
    assert len(judged) == sum(len(chain) for chain in receipts.values()) == 6
    assert {judgement.outcome for judgement in judged.values()} == {Outcome.UPHELD}
    assert runner.lengths == [700, 700]


def test_a_validator_without_the_model_leaves_the_check_open(pool: WorkingPool) -> None:
    pool.run(pool.order())
    pool.certify()
    validator = pool.validator(0, runner={}, journal=pool.folder / "blind")
    actions = validator.step()
    validator.close()
    judged = next(action.judgements for action in actions if isinstance(action, Committed))
    assert {(j.outcome, j.reason) for j in judged.values()} == {(Outcome.INCONCLUSIVE, Reason.NO_PROFILE)}
