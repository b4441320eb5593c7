"""Nothing in a bundle is believed of itself: leaf, state, verdict and certificate are all of one thing."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from creditledger.errors import (
    CertificateError,
    InclusionProofError,
    MalformedBundleError,
    PolicyError,
    SignatureError,
    VerificationError,
)
from creditledger.records.job import Job
from creditledger.records.receipt import Batch, Delivery, Receipt
from creditledger.records.state import (
    LotState,
    ReceiptState,
    account_key,
    consumed_key,
    hold_key,
    lot_key,
    public_key_key,
    receipt_key,
)
from creditledger.records.verdict import Outcome, Verdict
from creditledger.transparency.bundle import Bundle, Leaf, SignedRecord
from creditledger.transparency.certificate import Committee, CommitteeMember
from creditledger.transparency.merkle import leaf_hash
from creditledger.transparency.verification import REQUIREMENTS, Verified, verify_bundle
from fakes.cast import ed25519
from fakes.committee import fake_digest, real_validator
from fakes.forged_bundle import ENTRY_INDEX, forged, shown_verdict
from fakes.shown_pool import ABSENT, Shown, elsewhere, shown


def decoded(name: str, source: Shown | None = None) -> Bundle:
    return Bundle.decode((source or shown())[name])


def read(bundle: Bundle, require: str = "signed") -> Verified:
    return verify_bundle(bundle.encode(), shown().policy, require=require)  # type: ignore[arg-type]


def receipt_of(bundle: Bundle) -> Receipt:
    return Receipt.decode(bundle.body)


def key_of(bundle: Bundle) -> bytes:
    return receipt_key(receipt_of(bundle).digest(bundle.ledger))


def lot_key_of(bundle: Bundle) -> bytes:
    return lot_key(receipt_of(bundle).job, receipt_of(bundle).layer_start)


def state_of(bundle: Bundle) -> ReceiptState:
    return ReceiptState.decode(bundle.states[0].value).replace(batch_index=ENTRY_INDEX)


def lot_of(bundle: Bundle) -> LotState:
    return LotState.decode(bundle.states[1].value)


def resigned(
    signed: SignedRecord, record: Batch | Job | Delivery, signer: str, ledger: bytes
) -> SignedRecord:
    signature = ed25519(signer).sign(record.signing_bytes(ledger))
    return SignedRecord(record=record.encode(), signature=signature, place=signed.place)


def vested(**parts: object) -> Bundle:
    """The vested receipt, told again in a forged log."""
    bundle = decoded("vested")
    states = {key_of(bundle): state_of(bundle), lot_key_of(bundle): lot_of(bundle)}
    return forged(shown(), bundle, states, **parts)


def with_state(**changes: object) -> Bundle:
    bundle = decoded("upheld")
    return forged(shown(), bundle, {key_of(bundle): state_of(bundle).replace(**changes)})  # type: ignore[arg-type]


def with_lot(*, settled: int = 1, **changes: object) -> Bundle:
    bundle = decoded("vested")
    lot = lot_of(bundle).replace(**changes)  # type: ignore[arg-type]
    states = {key_of(bundle): state_of(bundle).replace(settled=settled), lot_key_of(bundle): lot}
    return forged(shown(), bundle, states)


def with_verdict(*, signer: int | None = None, reveal: dict | None = None, **changes: object) -> Bundle:
    bundle = decoded("upheld")
    verdict = Verdict.decode(bundle.verdicts[0].verdict).replace(**changes)  # type: ignore[arg-type]
    part = shown_verdict(shown(), verdict, signer=signer, **(reveal or {}))
    return forged(shown(), bundle, {key_of(bundle): state_of(bundle)}, verdicts=(part,))


def test_a_bundle_told_again_truly_is_accepted() -> None:
    """The forger's tools work: what follows is refused for its one change."""
    assert "vested" in read(vested(), "vested").reached
    assert "upheld" in read(with_state(), "upheld").reached
    assert "upheld" in read(with_verdict(), "upheld").reached
    assert "vested" in read(with_lot(), "vested").reached


# The leaf


def test_the_leaf_is_recomputed_from_the_receipt() -> None:
    """Other work under the same batch, index and path is another leaf."""
    bundle = decoded("logged")
    better = receipt_of(bundle).replace(output_root=fake_digest("better"))
    with pytest.raises(InclusionProofError):
        read(bundle.replace(body=better.encode(), job=(), delivery=()))
    other = decoded("upheld last").body
    with pytest.raises(InclusionProofError):
        read(bundle.replace(body=other))


@pytest.mark.parametrize(
    "leaf",
    [
        lambda mine, other: mine.replace(index=mine.index + 1),
        lambda mine, other: mine.replace(index=2),
        lambda mine, other: mine.replace(path=()),
        lambda mine, other: mine.replace(path=(*mine.path, bytes(32))),
        lambda mine, other: other,
    ],
    ids=["index plus one", "index beyond", "no path", "longer path", "another batch's"],
)
def test_another_place_in_the_batch_is_refused(leaf: Callable) -> None:
    bundle, other = decoded("logged"), decoded("logged bad")
    assert read(bundle).reached
    with pytest.raises(InclusionProofError):
        read(bundle.replace(leaf=(leaf(bundle.leaf[0], other.leaf[0]),)))


def test_another_place_in_the_log_is_refused() -> None:
    bundle = decoded("logged")
    place = bundle.entry[0].place[0]
    for changed in (
        place.replace(index=place.index + 1),
        place.replace(index=2**63 - 1),
        place.replace(time_unix_ms=place.time_unix_ms + 1),
        place.replace(path=place.path[:-1]),
        place.replace(path=place.path[::-1]),
        decoded("batch of one").entry[0].place[0],
    ):
        with pytest.raises(InclusionProofError):
            read(bundle.replace(entry=(bundle.entry[0].replace(place=(changed,)),)))


def test_another_ledger_is_refused() -> None:
    """Same people, same keys, same words: the ledger id is in every signature and in the policy."""
    bundle, foreign = decoded("signed"), decoded("signed", elsewhere())
    with pytest.raises(PolicyError):
        read(foreign)
    with pytest.raises(VerificationError):
        read(foreign.replace(ledger=bundle.ledger))
    with pytest.raises(SignatureError):
        read(foreign.replace(ledger=bundle.ledger, job=(), delivery=()))


def test_another_nodes_signature_is_refused() -> None:
    bundle = decoded("signed")
    batch = Batch.decode(bundle.entry[0].record)
    by_other = resigned(bundle.entry[0], batch, "other-node", bundle.ledger)
    with pytest.raises(SignatureError):
        read(bundle.replace(entry=(by_other,)))
    adopted = batch.replace(node=ed25519("other-node").public_key)
    theirs = resigned(bundle.entry[0], adopted, "other-node", bundle.ledger)
    with pytest.raises(VerificationError, match="another node's"):
        read(bundle.replace(entry=(theirs,)))


# Job and delivery


def signed_alone(**changes: object) -> Bundle:
    """The receipt, changed, as its node itself would have signed it in a batch of its own."""
    bundle = decoded("signed")
    body = receipt_of(bundle).replace(**changes).encode()  # type: ignore[arg-type]
    batch = Batch.decode(bundle.entry[0].record).replace(root=leaf_hash(body), count=1)
    entry = resigned(bundle.entry[0], batch, "node", bundle.ledger)
    return bundle.replace(body=body, leaf=(Leaf(index=0, path=()),), entry=(entry,))


def test_a_receipt_is_for_what_its_job_plans() -> None:
    """Model and span are the client's choice: work of another is not what the job paid for."""
    assert read(signed_alone()).reached == ("signed",)
    for changes in ({"model": fake_digest("cheaper")}, {"layer_stop": 3}, {"layer_start": 1}):
        changed = signed_alone(**changes)
        with pytest.raises(VerificationError, match="plans other work"):
            read(changed)
        assert read(changed.replace(job=())).reached == ("signed",)


@pytest.mark.parametrize(
    "change",
    [{"max_price_micro": 1}, {"model": fake_digest("other model")}, {"id": bytes(16)}],
    ids=["price", "model", "id"],
)
def test_another_job_of_the_same_client_is_refused(change: dict) -> None:
    bundle = decoded("signed")
    job = Job.decode(bundle.job[0].record).replace(**change)
    with pytest.raises(VerificationError, match="not the one the receipt names"):
        read(bundle.replace(job=(resigned(bundle.job[0], job, "client", bundle.ledger),)))


def test_a_job_not_signed_by_its_client_is_refused() -> None:
    bundle = decoded("signed")
    job = resigned(bundle.job[0], Job.decode(bundle.job[0].record), "node", bundle.ledger)
    with pytest.raises(SignatureError):
        read(bundle.replace(job=(job,)))


def delivered(signer: str = "client", *, head: dict | None = None, **changes: object) -> Bundle:
    bundle = decoded("logged")
    delivery = Delivery.decode(bundle.delivery[0].record)
    heads = tuple(old.replace(**(head or {})) for old in delivery.heads)
    changed = delivery.replace(heads=heads, **changes)  # type: ignore[arg-type]
    return bundle.replace(delivery=(resigned(bundle.delivery[0], changed, signer, bundle.ledger),))


def test_a_delivery_is_the_clients_and_covers_the_receipt() -> None:
    assert read(delivered()).delivered
    digest = receipt_of(decoded("logged")).digest(decoded("logged").ledger)
    assert read(delivered(head={"positions": 256, "receipt": digest})).delivered
    with pytest.raises(SignatureError):
        read(delivered("node"))
    for changed in (
        delivered(head={"positions": 255}),
        delivered(head={"layer_start": 1}),
        delivered(head={"node": ed25519("other-node").public_key}),
        delivered(job=fake_digest("another job")),
        delivered("node", client=ed25519("node").public_key),
    ):
        with pytest.raises(VerificationError, match="delivery"):
            read(changed)


def test_a_delivery_of_another_receipt_of_the_same_window_is_refused() -> None:
    """A node that signed two receipts for one window is paid for the one that the client named."""
    with pytest.raises(VerificationError, match="does not cover"):
        read(delivered(head={"positions": 256, "receipt": fake_digest("the accepted one")}))


# The certified state


@pytest.mark.parametrize(
    "change",
    [
        {"receipt": fake_digest("other")},
        {"job": fake_digest("other")},
        {"node": fake_digest("other")},
        {"layer_start": 1},
        {"positions": 255},
        {"batch_index": ENTRY_INDEX + 1},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_state_that_speaks_of_something_else_is_refused(change: dict) -> None:
    with pytest.raises(VerificationError, match="not of one thing"):
        read(with_state(**change))


def test_a_state_under_another_key_is_refused() -> None:
    bundle = decoded("upheld")
    with pytest.raises(InclusionProofError):
        read(forged(shown(), bundle, {receipt_key(fake_digest("other")): state_of(bundle)}))


@pytest.mark.parametrize("outcome", [4, 127])
def test_a_state_with_an_unknown_outcome_is_refused(outcome: int) -> None:
    with pytest.raises(MalformedBundleError, match="unknown outcome"):
        read(with_state(outcome=outcome))


def test_a_state_of_another_kind_is_refused() -> None:
    bundle = decoded("upheld")
    with pytest.raises(MalformedBundleError):
        read(forged(shown(), bundle, {key_of(bundle): lot_of(decoded("vested"))}))


def test_no_state_without_a_certificate() -> None:
    bundle = decoded("upheld")
    with pytest.raises(MalformedBundleError):
        read(bundle.replace(certified=()))
    with pytest.raises(MalformedBundleError):
        read(bundle.replace(certified=(), verdicts=()))
    assert "certified" not in read(bundle.replace(certified=(), verdicts=(), states=())).reached


def test_an_unsettled_receipt_shows_no_lot() -> None:
    with pytest.raises(MalformedBundleError, match="settled"):
        read(with_lot(settled=0))


@pytest.mark.parametrize(
    "change",
    [{"node": fake_digest("other")}, {"layer_start": 2}, {"job": fake_digest("other")}],
    ids=lambda change: next(iter(change)),
)
def test_another_spans_lot_is_refused(change: dict) -> None:
    with pytest.raises(VerificationError, match="not of one thing"):
        read(with_lot(**change))


def test_an_unvested_lot_and_a_missing_delivery_do_not_vest() -> None:
    for bundle in (with_lot(vested=0), vested().replace(delivery=())):
        assert "upheld" in read(bundle, "upheld").reached
        with pytest.raises(PolicyError):
            read(bundle, "vested")


def test_a_balance_that_speaks_of_another_account_is_refused() -> None:
    for name, key, kind in (
        ("account", account_key, "account"),
        ("key", public_key_key, "key"),
    ):
        bundle = decoded(name)
        value = bundle.states[0].value
        assert read(forged(shown(), bundle, {key(bundle.body): value})).reached == ("certified",)
        other = fake_digest("other")
        with pytest.raises(VerificationError, match="not of one thing"):
            read(forged(shown(), bundle.replace(body=other), {key(other): value})), kind


def test_a_hold_state_of_another_hold_is_refused() -> None:
    bundle = decoded("hold open")
    found = read(bundle)
    assert found.state is not None
    assert found.record is not None
    key = hold_key(found.record.digest(bundle.ledger))
    for change in ({"amount_micro": 1}, {"holder": fake_digest("x")}, {"queue": fake_digest("x")}):
        with pytest.raises(VerificationError, match="not of one thing"):
            read(forged(shown(), bundle, {key: found.state.replace(**change)}))


def test_an_absence_is_of_that_id_and_of_no_other() -> None:
    bundle = decoded("absent")
    key, other = consumed_key(ABSENT), consumed_key(fake_digest("another"))
    assert read(forged(shown(), bundle, {other: b"here"}, shown_keys=[key]))
    present = forged(shown(), bundle, {key: b"here", other: b"here"}, shown_keys=[other])
    elsewhere_absent = forged(shown(), bundle, {key: b"here"}, shown_keys=[other])
    for states in ((present.states[0].replace(value=b""),), elsewhere_absent.states):
        with pytest.raises(InclusionProofError):
            read(present.replace(states=states))
    with pytest.raises(MalformedBundleError):
        read(forged(shown(), bundle, {key: b"here"}, shown_keys=[key]))


# Verdicts


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"receipt": fake_digest("other")}, VerificationError),
        ({"round": 1}, VerificationError),
        ({"outcome": Outcome.REFUTED}, VerificationError),
        ({"outcome": Outcome.INCONCLUSIVE}, VerificationError),
        ({"member": 77}, CertificateError),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_another_verdict_is_refused(change: dict, error: type[VerificationError]) -> None:
    with pytest.raises(error):
        read(with_verdict(**change))


def test_a_verdict_of_a_later_round_counts() -> None:
    """The check passed on and was done there; its reveal is of that round."""
    later = state_of(decoded("upheld")).round + 1
    assert "upheld" in read(with_verdict(round=later), "upheld").reached
    with pytest.raises(VerificationError):
        read(with_verdict(round=later, reveal={"round": later - 1}))


def lapsed(bundle: Bundle, *, states: dict | None = None) -> Bundle:
    """As if every check of the receipt had lapsed."""
    state = state_of(bundle).replace(due=0, upheld=0, outcome=Outcome.INCONCLUSIVE)
    return forged(shown(), bundle, {key_of(bundle): state} | (states or {}), verdicts=())


def test_a_receipt_that_nobody_judged_is_inconclusive_without_a_verdict() -> None:
    bundle = lapsed(decoded("upheld"))
    assert read(bundle).work == "inconclusive"
    unsure = decoded("inconclusive").verdicts
    verdict = Verdict.decode(unsure[0].verdict).replace(receipt=state_of(bundle).receipt)
    with pytest.raises(MalformedBundleError, match="lapsed"):
        read(bundle.replace(verdicts=(shown_verdict(shown(), verdict),)))


def test_a_receipt_that_nobody_judged_never_vests() -> None:
    """Its span's lot was paid for other windows."""
    bundle = decoded("vested")
    states = {lot_key_of(bundle): lot_of(bundle)}
    assert "vested" not in read(lapsed(bundle, states=states)).reached


def test_a_verdict_signed_by_another_member_is_refused() -> None:
    member = Verdict.decode(decoded("upheld").verdicts[0].verdict).member
    for signer in set(range(4)) - {member}:
        with pytest.raises(SignatureError):
            read(with_verdict(signer=signer))


def test_a_verdicts_member_has_proven_its_key() -> None:
    """It need not be one of the certificate's signers, whose proofs are checked anyway."""
    bundle, policy = decoded("upheld"), shown().policy
    verdict = Verdict.decode(bundle.verdicts[0].verdict)
    assert policy.committee is not None
    members = list(policy.committee.members)
    others = sorted(set(range(len(members))) - {verdict.member})

    def told(committee: Committee) -> Verified:
        shown_parts = (shown_verdict(shown(), verdict),)
        states = {key_of(bundle): state_of(bundle)}
        made = forged(shown(), bundle, states, committee=committee, signers=others, verdicts=shown_parts)
        return verify_bundle(made.encode(), replace(policy, committee=committee), require="upheld")

    assert told(policy.committee)
    anothers = members[others[0]].proof_of_possession
    members[verdict.member] = replace(members[verdict.member], proof_of_possession=anothers)
    with pytest.raises(SignatureError):
        told(Committee(members=tuple(members), quorum=2))


@pytest.mark.parametrize(
    "reveal",
    [{"root": fake_digest("root")}, {"count": 2}, {"count": 0}, {"round": 1}, {"member": 2**9}],
    ids=lambda reveal: str(*reveal.items()),
)
def test_a_verdict_outside_its_reveal_is_refused(reveal: dict) -> None:
    with pytest.raises(VerificationError):
        read(with_verdict(reveal=reveal))


def test_a_judged_state_comes_with_its_verdict() -> None:
    for name in ("upheld", "refuted", "inconclusive"):
        with pytest.raises(MalformedBundleError, match="comes with a verdict"):
            read(decoded(name).replace(verdicts=()))


def test_an_unjudged_state_has_no_verdict() -> None:
    with pytest.raises(VerificationError):
        read(decoded("certified").replace(verdicts=decoded("upheld").verdicts))


def test_verdicts_ascend_by_member() -> None:
    bundle = decoded("upheld")
    verdict = Verdict.decode(bundle.verdicts[0].verdict)
    parts = [shown_verdict(shown(), verdict.replace(member=member)) for member in (0, 1)]
    state = {key_of(bundle): state_of(bundle)}
    assert "upheld" in read(forged(shown(), bundle, state, verdicts=tuple(parts))).reached
    for wrong in (parts[::-1], [parts[0], parts[0]]):
        with pytest.raises(MalformedBundleError, match="ascending"):
            read(forged(shown(), bundle, state, verdicts=tuple(wrong)))


# The certificate


def test_a_quorum_short_by_one_is_refused() -> None:
    assert "vested" in read(vested(signers=(0, 2))).reached
    with pytest.raises(CertificateError, match="too few"):
        read(vested(signers=(1,)))


@pytest.mark.parametrize("bitmap", [b"\x0f", b"\x08", b"\x03\x00", b"\x00", b"\xff"])
def test_a_bitmap_counts_only_who_signed(bitmap: bytes) -> None:
    """Spare bits, other signers, another length: weight comes from the bitmap, so it is exact."""
    bundle = vested(signers=(0, 2))
    certified = bundle.certified[0].replace(signers=bitmap)
    with pytest.raises(CertificateError):
        read(bundle.replace(certified=(certified,)))


def test_a_signer_counted_twice_is_refused() -> None:
    """One member's signature added to itself, under a bitmap of two members."""
    alone = vested(signers=(0,)).certified[0]
    for bitmap in (b"\x03", b"\x05"):
        with pytest.raises(CertificateError):
            read(vested(certified=(alone.replace(signers=bitmap),)))


def test_an_aggregate_at_infinity_is_refused() -> None:
    bundle = decoded("upheld")
    infinity = bytes([0xC0]) + bytes(95)
    for signers in (bundle.certified[0].signers, b"\x00", b"\x07"):
        certified = bundle.certified[0].replace(aggregate=infinity, signers=signers)
        with pytest.raises(CertificateError):
            read(bundle.replace(certified=(certified,)))


def test_another_committee_certifies_nothing() -> None:
    policy = shown().policy
    assert policy.committee is not None
    members = policy.committee.members
    stranger = real_validator(4)
    outsider = CommitteeMember(
        bls_key=stranger.public_key, proof_of_possession=stranger.proof_of_possession()
    )
    assert "vested" in read(vested(committee=policy.committee)).reached
    for committee in (
        Committee(members=(*members[:2], outsider), quorum=2),
        Committee(members=members, quorum=3),
        Committee(members=members[::-1], quorum=2),
    ):
        with pytest.raises(CertificateError):
            read(vested(committee=committee))


def test_a_certificate_of_another_round_or_ledger_is_refused() -> None:
    first, second = vested(number=7), vested(number=8)
    assert "vested" in read(first).reached
    certified = first.certified[0].replace(aggregate=second.certified[0].aggregate)
    with pytest.raises(CertificateError):
        read(first.replace(certified=(certified,)))
    with pytest.raises(CertificateError):
        read(vested(ledger_in_statement=elsewhere().policy.ledger_id))


def test_a_round_stands_at_its_own_log_size() -> None:
    with pytest.raises(InclusionProofError, match="round does not stand"):
        read(vested(log_size=8))


@pytest.mark.parametrize("require", REQUIREMENTS)
@pytest.mark.parametrize("name", ["hold open", "hold released", "account", "key", "absent"])
def test_no_balance_without_its_rounds_certificate(name: str, require: str) -> None:
    bundle = decoded(name).replace(certified=(), states=())
    with pytest.raises(CertificateError, match="without its round's certificate"):
        read(bundle, require)
    with pytest.raises(VerificationError):
        read(decoded(name).replace(certified=()), require)
