"""specs/redemption.md §4: a voucher is verified with a policy and nothing else."""

import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from creditledger.credits import reading
from creditledger.errors import (
    CertificateError,
    CreditLedgerError,
    HoldClosedError,
    HoldExpiredError,
    InclusionProofError,
    MalformedBundleError,
    PolicyError,
    RoleError,
    VerificationError,
)
from creditledger.ledger.ledger import Ledger
from creditledger.ledger.prove import prover
from creditledger.records.job import PlanSpan
from creditledger.records.state import HoldState, HoldStatus
from creditledger.records.transfer import Release
from creditledger.redemption.voucher import Voucher
from creditledger.transparency.bundle import Bundle
from creditledger.transparency.trust_policy import TrustPolicy
from creditledger.transparency.verification import verify_bundle
from unit.redemption.redeeming_pool import (
    CLIENT,
    MODEL,
    NODE,
    OTHER_QUEUE,
    QUEUE,
    RedeemingPool,
    signed,
)


@pytest.fixture(scope="module")
def voucher(pool: RedeemingPool) -> bytes:
    return pool.voucher(gpus=2)


@pytest.fixture(scope="module")
def policy(pool: RedeemingPool, voucher: bytes) -> TrustPolicy:
    return pool.policy()


def verify(encoded: bytes, policy: TrustPolicy, pool: RedeemingPool, *, queue: bytes | None = None) -> None:
    Voucher.load(encoded).verify(policy, queue=queue or QUEUE.public_key, now_unix_ms=pool.clock())


def test_a_voucher_verifies_offline_without_its_ledger(
    pool: RedeemingPool, voucher: bytes, policy: TrustPolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No file is opened and no socket made: the policy and the bytes are all."""

    def refuse(*arguments: object, **names: object) -> None:
        raise AssertionError("verification reached outside")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(Ledger, "open", refuse)
    monkeypatch.setattr("builtins.open", refuse)
    monkeypatch.setattr(Path, "open", refuse)
    found = Voucher.load(voucher).verify(policy, queue=QUEUE.public_key, now_unix_ms=pool.clock())
    assert (found.hold.gpus, found.hold.holder, found.hold.queue) == (2, CLIENT.public_key, QUEUE.public_key)
    assert found.state.status == HoldStatus.OPEN
    assert found.digest == found.state.hold


def test_a_voucher_is_loaded_from_a_file_as_well(
    pool: RedeemingPool, voucher: bytes, policy: TrustPolicy, tmp_path: Path
) -> None:
    (tmp_path / "voucher").write_bytes(voucher)
    assert Voucher.load(tmp_path / "voucher") == Voucher.load(str(tmp_path / "voucher")) == Voucher(voucher)
    (tmp_path / "long").write_bytes(voucher + bytes(70_000))
    with pytest.raises(MalformedBundleError):
        Voucher.load(tmp_path / "long")


def test_another_queue_refuses_it(pool: RedeemingPool, voucher: bytes, policy: TrustPolicy) -> None:
    with pytest.raises(RoleError, match="another queue"):
        verify(voucher, policy, pool, queue=OTHER_QUEUE.public_key)


def test_it_holds_until_it_expires(pool: RedeemingPool, voucher: bytes, policy: TrustPolicy) -> None:
    expires = Voucher.load(voucher).prove(policy).hold.expires_unix_ms
    loaded = Voucher.load(voucher)
    loaded.verify(policy, queue=QUEUE.public_key, now_unix_ms=expires - 1)
    with pytest.raises(HoldExpiredError):
        loaded.verify(policy, queue=QUEUE.public_key, now_unix_ms=expires)


def test_a_truncated_voucher_is_malformed(pool: RedeemingPool, voucher: bytes) -> None:
    for length in [0, 1, len(voucher) // 2, len(voucher) - 1]:
        with pytest.raises(MalformedBundleError):
            Voucher.load(voucher[:length])
    with pytest.raises(MalformedBundleError):
        Voucher.load(voucher + b"\0")


def test_a_voucher_of_another_ledger_is_refused(
    pool: RedeemingPool, voucher: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """L2: the same people, the same keys, another genesis."""
    other = RedeemingPool.found(tmp_path_factory.mktemp("other"), origin="example.org/other")
    with pytest.raises(PolicyError, match="another ledger"):
        verify(voucher, other.policy(), pool)


def test_without_its_certificate_it_is_refused(
    pool: RedeemingPool, voucher: bytes, policy: TrustPolicy
) -> None:
    bare = Bundle.decode(voucher).replace(certified=(), states=())
    with pytest.raises(CertificateError):
        verify(bare.encode(), policy, pool)


def test_a_forged_certificate_is_refused(pool: RedeemingPool, voucher: bytes, policy: TrustPolicy) -> None:
    bundle = Bundle.decode(voucher)
    (certified,) = bundle.certified
    forged = bundle.replace(certified=(certified.replace(aggregate=b"\xc0" + bytes(95)),))
    with pytest.raises(VerificationError):
        verify(forged.encode(), policy, pool)


def test_a_larger_hold_under_the_same_proof_is_refused(
    pool: RedeemingPool, voucher: bytes, policy: TrustPolicy
) -> None:
    bundle = Bundle.decode(voucher)
    hold = Voucher.load(voucher).prove(policy).hold
    (entry,) = bundle.entry
    richer = entry.replace(record=hold.replace(gpus=hold.gpus * 4).encode())
    with pytest.raises(InclusionProofError):
        verify(bundle.replace(entry=(richer,)).encode(), policy, pool)


def test_parts_of_two_vouchers_do_not_mix(pool: RedeemingPool, voucher: bytes, policy: TrustPolicy) -> None:
    """L4: every component of one voucher swapped for that of another, one at a time."""
    other = Bundle.decode(pool.voucher(gpus=1))
    bundle = Bundle.decode(voucher)
    for part in ("entry", "checkpoint", "certified", "states"):
        mixed = bundle.replace(**{part: getattr(other, part)})
        with pytest.raises(VerificationError):
            verify(mixed.encode(), policy, pool)


def test_any_changed_byte_is_noticed(pool: RedeemingPool, voucher: bytes, policy: TrustPolicy) -> None:
    for position in range(0, len(voucher), 37):
        changed = bytearray(voucher)
        changed[position] ^= 1
        with pytest.raises(CreditLedgerError):
            verify(bytes(changed), policy, pool)


def test_a_hold_that_was_released_is_no_voucher(pool: RedeemingPool, policy: TrustPolicy) -> None:
    """The state in the proof counts: what the queue ended before the round is closed for good."""

    held = pool.hold()
    with pool.open() as ledger:
        release = Release(id=bytes(16), hold=held.digest, queue=QUEUE.public_key, reason="no-space")
        ledger.append(signed(release, QUEUE, ledger.id))
        ledger.complete_round()
    proven = Voucher.load(held.voucher).prove(policy)
    assert isinstance(proven.state, HoldState)
    with pytest.raises(HoldClosedError):
        verify(held.voucher, policy, pool)


def test_a_jobs_hold_buys_no_gpu_time(pool: RedeemingPool, policy: TrustPolicy) -> None:
    wallet = pool.wallet()
    plan = [PlanSpan(layer_start=0, layer_stop=12, node=NODE.public_key)]
    order = wallet.order(MODEL, plan, 1, 1_000)
    pool.certify()
    with Ledger.open(pool.path, read_only=True) as ledger, ledger.read() as view:
        progress = reading.job_status(view, order.job.digest(ledger.id))
    assert progress is not None
    with pytest.raises(RoleError, match="covers a job"):
        verify(wallet.voucher(progress.hold), policy, pool)


def test_a_proof_of_something_else_is_no_voucher(pool: RedeemingPool) -> None:
    with Ledger.open(pool.path, read_only=True) as ledger, prover(ledger) as prove:
        account = prove.account(CLIENT.public_key)
    with pytest.raises(MalformedBundleError, match="not a voucher"):
        Voucher.load(account)


@pytest.mark.parametrize(
    "change", [{"amount_micro": 1}, {"holder": b"\7" * 32}, {"queue": b"\7" * 32}, {"expires_unix_ms": 2**62}]
)
def test_a_certified_state_that_contradicts_its_hold_is_refused(
    pool: RedeemingPool,
    voucher: bytes,
    policy: TrustPolicy,
    monkeypatch: pytest.MonkeyPatch,
    change: dict[str, Any],
) -> None:
    """A committee that certified another rule set's state does not lengthen or enlarge a hold."""
    verified = verify_bundle(voucher, policy)
    assert isinstance(verified.state, HoldState)
    contradicting = replace(verified, state=verified.state.replace(**change))
    monkeypatch.setattr("creditledger.redemption.voucher.verify_bundle", lambda *_, **__: contradicting)
    with pytest.raises(VerificationError, match="not of this hold"):
        verify(voucher, policy, pool)


def test_a_policy_without_a_ledger_proves_nothing(
    pool: RedeemingPool, voucher: bytes, policy: TrustPolicy
) -> None:
    with pytest.raises((VerificationError, PolicyError)):
        verify(voucher, replace(policy, ledger_id=None), pool)
