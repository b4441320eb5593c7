"""The prover gives bundles that verify, of what the ledger has published, and says so when it cannot."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from creditledger.credits import reading
from creditledger.errors import BusyError, UnknownIdError, VerificationError
from creditledger.ledger.ledger import Ledger
from creditledger.ledger.prove import LEVELS, prover
from creditledger.records.entry import Entry
from creditledger.records.receipt import Delivery
from creditledger.records.state import ReceiptState
from creditledger.records.verdict import Outcome, Verdict
from creditledger.transparency.bundle import Bundle, decode_part
from creditledger.transparency.note import parse_note
from creditledger.transparency.tlog_proof import verify_tlog_proof
from creditledger.transparency.verification import Verified, verify_bundle
from fakes.committee import real_validator
from fakes.shown_pool import ABSENT, ShownPool


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[ShownPool]:
    """Nothing is ever checked in it, so nothing has to be judged."""
    made = ShownPool(tmp_path / "ledger", check_floor_ppm=0, probation_micro=0)
    yield made
    made.ledger.close()


def read(pool: ShownPool, encoded: bytes, require: str = "signed") -> Verified:
    return verify_bundle(encoded, pool.ledger.policy(), require=require)  # type: ignore[arg-type]


def test_a_receipt_is_proven_as_far_as_the_ledger_has_come(pool: ShownPool) -> None:
    chain = pool.work(pool.order("job", pool.node), 300)[0]
    with pytest.raises(BusyError, match="no published checkpoint"):
        pool.receipt(chain[0])
    assert read(pool, pool.receipt(chain[0], most="signed")).reached == ("signed",)
    pool.ledger.publish()
    assert read(pool, pool.receipt(chain[0])).reached == ("signed", "logged")
    pool.certify()
    for level, most in zip(LEVELS, range(1, 4), strict=True):
        for receipt in chain:
            assert len(read(pool, pool.receipt(receipt, most=level)).reached) == most


def test_a_round_that_is_not_published_is_not_shown(pool: ShownPool) -> None:
    """Then the round before it is, so a receipt's proof never shrinks."""
    chain = pool.work(pool.order("job", pool.node))[0]
    pool.certify()
    before = read(pool, pool.receipt(chain[0]))
    note = pool.ledger.checkpoint()
    pool.wait(1)
    pool.certify()
    (pool.ledger.directory.public / "checkpoint").write_bytes(note)
    after = read(pool, pool.receipt(chain[0]))
    assert (after.round, after.size, after.reached) == (before.round, before.size, before.reached)
    with prover(pool.ledger) as prove:
        assert read(pool, prove.account(pool.client.public_key)).round == before.round


def test_the_checkpoint_is_read_before_the_log(pool: ShownPool, monkeypatch: pytest.MonkeyPatch) -> None:
    """What another process publishes meanwhile is in no snapshot taken before."""
    chain = pool.work(pool.order("job", pool.node))[0]
    pool.ledger.publish()
    honest = Ledger.checkpoint

    def and_then_grow(ledger: Ledger) -> bytes:
        note = honest(ledger)
        monkeypatch.setattr(Ledger, "checkpoint", honest)
        pool.wait(1)
        ledger.publish()
        return note

    monkeypatch.setattr(Ledger, "checkpoint", and_then_grow)
    assert "logged" in read(pool, pool.receipt(chain[0])).reached


@pytest.fixture
def checked_pool(tmp_path: Path) -> Iterator[ShownPool]:
    """Two of its three validators check everything."""
    made = ShownPool(tmp_path / "checked")
    yield made
    made.ledger.close()


def drawn(pool: ShownPool, digest: bytes) -> list[tuple[int, int]]:
    with pool.ledger.read() as state:
        return reading.checks_of(state, digest)


def overdue(pool: ShownPool) -> None:
    """Let both graces pass and complete a round, though nothing was logged meanwhile."""
    pool.clock.now += 2 * 60_000
    assert pool.ledger.complete_round({index: real_validator(index) for index in (0, 1, 2)}).is_certified


def judge(pool: ShownPool, number: int, member: int, digest: bytes, outcome: Outcome) -> None:
    verdicts = pool.papers.verdicts(number, member, [digest], outcomes={digest: outcome})
    pool.ledger.append(pool.papers.commit(member, verdicts))
    pool.clock.now += 60_000
    pool.ledger.append(pool.papers.reveal(member, verdicts))


@pytest.mark.parametrize("outcome", [Outcome.REFUTED, Outcome.INCONCLUSIVE])
def test_the_verdict_of_a_substitute_is_shown(checked_pool: ShownPool, outcome: Outcome) -> None:
    """It was revealed in the later round that the check passed to."""
    pool = checked_pool
    digest = pool.digest(pool.work(pool.order("job", pool.node))[0][0])
    pool.certify()
    (number, diligent), (_, silent) = drawn(pool, digest)
    judge(pool, number, diligent, digest, Outcome.UPHELD)
    overdue(pool)
    later, substitute = drawn(pool, digest)[-1]
    assert {diligent, silent, substitute} == {0, 1, 2}
    judge(pool, later, substitute, digest, outcome)
    pool.certify()
    with prover(pool.ledger) as prove:
        encoded = prove.receipt(digest)
    assert read(pool, encoded, "logged").work == outcome.name.lower()
    (shown,) = Bundle.decode(encoded).verdicts
    verdict = decode_part(Verdict, shown.verdict)
    assert (verdict.round, verdict.member, verdict.outcome) == (later, substitute, outcome)
    assert later > number


def test_a_receipt_that_nobody_judged_is_proven_inconclusive(checked_pool: ShownPool) -> None:
    """Settled and unpaid: the first round asks the third validator, the next finds nobody left."""
    pool = checked_pool
    chain = pool.work(pool.order("job", pool.node))[0]
    pool.deliver(chain)
    pool.certify()
    overdue(pool)
    assert pool.ledger.settle_due() == []
    overdue(pool)
    assert len(pool.ledger.settle_due()) == 1
    pool.certify()
    found = read(pool, pool.receipt(chain[0]))
    assert isinstance(found.state, ReceiptState)
    assert (found.work, found.state.due, found.state.settled) == ("inconclusive", 0, 1)
    assert "vested" not in found.reached
    with pool.ledger.read() as state:
        account = reading.account_state(state, pool.client.public_key)
        assert account is not None
        assert (account.available_micro, account.held_micro) == (10**9, 0)


def test_an_overdue_check_calls_for_a_round_once(checked_pool: ShownPool) -> None:
    """While that round waits for its certificate no other is closed."""
    pool = checked_pool
    pool.work(pool.order("job", pool.node))
    pool.certify()
    number = pool.ledger.complete_round({}).number
    pool.clock.now += 2 * 60_000 - 1
    assert pool.ledger.complete_round({}).number == number
    pool.clock.now += 1
    assert pool.ledger.complete_round({}).number == number + 1
    pool.clock.now += 60_000
    assert pool.ledger.complete_round({}).number == number + 1


def test_each_span_is_shown_with_the_delivery_that_covers_it(pool: ShownPool) -> None:
    """A client may accept one span after the other: the last delivery does not speak of both."""
    first, second = pool.work(pool.order("job", pool.node, pool.other_node), 512)
    pool.deliver(first[:1], closes=False)
    pool.deliver(first[1:], closes=False)
    pool.deliver(second[:1])
    pool.certify()
    for receipt in (*first, second[0]):
        encoded = pool.receipt(receipt)
        assert read(pool, encoded).delivered
        delivery = decode_part(Delivery, Bundle.decode(encoded).delivery[0].record)
        assert [head.layer_start for head in delivery.heads] == [receipt.layer_start]
    assert not read(pool, pool.receipt(second[1])).delivered
    assert Bundle.decode(pool.receipt(second[1])).delivery == ()


def test_what_was_not_delivered_is_settled_and_not_vested(pool: ShownPool) -> None:
    chain = pool.work(pool.order("job", pool.node), 512)[0]
    pool.deliver(chain[:1])
    pool.certify()
    pool.ledger.settle_due()
    pool.certify()
    paid, unpaid = (read(pool, pool.receipt(receipt)) for receipt in chain)
    assert isinstance(unpaid.state, ReceiptState)
    assert "vested" in paid.reached
    assert "vested" not in unpaid.reached


def test_a_receipt_among_many_and_one_alone(pool: ShownPool) -> None:
    many = pool.work(pool.order("many", pool.node), 1_024)[0]
    alone = pool.work(pool.order("alone", pool.node), 9)[0]
    pool.ledger.publish()
    for position, receipt in enumerate(many):
        leaf = Bundle.decode(pool.receipt(receipt)).leaf[0]
        assert (leaf.index, len(leaf.path)) == (position, 2)
    leaf = Bundle.decode(pool.receipt(alone[0])).leaf[0]
    assert (leaf.index, leaf.path) == (0, ())
    assert read(pool, pool.receipt(alone[0])).reached == ("signed", "logged")


def test_what_nobody_logged_is_unknown(pool: ShownPool) -> None:
    job = pool.order("job", pool.node)
    with prover(pool.ledger) as prove:
        for subject in (prove.receipt, prove.batch, prove.hold, prove.account, prove.key):
            with pytest.raises(UnknownIdError):
                subject(ABSENT)
        for subject in (prove.batch, prove.hold):
            with pytest.raises(UnknownIdError):
                subject(job.digest(pool.ledger.id))


def test_absence_is_proven_of_what_is_absent_only(pool: ShownPool) -> None:
    job = pool.order("job", pool.node)
    digest = job.digest(pool.ledger.id)
    with prover(pool.ledger) as prove:
        assert read(pool, prove.absent(ABSENT)).reached == ("certified",)
        with pytest.raises(UnknownIdError, match="not absent"):
            prove.absent(digest)


def test_a_balance_waits_for_its_round(pool: ShownPool) -> None:
    submission = pool.papers.voucher_hold(pool.client, pool.queue.public_key)
    pool.ledger.append(submission)
    digest = submission.record.digest(pool.ledger.id)
    pool.ledger.publish()
    with prover(pool.ledger) as prove, pytest.raises(BusyError):
        prove.hold(digest)
    pool.certify()
    with prover(pool.ledger) as prove:
        found = read(pool, prove.hold(digest))
        assert (found.record, "certified" in found.reached) == (submission.record, True)
        assert read(pool, prove.account(pool.queue.public_key)).state is not None
        assert read(pool, prove.key(pool.queue.public_key)).state is not None


def test_the_checkpoints_lines_ascend(pool: ShownPool) -> None:
    """Whatever order they were published in."""
    pool.ledger.publish()
    published = parse_note(pool.ledger.checkpoint())
    (pool.ledger.directory.public / "checkpoint").write_bytes(
        replace(published, signatures=published.signatures[::-1]).encode()
    )
    with prover(pool.ledger) as prove:
        encoded = prove.account(pool.client.public_key)
    lines = [line.line for line in parse_note(Bundle.decode(encoded).checkpoint).signatures]
    assert lines == sorted(lines)
    assert read(pool, encoded)


def test_a_bundle_of_one_ledger_is_none_of_another(pool: ShownPool, tmp_path: Path) -> None:
    other = ShownPool(tmp_path / "other", origin="pool.example/other")
    with prover(other.ledger) as prove:
        encoded = prove.account(other.client.public_key)
    other.ledger.close()
    with pytest.raises(VerificationError):
        read(pool, encoded)


def test_every_published_entry_has_a_proof_in_text(pool: ShownPool) -> None:
    chain = pool.work(pool.order("job", pool.node), 300)[0]
    pool.certify()
    policy, note = pool.ledger.policy(), pool.ledger.checkpoint()
    with prover(pool.ledger) as prove:
        for index in range(pool.ledger.size):
            proof, entry = prove.tlog_proof(index), prove.log.entry_bytes(index)
            assert proof.checkpoint == note
            assert verify_tlog_proof(proof.encode(), entry=entry, policy=policy).index == index
            if index:
                digest = Entry.decode(entry).record.digest(pool.ledger.id)
                assert prove.tlog_proof(digest) == proof
        batch = prove.tlog_proof(pool.batches[chain[0].job])
        assert [prove.tlog_proof(pool.digest(receipt)) for receipt in chain] == [batch] * len(chain)


def test_no_proof_in_text_of_what_is_not_published_or_not_there(pool: ShownPool) -> None:
    size = pool.ledger.size
    pool.wait(1)
    with prover(pool.ledger) as prove:
        assert prove.tlog_proof(size - 1).index == size - 1
        with pytest.raises(BusyError, match="no published checkpoint"):
            prove.tlog_proof(size)
        for index in (-1, pool.ledger.size):
            with pytest.raises(UnknownIdError, match="no such entry"):
                prove.tlog_proof(index)
        with pytest.raises(UnknownIdError, match="no record"):
            prove.tlog_proof(ABSENT)
