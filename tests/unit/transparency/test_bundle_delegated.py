"""A delegate's hold as a voucher: its signer is the delegate, an account or a key of its own. Source:
specs/bundle.md §3 and §5."""

import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from creditledger.credits import reading
from creditledger.errors import (
    CreditLedgerError,
    MalformedBundleError,
    SignatureError,
    UnknownIdError,
    VerificationError,
)
from creditledger.ledger.prove import prover
from creditledger.records.transfer import DelegatedHold, Hold, decode_hold
from creditledger.redemption.quote import make_quote
from creditledger.redemption.voucher import Voucher
from creditledger.redemption.wallet import Wallet
from creditledger.transparency.bundle import Bundle, Subject
from creditledger.transparency.keys import Ed25519Signer
from creditledger.transparency.trust_policy import TrustPolicy
from creditledger.transparency.verification import Verified, verify_bundle
from fakes.cast import ed25519
from fakes.shown_pool import ShownPool

MACHINE = ed25519("machine")


class Delegated:
    """One ledger: a machine's hold, a member's before and after it rotated, and the holder's own."""

    def __init__(self, folder: Path) -> None:
        pool = ShownPool(folder / "ledger", rule_set=4, committed=True, vesting_ms=0)
        client, queue = pool.client.public_key, pool.queue.public_key
        for delegate in (MACHINE, pool.other_node):
            pool.ledger.append(pool.papers.delegation(pool.client, delegate.public_key, queue))
        machine = self._spend(pool, MACHINE)
        first = self._spend(pool, ed25519("other-node"))
        pool.rotate("other_node")
        second = self._spend(pool, ed25519("next other-node"))
        own = pool.papers.voucher_hold(pool.client, queue)
        pool.ledger.append(own)
        pool.certify()
        with prover(pool.ledger) as prove:
            self.bundles = {
                "machine": prove.hold(machine),
                "first key": prove.hold(first),
                "second key": prove.hold(second),
                "own": prove.hold(own.record.digest(pool.ledger.id)),
            }
        self.policy: TrustPolicy = pool.ledger.policy()
        self.ledger_id, self.client, self.queue, self.now = pool.ledger.id, client, queue, pool.clock.now
        pool.ledger.close()

    def _spend(self, pool: ShownPool, key: Ed25519Signer) -> bytes:
        wallet = Wallet(pool.ledger, key=key, account="client", clock=pool.clock)
        with pool.ledger.read() as view:
            quote = make_quote(
                reading.parameters_in_force(view),
                pool.ledger.id,
                queue=pool.queue.public_key,
                hardware="cpu",
                gpus=1,
                duration_ms=1_000,
                now_unix_ms=pool.clock(),
                valid_ms=60_000,
            )
        return wallet.hold(quote).digest


@cache
def delegated() -> Delegated:
    with tempfile.TemporaryDirectory() as folder:
        return Delegated(Path(folder))


def verify(bundle: Bundle) -> Verified:
    return verify_bundle(bundle.encode(), delegated().policy)


def bundle(name: str) -> Bundle:
    return Bundle.decode(delegated().bundles[name])


@pytest.mark.parametrize(
    ("name", "states"), [("machine", 1), ("first key", 1), ("second key", 2), ("own", 1)]
)
def test_a_hold_by_whoever_may_is_a_voucher(name: str, states: int) -> None:
    """Of a delegate that has rotated the bundle shows the key; a key that is no account has none to show."""
    found = Voucher.load(delegated().bundles[name]).verify(
        delegated().policy, queue=delegated().queue, now_unix_ms=delegated().now
    )
    assert verify(bundle(name)).record == found.hold
    assert isinstance(found.hold, Hold if name == "own" else DelegatedHold)
    assert found.hold.holder == delegated().client
    assert len(bundle(name).states) == states
    assert decode_hold(found.hold.encode()) == found.hold


def _signed_by(name: str, signer: Ed25519Signer) -> Bundle:
    """The same bundle, its hold signed by somebody else; its place is then another's."""
    made = bundle(name)
    record = decode_hold(made.entry[0].record)
    signature = signer.sign(record.signing_bytes(delegated().ledger_id))
    return made.replace(entry=(made.entry[0].replace(signature=signature),))


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda: _signed_by("machine", ed25519("client")), VerificationError),
        (lambda: bundle("second key").replace(states=bundle("second key").states[:1]), SignatureError),
        (
            lambda: bundle("machine").replace(
                states=(bundle("machine").states[0], bundle("second key").states[1])
            ),
            MalformedBundleError,
        ),
        (lambda: bundle("machine").replace(states=bundle("first key").states), VerificationError),
        (lambda: bundle("own").replace(states=bundle("machine").states), VerificationError),
        (lambda: bundle("machine").replace(subject=Subject.BATCH, states=()), VerificationError),
    ],
    ids=["holder signs", "key left out", "a key for nothing", "another hold", "own", "as a batch"],
)
def test_a_delegates_voucher_with_anything_else_in_it_is_none(
    change: Callable[[], Bundle], error: type[CreditLedgerError]
) -> None:
    with pytest.raises(error):
        verify(change())


def test_a_wallet_spends_for_a_known_account_only(tmp_path: Path) -> None:
    pool = ShownPool(tmp_path / "ledger", rule_set=4, vesting_ms=0)
    with pytest.raises(UnknownIdError):
        Wallet(pool.ledger, key=MACHINE, account="nobody")
    with pytest.raises(UnknownIdError):
        Wallet(pool.ledger, key=MACHINE, account=bytes(32))
    wallet = Wallet(pool.ledger, key=MACHINE, account=pool.client.public_key)
    assert wallet.balance().account == wallet.holder == pool.client.public_key
    pool.ledger.close()
