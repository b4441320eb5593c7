"""A refutation ships what it rests on, and the check comes out again. Source: specs/validation.md §10."""

from collections.abc import Callable
from hashlib import sha256

import numpy as np
import pytest

from creditledger.activations.sampler import Sampler
from creditledger.activations.sealing import recipients_of
from creditledger.activations.sketch import sketch_bytes
from creditledger.credits.reading import parameters_in_force
from creditledger.errors import IntegrityError, OpeningError, StorageError
from creditledger.records.receipt import Receipt
from creditledger.records.verdict import Outcome, Reason, Verdict
from creditledger.validation.duties import DutyJudge
from creditledger.validation.evidence import DirectoryEvidence
from creditledger.validation.judgement import Judgement
from creditledger.validation.shown_opening import read_box
from creditledger.validation.validator import Action, Committed, Revealed
from fakes.faulty_evidence import mint_with, relay
from fakes.refuted import bound, changed, opened_refutation, party_key, repeated, sealed_refutation
from fakes.tiny_llama import SHAPE, inputs_of
from fakes.working_pool import WorkingPool, audit_key

OTHER_SKETCH = (bytes(32), sketch_bytes(np.ones((256, 2), dtype=np.float16)))


def cheated(pool: WorkingPool, kind: str = "noise", *, positions: int = 256) -> list[Receipt]:
    """Node 1's receipts for work it did not do; node 0 did its own."""
    kernel = getattr(pool.model, kind, None) or pool.model.degraded(kind)
    receipts = pool.run(pool.order(positions=positions), positions=positions, kernels={1: kernel})
    return receipts[1]


def shipped(pool: WorkingPool) -> list[str]:
    """The names of all evidence bundles beside the log."""
    return sorted(path.name for path in pool.ledger.directory.evidence.glob("*.refutation"))


@pytest.mark.parametrize("kind", ["int8", "skip", "noise", "replayed"])
def test_every_refutation_comes_out_again(pool: WorkingPool, kind: str) -> None:
    """The same outcome, reason and figures, to the last digit, from what each member shipped."""
    (receipt,) = cheated(pool, kind)
    judged = {
        action.round: action.judgements[receipt.digest(pool.ledger.id)]
        for action in pool.check()
        if isinstance(action, Committed)
    }
    for member in (0, 1):
        bundle = opened_refutation(pool.ledger, receipt, member=member)
        again = repeated(pool, bundle)
        assert again == judged[Verdict.decode(bundle.parts.verdict.verdict).round]
        assert (again.outcome, again.reason) == (Outcome.REFUTED, Reason.RATIO)
        assert again.statistics_bytes() == bundle.parts.statistics


def test_what_is_not_refuted_ships_nothing(pool: WorkingPool) -> None:
    """Neither honest work nor a check without data has anything to show."""
    receipts = pool.run(pool.order())
    (pool.ledger.directory.evidence / receipts[1][0].input_root.hex()).unlink()
    actions = pool.check()
    assert sum(isinstance(action, Revealed) for action in actions) == 2
    assert shipped(pool) == []


def test_evidence_is_out_with_the_reveal_and_not_before(pool: WorkingPool) -> None:
    """Threat E15: it shows the verdict, so who could open it earlier might copy it."""
    (receipt,) = cheated(pool)
    pool.certify()
    digest = receipt.digest(pool.ledger.id).hex()
    assert [type(action) for action in pool.step(0)] == [Committed]
    assert shipped(pool) == []
    pool.step(1)
    (revealed,) = pool.step(0)
    assert shipped(pool) == [f"{digest}-{revealed.round}-0.refutation"]
    pool.step(1)
    assert shipped(pool) == [f"{digest}-{revealed.round}-{member}.refutation" for member in (0, 1)]
    assert list((pool.folder / "journal-0").glob("*.refutation")) == []


def test_only_the_committee_and_the_accused_open_it(pool: WorkingPool) -> None:
    (receipt,) = cheated(pool)
    pool.check()
    sealed = sealed_refutation(pool.ledger, receipt)
    keys = [audit_key(0), audit_key(1), party_key("node 1")]
    assert recipients_of(sealed) == sorted(key.public_key for key in keys)
    opened = [opened_refutation(pool.ledger, receipt, key=key) for key in keys]
    assert opened[0] == opened[1] == opened[2]
    for stranger in (party_key("node 0"), party_key("client"), party_key("operator"), audit_key(2)):
        with pytest.raises(OpeningError):
            opened_refutation(pool.ledger, receipt, key=stranger)


def test_a_box_is_of_one_receipt(pool: WorkingPool) -> None:
    """Put beside another receipt, it does not open."""
    (receipt,) = cheated(pool)
    pool.check()
    sealed = sealed_refutation(pool.ledger, receipt)
    other = receipt.replace(duration_ms=receipt.duration_ms + 1)
    digest = other.digest(pool.ledger.id)
    DirectoryEvidence(pool.ledger.path).ship(f"{digest.hex()}-1-0.refutation", sealed)
    with pytest.raises(OpeningError):
        opened_refutation(pool.ledger, other)


@pytest.mark.parametrize("positions", [276, 512])
def test_a_later_window_comes_with_all_before_it(pool: WorkingPool, positions: int) -> None:
    """A short one is measured together with the window before; a whole one needs its inputs alone."""

    def late_noise(inputs: np.ndarray, layer_start: int, layer_stop: int) -> np.ndarray:
        outputs = pool.model.honest(inputs, layer_start, layer_stop)
        outputs[256:] = pool.model.noise(inputs, layer_start, layer_stop)[256:]
        return outputs

    kernels = {1: late_noise}
    receipts = pool.run(pool.order(positions=positions), positions=positions, kernels=kernels)[1]
    pool.check()
    assert len(shipped(pool)) == 2
    bundle = opened_refutation(pool.ledger, receipts[1])
    assert (len(bundle.parts.chain), len(bundle.inputs)) == (1, 2)
    again = repeated(pool, bundle)
    assert again.outcome is Outcome.REFUTED
    assert again.statistics_bytes() == bundle.parts.statistics
    assert again.statistics.positions == {276: 276, 512: 256}[positions]
    without = repeated(pool, changed(bundle, inputs=(b"", bundle.inputs[1])))
    assert (without.outcome, without.reason) == (Outcome.INCONCLUSIVE, Reason.NO_DATA)


def test_refuted_tokens_come_out_again(pool: WorkingPool) -> None:
    """The opening holds the tokens, and the reader's own model scores them."""
    rows = inputs_of(SHAPE, 256, seed=5)
    outputs = pool.model.honest(rows, 2, 4)
    minter, sampler = pool.minter(1), Sampler.greedy()
    with minter.session(pool.work_order(pool.order(), 2), sampler=sampler) as session:
        session.record(inputs=rows, outputs=outputs, positions=range(256))
        session.drew([int(np.argsort(pool.model.model.logits(outputs[-1:])[0])[-2])])
    (receipt,) = session.receipts
    minter.flush()
    pool.check()
    again = repeated(pool, opened_refutation(pool.ledger, receipt))
    assert (again.outcome, again.reason) == (Outcome.REFUTED, Reason.TOKENS)


def test_a_broken_link_comes_out_again(pool: WorkingPool) -> None:
    """The handover that the accused signed is in the bundle; without it, its work is as good as it was."""
    receipts = relay(pool, with_handover=True)
    pool.check()
    bundle = opened_refutation(pool.ledger, receipts[0][0])
    again = repeated(pool, bundle)
    assert (again.outcome, again.reason) == (Outcome.REFUTED, Reason.BROKEN_LINK)
    assert repeated(pool, changed(bundle, handover=b"")).outcome is Outcome.UPHELD


def test_a_sketch_that_was_not_committed_to_is_shown_by_the_box(pool: WorkingPool) -> None:
    """The key of the member's slot opens the node's own box for anybody."""
    receipt = mint_with(pool, pool.order(), OTHER_SKETCH)
    pool.check()
    bundle = opened_refutation(pool.ledger, receipt)
    assert (bundle.parts.sketches, len(bundle.parts.slot_key)) == (b"", 32)
    again = repeated(pool, bundle)
    assert (again.outcome, again.reason) == (Outcome.REFUTED, Reason.OPENING)
    hidden = repeated(pool, changed(bundle, slot_key=b""))
    assert (hidden.outcome, hidden.reason) == (Outcome.INCONCLUSIVE, Reason.NO_DATA)


@pytest.mark.parametrize(
    "reason", [Reason.RATIO, Reason.TAIL, Reason.OPENING, Reason.BROKEN_LINK, Reason.TOKENS]
)
def test_a_false_verdict_clears_whom_it_accuses(
    pool: WorkingPool, monkeypatch: pytest.MonkeyPatch, reason: Reason
) -> None:
    """Honest work, a committee that lies: all that the liars can show upholds the receipt, and is signed."""
    (receipt,) = pool.run(pool.order())[1]
    lie = Judgement(outcome=Outcome.REFUTED, reason=reason)
    monkeypatch.setattr(DutyJudge, "judge", lambda self, state, due: dict.fromkeys(due, lie))
    pool.check()
    evidence = bound(pool, opened_refutation(pool.ledger, receipt, member=1))
    assert (evidence.outcome, evidence.claimed.verdict.reason) == (Outcome.REFUTED, reason)
    assert evidence.claimed.verdict.member == 1
    again = evidence.judge(pool.model.runner)
    assert (again.outcome, again.reason) == (Outcome.UPHELD, Reason.MATCH)


def test_another_key_than_a_slots_does_not_make_a_box_false(pool: WorkingPool) -> None:
    """Else anybody could show an honest box as one that does not open."""
    receipt = mint_with(pool, pool.order(), OTHER_SKETCH)
    pool.check()
    bundle = opened_refutation(pool.ledger, receipt)
    assert bound(pool, bundle).opening == OTHER_SKETCH
    with pytest.raises(OpeningError):
        bound(pool, changed(bundle, slot_key=bytes(32)))
    with pytest.raises(OpeningError):
        bound(pool, changed(bundle, box=bundle.box + b"\0"))


def test_a_box_of_another_epoch_owes_nothing_to_these_parameters(pool: WorkingPool) -> None:
    """Sealed to the keys of its own time; of the parameters' epoch the same box is at fault."""
    receipt = mint_with(pool, pool.order(), None, sealed_to=(7, 8))
    batch = pool.ledger.entry(pool.receipt_state(receipt).batch_index).record
    box = DirectoryEvidence(pool.ledger.path).sealed_sketches(batch.sealed)
    with pool.ledger.read() as state:
        terms = parameters_in_force(state)
    said = {"place": 0, "parameters": terms, "ledger_id": pool.ledger.id}
    assert read_box(box, b"", batch=batch, **said) is Reason.OPENING
    assert read_box(box, b"", batch=batch.replace(audit_epoch=7), **said) is Reason.NO_DATA
    strange = b"no box at all"
    batch = batch.replace(sealed=sha256(strange).digest())
    assert read_box(strange, b"", batch=batch, **said) is Reason.OPENING


@pytest.mark.parametrize("sealed_to", [(7, 8), (0, 8)], ids=["strangers", "one-left-out"])
def test_a_box_for_others_than_the_committee_needs_no_key(
    pool: WorkingPool, sealed_to: tuple[int, int]
) -> None:
    """Its header says whom it is sealed to, the parameters whom it must be."""
    receipt = mint_with(pool, pool.order(), None, sealed_to=sealed_to)
    pool.check()
    bundle = opened_refutation(pool.ledger, receipt, member=1)
    assert (bundle.parts.slot_key, bool(bundle.box)) == (b"", True)
    again = repeated(pool, bundle)
    assert (again.outcome, again.reason) == (Outcome.REFUTED, Reason.OPENING)


def test_evidence_survives_the_validator(make_pool: Callable[..., WorkingPool]) -> None:
    """Between commit and reveal inputs go and the process ends: the journal has what is shipped."""
    pool = make_pool(validators=1)
    (receipt,) = cheated(pool)
    pool.certify()
    pool.step()
    for path in pool.ledger.directory.evidence.iterdir():
        path.unlink()
    pool._validators[0].close()
    pool._validators[0] = pool.validator(0)
    assert [type(action) for action in pool.step()] == [Revealed]
    assert repeated(pool, opened_refutation(pool.ledger, receipt)).outcome is Outcome.REFUTED


class BrokenSink:
    """Takes nothing, as a full disk does."""

    def ship(self, name: str, sealed: bytes) -> None:
        raise StorageError("No space left on device", found=name)


def test_what_cannot_be_shipped_is_not_revealed(make_pool: Callable[..., WorkingPool]) -> None:
    """Again later: then it is, once, and a second time changes nothing."""
    pool = make_pool(validators=1)
    cheated(pool)
    pool._validators[0].close()
    pool._validators[0] = pool.validator(0, sink=BrokenSink())
    pool.certify()
    assert [type(action) for action in pool.step()] == [Committed]
    with pytest.raises(StorageError):
        pool.step()
    pool._validators[0].close()
    pool._validators[0] = pool.validator(0)
    assert [type(action) for action in pool.step()] == [Revealed]
    assert pool.step() == []
    (name,) = shipped(pool)
    there, content = DirectoryEvidence(pool.ledger.path), pool.ledger.directory.evidence / name
    there.ship(name, content.read_bytes())
    with pytest.raises(IntegrityError):
        there.ship(name, b"another")


def test_a_crash_before_the_promise_leaves_nothing_in_the_way(
    make_pool: Callable[..., WorkingPool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The evidence is down and the verdicts are not: they are found again, with other salts."""
    pool = make_pool(validators=1)
    (receipt,) = cheated(pool)
    pool.certify()
    with monkeypatch.context() as crashing:
        crashing.setattr("creditledger.validation.journal.Journal.note_verdicts", _crash)
        with pytest.raises(KeyboardInterrupt):
            pool.step()
    assert len(list((pool.folder / "journal-0").glob("*.refutation"))) == 1
    actions: list[Action] = [*pool.step(), *pool.step()]
    assert [type(action) for action in actions] == [Committed, Revealed]
    assert repeated(pool, opened_refutation(pool.ledger, receipt)).outcome is Outcome.REFUTED


def _crash(*arguments: object) -> None:
    raise KeyboardInterrupt


def test_inputs_that_are_too_many_stay_out(pool: WorkingPool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then all else can still be checked, and the work cannot."""
    (receipt,) = cheated(pool)
    monkeypatch.setattr("creditledger.validation.refutation.EVIDENCE_BYTES_MAX", 60_000)
    pool.check()
    bundle = opened_refutation(pool.ledger, receipt)
    assert bundle.inputs == (b"",)
    assert repeated(pool, bundle).reason is Reason.NO_DATA
