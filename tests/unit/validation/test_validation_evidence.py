"""What happens when evidence is missing, false, or contradicts itself. Source: specs/validation.md §4-5."""

from collections.abc import Sequence

import numpy as np
import pytest

from creditledger.activations.bf16 import to_bf16_bits
from creditledger.activations.sketch import read_sketch, sketch_bytes
from creditledger.minting.sealed_evidence import SketchOpening, open_sketches, seal_inputs
from creditledger.records.receipt import Receipt
from creditledger.records.verdict import Outcome, Reason
from creditledger.validation.evidence import DirectoryEvidence
from creditledger.validation.judgement import Judgement
from creditledger.validation.validator import Action, Committed
from fakes.faulty_evidence import mint_with, relay
from fakes.tiny_llama import SHAPE, inputs_of
from fakes.working_pool import CountedBytes, WorkingPool, audit_key


def judged(actions: Sequence[Action], receipt: Receipt, pool: WorkingPool) -> set[tuple[Outcome, Reason]]:
    """What all validators said about one receipt."""
    digest = receipt.digest(pool.ledger.id)
    commits = [action for action in actions if isinstance(action, Committed)]
    found: list[Judgement] = [commit.judgements[digest] for commit in commits if digest in commit.judgements]
    return {(judgement.outcome, judgement.reason) for judgement in found}


def test_inputs_that_nobody_shows_are_no_data(pool: WorkingPool) -> None:
    """Two validators without data: neither upheld nor refuted, and not paid."""
    receipts = pool.run(pool.order())
    pool.deliver(receipts)
    (pool.ledger.directory.evidence / receipts[1][0].input_root.hex()).unlink()
    actions = pool.check()
    assert judged(actions, receipts[1][0], pool) == {(Outcome.INCONCLUSIVE, Reason.NO_DATA)}
    assert judged(actions, receipts[0][0], pool) == {(Outcome.UPHELD, Reason.MATCH)}
    pool.ledger.settle_due()
    assert pool.unvested(pool.nodes[0]) > 0
    assert pool.unvested(pool.nodes[1]) == 0


def test_other_inputs_than_the_committed_ones_are_no_data(pool: WorkingPool) -> None:
    """Rows that are not under the input root cannot be re-executed for anybody."""
    job = pool.order()
    receipts = pool.run(job)
    receipt = receipts[0][0]
    sealed = seal_inputs(
        to_bf16_bits(inputs_of(SHAPE, 256, seed=6)),
        sorted(audit_key(index).public_key for index in range(2)),
        boundary_key=pool.work_order(job, 0).input_key,
        first_position=0,
        ledger_id=pool.ledger.id,
        input_root=receipt.input_root,
        random_bytes=CountedBytes("other inputs"),
    )
    (pool.ledger.directory.evidence / receipt.input_root.hex()).write_bytes(sealed)
    assert judged(pool.check(), receipt, pool) == {(Outcome.INCONCLUSIVE, Reason.NO_DATA)}


def test_inputs_are_waited_for(pool: WorkingPool) -> None:
    """Within its patience a validator commits to nothing; the inputs come, and it goes on."""
    receipts = pool.run(pool.order())
    path = pool.ledger.directory.evidence / receipts[1][0].input_root.hex()
    kept = path.read_bytes()
    path.unlink()
    pool.certify()
    patient = pool.validator(0, patience_ms=10_000, journal=pool.folder / "patient")
    assert patient.step() == []
    path.write_bytes(kept)
    actions = patient.step()
    patient.close()
    assert judged(actions, receipts[1][0], pool) == {(Outcome.UPHELD, Reason.MATCH)}


def test_a_sketch_that_was_not_committed_to_is_refuted(pool: WorkingPool) -> None:
    """The node cannot find a better sketch afterwards: its commitment tells."""
    other = (bytes(32), sketch_bytes(np.ones((256, 2), dtype=np.float16)))
    receipt = mint_with(pool, pool.order(), other)
    assert judged(pool.check(), receipt, pool) == {(Outcome.REFUTED, Reason.OPENING)}


def test_sealed_sketches_that_do_not_open_are_refuted(pool: WorkingPool) -> None:
    """Sealed to strangers: the box is there, and no validator can open it."""
    receipt = mint_with(pool, pool.order(), (bytes(32), bytes(4 * 256)), sealed_to=(7, 8))
    assert judged(pool.check(), receipt, pool) == {(Outcome.REFUTED, Reason.OPENING)}


def test_sealed_sketches_that_are_gone_are_no_data(pool: WorkingPool) -> None:
    """The box was admitted with its batch: that it is gone is nobody's proof against the node."""
    receipts = pool.run(pool.order())
    for path in pool.ledger.directory.sealed.iterdir():
        path.unlink()
    assert judged(pool.check(), receipts[0][0], pool) == {(Outcome.INCONCLUSIVE, Reason.NO_DATA)}


def test_sealed_sketches_open_to_what_the_receipt_commits_to(pool: WorkingPool) -> None:
    """The nearest acceptance: the box of an honest batch, opened by hand."""
    receipts = pool.run(pool.order())
    boxes = {path.name: path.read_bytes() for path in pool.ledger.directory.sealed.iterdir()}
    batch = pool.ledger.entry(pool.receipt_state(receipts[0][0]).batch_index).record
    openings: list[SketchOpening] = open_sketches(
        boxes[batch.sealed.hex()], audit_key(0), ledger_id=pool.ledger.id, batch_root=batch.root
    )
    assert [len(read_sketch(encoded)) for _, encoded in openings] == [256]


def test_inputs_that_were_not_delivered_earn_nothing(pool: WorkingPool) -> None:
    """Without the sender's signature the receiver may have made them up."""
    receipts = relay(pool, with_handover=False)
    actions = pool.check()
    assert judged(actions, receipts[1][0], pool) == {(Outcome.INCONCLUSIVE, Reason.BROKEN_LINK)}
    assert judged(actions, receipts[0][0], pool) == {(Outcome.UPHELD, Reason.MATCH)}


def test_a_signed_handover_puts_the_blame_on_the_sender(pool: WorkingPool) -> None:
    """The receiver shows what it was given: it is upheld, and the sender refuted."""
    receipts = relay(pool, with_handover=True)
    actions = pool.check()
    assert judged(actions, receipts[1][0], pool) == {(Outcome.UPHELD, Reason.MATCH)}
    assert judged(actions, receipts[0][0], pool) == {(Outcome.REFUTED, Reason.BROKEN_LINK)}


@pytest.mark.parametrize("what", ["sketches", "profile"])
def test_files_with_other_content_than_their_name_are_not_there(pool: WorkingPool, what: str) -> None:
    """Named by their hash: whoever swaps one has only removed it."""
    pool.run(pool.order())
    evidence = DirectoryEvidence(pool.ledger.path)
    if what == "sketches":
        path = next(pool.ledger.directory.sealed.iterdir())
        digest, ask = bytes.fromhex(path.name), evidence.sealed_sketches
    else:
        digest, ask = pool.model.profiles[2].digest, evidence.profile
        path = pool.ledger.directory.public / "batch" / digest.hex()
    assert ask(digest) is not None
    path.write_bytes(b"other content")
    assert ask(digest) is None
