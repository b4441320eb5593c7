"""Bundles signed by a key that the account rotated to: believed by what the round shows, not otherwise."""

import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from creditledger.credits import reading
from creditledger.errors import (
    BusyError,
    CertificateError,
    CreditLedgerError,
    InclusionProofError,
    MalformedBundleError,
    SignatureError,
)
from creditledger.ledger.prove import prover
from creditledger.records.entry import Entry
from creditledger.records.receipt import Delivery
from creditledger.records.round import Round
from creditledger.records.state import KeyState
from creditledger.records.transfer import Hold
from creditledger.redemption.voucher import Voucher
from creditledger.transparency.bundle import (
    Bundle,
    MapValue,
    Place,
    SignedRecord,
    Subject,
    decode_logged,
    decode_part,
)
from creditledger.transparency.bundle_signers import split_states
from creditledger.transparency.merkle import prove_inclusion
from creditledger.transparency.trust_policy import TrustPolicy
from creditledger.transparency.verification import verify_bundle
from fakes.cast import ed25519
from fakes.shown_pool import ShownPool


class Rotated:
    """One ledger: a job of the client's first key; the rest under second keys."""

    def __init__(self, folder: Path) -> None:
        pool = ShownPool(folder / "ledger", rule_set=2, committed=True, vesting_ms=0)
        job = pool.order("rotated", pool.node)
        pool.rotate("client")
        pool.rotate("node")
        chain = pool.work(job, 512)[0]
        pool.ledger.publish()
        batch = pool.batches[chain[0].job]
        self.early: dict[str, CreditLedgerError] = {}
        with prover(pool.ledger) as prove:
            for name, make in (
                ("receipt", lambda: prove.receipt(pool.digest(chain[0]), most="signed")),
                ("batch", lambda: prove.batch(batch)),
            ):
                with pytest.raises(BusyError) as caught:
                    make()
                self.early[name] = caught.value
        pool.deliver(chain[-1:])
        submission = pool.papers.voucher_hold(pool.client, pool.queue.public_key)
        pool.ledger.append(submission)
        assert isinstance(submission.record, Hold)
        pool.certify()
        pool.judge()
        pool.ledger.settle_due()
        pool.wait(1)
        pool.certify()
        pool.wait(1)
        pool.certify()
        with prover(pool.ledger) as prove:
            self.bundles = {
                "receipt": prove.receipt(pool.digest(chain[0])),
                "asked for less": prove.receipt(pool.digest(chain[1]), most="signed"),
                "batch": prove.batch(batch),
                "hold": prove.hold(pool.digest(submission.record)),
                "client's first key": prove.key(ed25519("client").public_key),
                "node's second key": prove.key(ed25519("next node").public_key),
            }
        self.late = self._late(pool)
        self.policy: TrustPolicy = pool.ledger.policy()
        self.queue, self.now = pool.queue.public_key, pool.clock.now
        self.papers = pool.papers
        pool.ledger.close()

    @staticmethod
    def _late(pool: ShownPool) -> Bundle:
        """A batch that the latest certified round does not speak of yet, with the key that signed it."""
        job = pool.order("late", pool.node)
        chain = pool.work(job, 256)[0]
        pool.ledger.publish()
        with prover(pool.ledger) as prove:
            key = Bundle.decode(prove.key(ed25519("next node").public_key))
            at = reading.consumed_index(prove.state, pool.batches[chain[0].job])
            assert at is not None
            path = prove_inclusion(prove.log.node, index=at, size=prove.size)
            entry = prove.log.entry_bytes(at)
        logged = Entry.decode(entry)
        place = Place(time_unix_ms=logged.time_unix_ms, index=at, path=tuple(path))
        signed = SignedRecord(record=logged.record.encode(), signature=logged.signature, place=(place,))
        return key.replace(subject=Subject.BATCH, body=b"", entry=(signed,))

    def shown(self, name: str) -> MapValue:
        """A key's state with its proof, under the last round."""
        return Bundle.decode(self.bundles[name]).states[0]


@cache
def rotated() -> Rotated:
    with tempfile.TemporaryDirectory() as folder:
        return Rotated(Path(folder))


def bundle(name: str) -> Bundle:
    return Bundle.decode(rotated().bundles[name])


def refuse(changed: Bundle, error: type[CreditLedgerError], match: str = "") -> None:
    with pytest.raises(error, match=match or None) as caught:
        verify_bundle(changed.encode(), rotated().policy)
    assert caught.type is error


def test_every_kind_verifies_and_reaches_its_level() -> None:
    verify_bundle(rotated().bundles["receipt"], rotated().policy, require="vested")
    for name in ("receipt", "asked for less", "batch", "hold"):
        found = verify_bundle(rotated().bundles[name], rotated().policy)
        assert "certified" in found.reached, name
        assert len(rotated().bundles[name]) < 8_192


def test_below_certified_a_rotated_key_cannot_be_shown() -> None:
    """Until a round certifies the key there is no bundle, and the error says why."""
    for error in rotated().early.values():
        assert "rotated" in str(error)


def test_a_queue_takes_the_voucher_of_a_rotated_holder_offline() -> None:
    voucher = Voucher.load(rotated().bundles["hold"])
    voucher.verify(rotated().policy, queue=rotated().queue, now_unix_ms=rotated().now)


@pytest.mark.parametrize("name", ["batch", "hold", "receipt"])
def test_without_the_key_it_verifies_under_the_first_and_fails(name: str) -> None:
    whole = bundle(name)
    states = split_states(whole)
    bare = tuple(state for state in (states.own, states.lot) if state is not None)
    changed = whole.replace(states=bare, certified=whole.certified if bare else ())
    refuse(changed, SignatureError)


@pytest.mark.parametrize("name", ["batch", "hold"])
def test_a_retired_first_key_that_is_shown_signs_nothing_later(name: str) -> None:
    """L14: the first key's own state says until when."""
    whole, account = bundle(name), "node" if name == "batch" else "client"
    signed = whole.entry[0]
    first = ed25519(account)
    record = decode_logged(whole.entry[0].record)
    stolen = signed.replace(signature=first.sign(record.signing_bytes(whole.ledger)))
    old = rotated().shown("client's first key")
    if name == "hold":
        assert decode_part(KeyState, old.value).until_index
        states = (whole.states[0], old)
        # Not logged so, hence the place fails first where it is checked first: any error is a refusal.
        with pytest.raises((SignatureError, InclusionProofError)):
            verify_bundle(whole.replace(entry=(stolen,), states=states).encode(), rotated().policy)
        refuse(whole.replace(states=states), SignatureError, "no key of the account")
        return
    with pytest.raises((SignatureError, InclusionProofError)):
        verify_bundle(whole.replace(entry=(stolen,)).encode(), rotated().policy)


def test_a_delivery_by_a_retired_key_is_refused() -> None:
    """L14: the thief of the client's first key accepts nothing: such a delivery is in no certified map."""
    whole = bundle("receipt")
    delivery = decode_part(Delivery, whole.delivery[0].record)
    forged = delivery.replace(closes=1 - delivery.closes)
    signature = ed25519("client").sign(forged.signing_bytes(whole.ledger))
    changed = whole.delivery[0].replace(record=forged.encode(), signature=signature)
    refuse(whole.replace(delivery=(changed,)), InclusionProofError)
    same = ed25519("client").sign(delivery.signing_bytes(whole.ledger))
    refuse(whole.replace(delivery=(whole.delivery[0].replace(signature=same),)), SignatureError)


def _is_of(party: str, shown: MapValue) -> bool:
    return decode_part(KeyState, shown.value).key == ed25519(party).public_key


def _moved(states: tuple[MapValue, ...]) -> tuple[MapValue, ...]:
    return (*states[:2], *reversed(states[2:5]), *states[5:])


CHANGES: dict[str, tuple[Callable[[Bundle], Bundle], type[CreditLedgerError]]] = {
    "keys reversed": (lambda b: b.replace(states=_moved(b.states)), MalformedBundleError),
    "a key twice": (
        lambda b: b.replace(states=(*b.states[:3], b.states[2], *b.states[4:])),
        MalformedBundleError,
    ),
    "indices swapped": (
        lambda b: b.replace(states=(*b.states[:5], b.states[6], b.states[5])),
        InclusionProofError,
    ),
    "no indices": (lambda b: b.replace(states=b.states[:5]), MalformedBundleError),
    "one index": (lambda b: b.replace(states=b.states[:6]), MalformedBundleError),
    "indices before keys": (
        lambda b: b.replace(states=(*b.states[:2], *b.states[5:], *b.states[2:5])),
        MalformedBundleError,
    ),
    "a key too few": (lambda b: b.replace(states=(*b.states[:2], *b.states[3:])), SignatureError),
    "another index": (
        lambda b: b.replace(states=(*b.states[:6], b.states[6].replace(value=bytes(8)))),
        InclusionProofError,
    ),
    "no certified round": (
        lambda b: b.replace(certified=(), states=(), verdicts=()),
        SignatureError,
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_keys_and_indices_have_one_form(name: str) -> None:
    whole = bundle("receipt")
    assert [len(state.value) == 8 for state in whole.states] == [False] * 5 + [True] * 2
    change, error = CHANGES[name]
    with pytest.raises(CreditLedgerError) as caught:
        verify_bundle(change(whole).encode(), rotated().policy)
    assert isinstance(caught.value, error), (name, caught.value)


def test_a_key_that_signed_nothing_is_refused() -> None:
    whole, other = bundle("hold"), rotated().shown("node's second key")
    refuse(whole.replace(states=(whole.states[0], other)), SignatureError)
    receipt = bundle("receipt")
    own, _, *keys, of_job, _ = receipt.states
    undelivered = receipt.replace(delivery=(), states=(own, *keys, of_job))
    refuse(undelivered, MalformedBundleError, "signed nothing")
    used = [shown for shown in keys if not _is_of("next client", shown)]
    assert len(used) == len(keys) - 1
    assert verify_bundle(undelivered.replace(states=(own, *used, of_job)).encode(), rotated().policy)
    batch = bundle("batch")
    with pytest.raises((SignatureError, MalformedBundleError)):
        verify_bundle(
            batch.replace(states=(rotated().shown("client's first key"),)).encode(), rotated().policy
        )


def test_keys_ascend() -> None:
    """All of them proven, and all of them used: only their order is wrong."""
    whole = bundle("receipt")
    refuse(whole.replace(states=_moved(whole.states)), MalformedBundleError, "not ascending")


def test_a_round_speaks_of_no_entry_after_it() -> None:
    """The key may have been handed over since: what it signed at a later index cannot be told."""
    late = rotated().late
    round_size = decode_part(Round, late.certified[0].round.record).log_size
    assert late.entry[0].place[0].index >= round_size
    refuse(late, SignatureError, "no key of the account")
    assert "certified" in verify_bundle(rotated().bundles["batch"], rotated().policy).reached


def test_a_key_state_that_the_round_does_not_have_is_refused() -> None:
    whole = bundle("batch")
    state = decode_part(KeyState, whole.states[0].value)
    for changed in (
        state.replace(from_index=0),
        state.replace(key=ed25519("thief").public_key),
        state.replace(account=ed25519("client").public_key),
    ):
        value = whole.states[0].replace(value=changed.encode())
        refuse(whole.replace(states=(value,)), InclusionProofError)


def test_a_batch_with_a_key_needs_the_certificate() -> None:
    whole = bundle("batch")
    certified = whole.certified[0].replace(aggregate=bytes([0xC0]) + bytes(95))
    refuse(whole.replace(certified=(certified,)), CertificateError)
