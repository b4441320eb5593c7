"""Every part of an evidence bundle is tied to the others: broken once, it is refused.

Source: specs/validation.md §10."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from creditledger.activations.sealing import pack_inputs, pack_sketches, unpack_inputs, unpack_sketches
from creditledger.errors import (
    CertificateError,
    InclusionProofError,
    MalformedBundleError,
    MalformedRecordError,
    OpeningError,
    PolicyError,
    SignatureError,
    UnknownIdError,
    VerificationError,
)
from creditledger.ledger.prove import prover
from creditledger.minting.handover import sign_handover
from creditledger.records.job import Job
from creditledger.records.parameters import Parameters
from creditledger.records.receipt import Handover, Receipt
from creditledger.records.verdict import Outcome, Verdict
from creditledger.transparency.bundle import Bundle
from creditledger.validation.bound_evidence import bind_evidence
from creditledger.validation.evidence_bundle import MAGIC, EvidenceBundle, EvidenceParts
from creditledger.validation.journal import JournaledVerdict, RoundVerdicts, read_verdicts
from creditledger.validation.judgement import evidence_digest
from creditledger.validation.verdict_signing import shown_verdicts
from fakes.refuted import bound, changed, opened_refutation, repeated
from fakes.working_pool import WorkingModel, WorkingPool, validator_key


@dataclass(frozen=True, slots=True)
class Case:
    """A pool in which node 1 cheated in its short second window, and the evidence of it."""

    pool: WorkingPool
    receipts: dict[int, list[Receipt]]
    bundle: EvidenceBundle

    @property
    def parts(self) -> EvidenceParts:
        return self.bundle.parts


@pytest.fixture(scope="module")
def case(working_model: WorkingModel, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Case]:
    pool = WorkingPool(tmp_path_factory.mktemp("bound"), working_model)
    receipts = pool.run(pool.order(positions=300), positions=300, kernels={1: late_noise(pool)})
    pool.check()
    yield Case(pool, receipts, opened_refutation(pool.ledger, receipts[1][1]))
    pool.close()


def late_noise(pool: WorkingPool) -> Callable[[np.ndarray, int, int], np.ndarray]:
    """Honest in the first window, made up in the second."""

    def run(inputs: np.ndarray, layer_start: int, layer_stop: int) -> np.ndarray:
        outputs = pool.model.honest(inputs, layer_start, layer_stop)
        outputs[256:] = pool.model.noise(inputs, layer_start, layer_stop)[256:]
        return outputs

    return run


def flipped(content: bytes, at: int = -1) -> bytes:
    """``content`` with one bit of one byte turned."""
    altered = bytearray(content)
    altered[at] ^= 1
    return bytes(altered)


def other_proof(case: Case, digest: bytes) -> bytes:
    with prover(case.pool.ledger) as prove:
        return prove.receipt(digest, most="logged")


def account_proof(case: Case) -> bytes:
    with prover(case.pool.ledger) as prove:
        return prove.account(case.pool.client.public_key)


def resigned(case: Case, **fields: object) -> dict[str, object]:
    """Its verdict with other fields: no longer what lies under the reveal."""
    verdict = Verdict.decode(case.parts.verdict.verdict).replace(**fields)
    return {"verdict": case.parts.verdict.replace(verdict=verdict.encode())}


def sketches(case: Case, *keep: int, salt: bytes | None = None) -> dict[str, object]:
    openings = [unpack_sketches(case.parts.sketches)[number] for number in keep]
    if salt is not None:
        openings[-1] = (salt, openings[-1][1])
    return {"sketches": pack_sketches(openings)}


def inputs(case: Case, number: int, *, position: int | None = None) -> dict[str, object]:
    """One window's inputs with a bit turned, or said to begin elsewhere."""
    blocks = list(case.bundle.inputs)
    opened = unpack_inputs(blocks[number])
    rows = opened.rows.copy()
    if position is None:
        rows[3, 5] ^= 1
    first = opened.first_position if position is None else position
    blocks[number] = pack_inputs(rows, opened.boundary_key, first)
    return {"inputs": tuple(blocks)}


def handover(case: Case, *, signer: int = 1, **fields: object) -> dict[str, object]:
    """One that node 1 might have signed for its second window."""
    receipt = case.receipts[1][1]
    said = Handover(
        job=receipt.job,
        sender=receipt.node,
        boundary=receipt.layer_stop,
        window_start=receipt.window_start,
        positions=receipt.positions,
        root=bytes(32),
    )
    key = case.pool.nodes[signer]
    return {"handover": sign_handover(said.replace(**fields), key=key, ledger_id=case.pool.ledger.id)}


def other_job(case: Case) -> dict[str, object]:
    job = Job.decode(case.parts.job)
    return {"job": job.replace(max_price_micro=job.max_price_micro + 1).encode()}


def other_parameters(case: Case) -> dict[str, object]:
    terms = Parameters.decode(case.parts.parameters)
    return {"parameters": terms.replace(grace_ms=terms.grace_ms + 1).encode()}


def other_signature(case: Case) -> dict[str, object]:
    proof = Bundle.decode(case.parts.proof)
    entry = proof.entry[0].replace(signature=flipped(proof.entry[0].signature))
    return {"proof": proof.replace(entry=(entry,)).encode()}


def other_reveal(case: Case, signature: bytes) -> dict[str, object]:
    shown = case.parts.verdict
    return {"verdict": shown.replace(reveal=shown.reveal.replace(signature=signature))}


def later_leaf(case: Case) -> dict[str, object]:
    shown = case.parts.verdict
    return {"verdict": shown.replace(leaf=shown.leaf.replace(index=shown.leaf.index ^ 1))}


def before_salted(case: Case) -> dict[str, object]:
    (_, sketch), own = unpack_sketches(case.parts.sketches)
    return {"sketches": pack_sketches([(bytes(32), sketch), own])}


def about_the_window_before(case: Case) -> dict[str, object]:
    """What the same member said, and signed, of another receipt."""
    pool, digest = case.pool, case.receipts[1][0].digest(case.pool.ledger.id)
    (verdicts,) = read_verdicts(pool.folder / "journal-0", ledger_id=pool.ledger.id)
    one = next(one for one in verdicts.verdicts if one.verdict.receipt == digest)
    shown = shown_verdicts(verdicts, member=0, key=validator_key(0), ledger_id=pool.ledger.id)
    return {"verdict": shown[digest], "salt": one.salt, "statistics": one.statistics}


def lying(case: Case, statistics: bytes) -> dict[str, object]:
    """A verdict that its member signed, over statistics of its own making."""
    verdict = Verdict.decode(case.parts.verdict.verdict)
    verdict = verdict.replace(evidence=evidence_digest(bytes(32), statistics))
    one = JournaledVerdict(verdict=verdict, salt=bytes(32), statistics=statistics)
    made = RoundVerdicts(number=verdict.round, salt=bytes(32), verdicts=(one,))
    shown = shown_verdicts(made, member=0, key=validator_key(0), ledger_id=case.pool.ledger.id)
    return {"verdict": shown[verdict.receipt], "salt": bytes(32), "statistics": statistics}


BROKEN: dict[str, tuple[Callable[[Case], dict[str, object]], type[Exception]]] = {
    "ledger": (lambda case: {"ledger": bytes(32)}, VerificationError),
    "proof of an account": (lambda case: {"proof": account_proof(case)}, MalformedBundleError),
    "proof of the window before": (
        lambda case: {"proof": other_proof(case, case.receipts[1][0].digest(case.pool.ledger.id))},
        VerificationError,
    ),
    "proof of the neighbour's": (
        lambda case: {"proof": other_proof(case, case.receipts[0][1].digest(case.pool.ledger.id))},
        VerificationError,
    ),
    "proof that is none": (lambda case: {"proof": b"\x90"}, MalformedBundleError),
    "the node's signature": (other_signature, InclusionProofError),
    "job": (other_job, VerificationError),
    "job that is none": (lambda case: {"job": b"\x90"}, MalformedBundleError),
    "parameters": (other_parameters, VerificationError),
    "chain without its first receipt": (
        lambda case: {"chain": (), "inputs": case.bundle.inputs[1:]},
        VerificationError,
    ),
    "chain of the neighbour": (
        lambda case: {"chain": (case.receipts[0][0].encode(),)},
        VerificationError,
    ),
    "salt of the sketch": (lambda case: sketches(case, 0, 1, salt=bytes(32)), OpeningError),
    "salt of the window before": (lambda case: before_salted(case), OpeningError),
    "sketch of the window before": (lambda case: sketches(case, 0), OpeningError),
    "sketches in another order": (lambda case: sketches(case, 1, 0), OpeningError),
    "three sketches": (lambda case: sketches(case, 0, 0, 1), OpeningError),
    "no sketch and no box": (lambda case: {"sketches": b""}, MalformedBundleError),
    "sketch and box": (lambda case: {"box": b"box"}, MalformedBundleError),
    "another box": (lambda case: {"sketches": b"", "box": b"box"}, OpeningError),
    "slot key without a box": (lambda case: {"slot_key": bytes(32)}, MalformedBundleError),
    "profile of another span": (
        lambda case: {"profile": case.pool.model.profiles[2].encode()},
        VerificationError,
    ),
    "an input row": (lambda case: inputs(case, 0), OpeningError),
    "an input row of its own": (lambda case: inputs(case, 1), OpeningError),
    "where inputs begin": (lambda case: inputs(case, 1, position=0), OpeningError),
    "inputs that are none": (lambda case: {"inputs": (b"rows", b"")}, OpeningError),
    "handover by another node": (lambda case: handover(case, signer=0), SignatureError),
    "handover of another window": (lambda case: handover(case, window_start=0), VerificationError),
    "handover of another boundary": (lambda case: handover(case, boundary=2), VerificationError),
    "handover of another job": (lambda case: handover(case, job=bytes(32)), VerificationError),
    "handover of another sender": (
        lambda case: handover(case, sender=case.pool.nodes[0].public_key),
        VerificationError,
    ),
    "outcome": (lambda case: resigned(case, outcome=Outcome.UPHELD), InclusionProofError),
    "receipt of the verdict": (lambda case: resigned(case, receipt=bytes(32)), InclusionProofError),
    "member of the verdict": (lambda case: resigned(case, member=1), VerificationError),
    "round of the verdict": (lambda case: resigned(case, round=9), VerificationError),
    "leaf of the verdict": (later_leaf, InclusionProofError),
    "salt of the evidence": (lambda case: {"salt": bytes(32)}, VerificationError),
    "statistics": (lambda case: {"statistics": flipped(case.parts.statistics)}, VerificationError),
    "statistics that are none": (lambda case: {"statistics": b"\xc0"}, VerificationError),
    "verdict about another receipt": (about_the_window_before, VerificationError),
    "statistics of another form": (lambda case: lying(case, b"\x05"), VerificationError),
    "the member's signature": (
        lambda case: other_reveal(case, flipped(case.parts.verdict.reveal.signature)),
        SignatureError,
    ),
    "an Ed25519 signature": (lambda case: other_reveal(case, bytes(64)), SignatureError),
}


SAID = {
    "salt of the window before": "not what was committed",
    "verdict about another receipt": "verdict's receipt",
    "statistics of another form": "statistics of a check",
    "ledger": "not the ledger",
    "proof of an account": "about a receipt",
    "proof of the window before": "not the receipt before",
    "proof of the neighbour's": "not of one span",
    "job": "not the job",
    "parameters": "not the parameters",
    "chain without its first receipt": "not the receipt before",
    "chain of the neighbour": "not of one span",
    "profile of another span": "not the profile",
    "handover of another window": "of something else",
    "handover of another boundary": "of something else",
    "handover of another job": "of something else",
    "handover of another sender": "of something else",
    "member of the verdict": "not of one thing",
    "round of the verdict": "not of one thing",
    "salt of the evidence": "verdict's evidence",
    "statistics": "verdict's evidence",
    "statistics that are none": "verdict's evidence",
    "sketches in another order": "not what was committed",
    "three sketches": "other windows",
    "sketch of the window before": "not what was committed",
    "salt of the sketch": "not what was committed",
    "an input row": "under the root",
    "an input row of its own": "under the root",
    "where inputs begin": "under the root",
    "inputs that are none": "cut short",
    "another box": "not the batch's",
    "no sketch and no box": "sketches or the sealed box",
    "sketch and box": "sketches or the sealed box",
    "slot key without a box": "goes with a box",
    "proof that is none": "not a bundle",
    "job that is none": "what is none",
}
"""What a refusal says, where its type alone leaves it open."""


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_binding_is_refused(case: Case, name: str) -> None:
    """Beside it `test_the_bundle_as_it_was_shipped_holds`."""
    change, error = BROKEN[name]
    with pytest.raises(error, match=SAID.get(name)) as refused:
        bound(case.pool, changed(case.bundle, **change(case)))
    assert isinstance(refused.value, VerificationError)


def test_the_bundle_as_it_was_shipped_holds(case: Case) -> None:
    evidence = bound(case.pool, case.bundle)
    assert evidence.digest == case.receipts[1][1].digest(case.pool.ledger.id)
    assert evidence.chain == (case.receipts[1][0],)
    assert evidence.outcome is Outcome.REFUTED
    assert evidence.judge(case.pool.model.runner).outcome is Outcome.REFUTED


@pytest.mark.parametrize("part", ["profile", "handover", "inputs"])
def test_what_may_be_missing_is_missed_by_the_check_alone(case: Case, part: str) -> None:
    """Nearest acceptances: without a profile or inputs nothing is decided; no handover was ever needed."""
    empty = (b"", b"") if part == "inputs" else b""
    outcome = repeated(case.pool, changed(case.bundle, **{part: empty})).outcome
    assert outcome is (Outcome.REFUTED if part == "handover" else Outcome.INCONCLUSIVE)


def test_a_handover_that_agrees_is_no_fault(case: Case) -> None:
    """Signed for the root that the receipt names; for any other root it is the fault that decides."""
    agreeing = handover(case, root=case.receipts[1][1].output_root)
    assert repeated(case.pool, changed(case.bundle, **agreeing)).reason.name == "RATIO"
    assert repeated(case.pool, changed(case.bundle, **handover(case))).reason.name == "BROKEN_LINK"


def test_a_reader_trusts_its_own_policy_alone(case: Case) -> None:
    """Another ledger, another committee, or none: whoever the policy does not name says nothing."""
    policy = case.pool.ledger.policy()
    encoded = opened_refutation(case.pool.ledger, case.receipts[1][1], member=1).encode()
    bind_evidence(encoded, policy, now_unix_ms=case.pool.clock.now)
    stranger = replace(policy, ledger_id=bytes(32))
    nobody = replace(policy, committee=None)
    first, second = policy.committee.members
    for other, error in (
        (stranger, PolicyError),
        (nobody, CertificateError),
        (replace(policy, committee=replace(policy.committee, members=(first,), quorum=1)), CertificateError),
        (replace(policy, committee=replace(policy.committee, members=(second, first))), SignatureError),
    ):
        with pytest.raises(error):
            bind_evidence(encoded, other, now_unix_ms=case.pool.clock.now)


def test_another_model_is_not_run(case: Case, tmp_path: Path) -> None:
    from creditledger.activations.runners.numpy_llama import NumpyLlama
    from fakes.tiny_llama import tiny_llama

    evidence = bound(case.pool, case.bundle)
    with pytest.raises(UnknownIdError):
        evidence.judge(NumpyLlama(tiny_llama(tmp_path / "other", seed=2)))


def test_decoding_undoes_encoding(case: Case) -> None:
    for bundle in (case.bundle, changed(case.bundle, box=b"box", slot_key=bytes(32))):
        assert EvidenceBundle.decode(bundle.encode()) == bundle
        assert len(bundle.encode()) == bundle.size


def test_a_file_that_ends_early_or_late_is_refused(case: Case) -> None:
    """Cut at any of 200 places, or with a byte after its end; nothing but a typed error comes of it."""
    encoded = case.bundle.encode()
    ends = [*range(100), *np.linspace(100, len(encoded) - 1, 100, dtype=int)]
    for end in ends:
        with pytest.raises(MalformedBundleError):
            EvidenceBundle.decode(encoded[: int(end)])
    with pytest.raises(MalformedBundleError):
        EvidenceBundle.decode(encoded + b"\0")
    assert EvidenceBundle.decode(encoded) == case.bundle


def test_a_length_that_boasts_is_refused_before_anything_is_read(case: Case) -> None:
    with pytest.raises(MalformedBundleError):
        EvidenceBundle.decode(MAGIC + b"\xff\xff\xff\xff" + bytes(100))
    with pytest.raises(MalformedBundleError):
        EvidenceBundle.decode(MAGIC + b"\x00\x00\x00\x00")


def test_parts_come_one_for_one(case: Case) -> None:
    with pytest.raises(MalformedRecordError):
        changed(case.bundle, inputs=case.bundle.inputs[:1])
    with pytest.raises(MalformedRecordError):
        changed(case.bundle, slot_key=bytes(31))


def test_a_bundle_beyond_its_bound_is_not_written(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("creditledger.validation.evidence_bundle.EVIDENCE_BYTES_MAX", case.bundle.size)
    encoded = case.bundle.encode()
    assert EvidenceBundle.decode(encoded) == case.bundle
    monkeypatch.setattr("creditledger.validation.evidence_bundle.EVIDENCE_BYTES_MAX", case.bundle.size - 1)
    with pytest.raises(MalformedRecordError):
        case.bundle.encode()
    with pytest.raises(MalformedBundleError):
        EvidenceBundle.decode(encoded)


def test_what_a_member_signed_of_this_receipt_binds_whatever_it_says(case: Case) -> None:
    """The nearest acceptance of a lie: statistics of the right form, made up."""
    evidence = bound(case.pool, changed(case.bundle, **lying(case, b"\x90")))
    assert evidence.claimed.measured() is None
