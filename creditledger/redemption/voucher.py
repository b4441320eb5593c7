"""The voucher: signed GPU time at one queue, verified with a policy file and nothing else.

Source: specs/redemption.md §4."""

from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from creditledger.errors import (
    HoldClosedError,
    HoldExpiredError,
    MalformedBundleError,
    RoleError,
    VerificationError,
)
from creditledger.records.state import HoldState, HoldStatus
from creditledger.records.transfer import Hold, HoldPurpose
from creditledger.transparency.bls import BlsBackend
from creditledger.transparency.bundle import BUNDLE_BYTES_MAX, Subject, decode_bundle
from creditledger.transparency.trust_policy import TrustPolicy
from creditledger.transparency.verification import verify_bundle


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedVoucher:
    """A hold that is open, and can be ended by nobody but the queue it names until it expires."""

    digest: bytes
    """The hold's id, 32 bytes."""
    hold: Hold
    state: HoldState
    """As the certified round has it."""
    round_number: int
    time_unix_ms: int | None
    """When the witness quorum saw the checkpoint."""


@dataclass(frozen=True, slots=True)
class Voucher:
    """A hold bundle as it came. Nothing in it may be believed before `verify`."""

    encoded: bytes

    @classmethod
    def load(cls, source: bytes | str | PathLike[str]) -> "Voucher":
        """From the bytes themselves or the file at a path.

        Raises MalformedBundleError for bytes that are no hold bundle; OSError for the file."""
        encoded = source if isinstance(source, bytes) else _read(Path(source))
        bundle = decode_bundle(encoded)
        if bundle.subject != Subject.HOLD:
            raise MalformedBundleError(
                "bundle is not a voucher", expected="a hold", found=Subject(bundle.subject).name.lower()
            )
        return cls(encoded)

    def prove(self, policy: TrustPolicy, *, backend: BlsBackend | None = None) -> VerifiedVoucher:
        """Check everything in the voucher offline, whoever and whenever it is for.

        The policy's age limit is not applied: an open hold can only be ended by its queue or by expiry, so
        an old proof of it says as much as a new one. Raises VerificationError: CertificateError without a
        certified round, PolicyError for another ledger, and the others. Source: specs/redemption.md §4."""
        verified = verify_bundle(self.encoded, policy, now_unix_ms=None, backend=backend)
        hold, state, round_ = verified.record, verified.state, verified.round
        if not isinstance(hold, Hold) or not isinstance(state, HoldState) or round_ is None:
            raise VerificationError("voucher carries no certified hold")
        digest = hold.digest(ledger_of(policy))
        _require_same(hold, state, digest)
        return VerifiedVoucher(
            digest=digest,
            hold=hold,
            state=state,
            round_number=round_.number,
            time_unix_ms=verified.time_unix_ms,
        )

    def verify(
        self,
        policy: TrustPolicy,
        *,
        queue: bytes,
        now_unix_ms: int,
        backend: BlsBackend | None = None,
    ) -> VerifiedVoucher:
        """`prove`, then that the hold is ``queue``'s (32 bytes), open, and not expired.

        Raises what `prove` does; RoleError for another queue or a job's hold; HoldClosedError;
        HoldExpiredError. Source: specs/redemption.md §4."""
        verified = self.prove(policy, backend=backend)
        require_names_queue(verified, queue)
        require_open(verified, now_unix_ms=now_unix_ms)
        return verified


def ledger_of(policy: TrustPolicy) -> bytes:
    """The ledger that the policy is about. Raises VerificationError if it names none."""
    if policy.ledger_id is None:
        raise VerificationError("policy names no ledger", expected="a #creditledger ledger line")
    return policy.ledger_id


def require_names_queue(voucher: VerifiedVoucher, queue: bytes) -> None:
    """Raises RoleError unless it is GPU time at ``queue``."""
    if voucher.hold.purpose is not HoldPurpose.VOUCHER:
        raise RoleError("hold covers a job, not GPU time", expected="a voucher", found="a job's hold")
    if voucher.hold.queue != queue:
        raise RoleError("voucher is for another queue", expected=queue.hex(), found=voucher.hold.queue.hex())


def require_open(voucher: VerifiedVoucher, *, now_unix_ms: int) -> None:
    """Raises HoldClosedError or HoldExpiredError unless the hold is open now."""
    if voucher.state.status != HoldStatus.OPEN:
        raise HoldClosedError("hold has ended", expected="open", found=_status_name(voucher.state.status))
    if now_unix_ms >= voucher.hold.expires_unix_ms:
        raise HoldExpiredError(
            "voucher has expired",
            expected=f"before {voucher.hold.expires_unix_ms}",
            found=str(now_unix_ms),
        )


def _require_same(hold: Hold, state: HoldState, digest: bytes) -> None:
    said = (digest, hold.holder, hold.job, hold.queue, hold.amount_micro, hold.expires_unix_ms)
    found = (state.hold, state.holder, state.job, state.queue, state.amount_micro, state.expires_unix_ms)
    if said != found:
        raise VerificationError("certified state is not of this hold", expected=digest.hex())


def _status_name(status: int) -> str:
    return HoldStatus(status).name.lower() if status in tuple(HoldStatus) else str(status)


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        encoded = file.read(BUNDLE_BYTES_MAX + 1)
    if len(encoded) > BUNDLE_BYTES_MAX:
        raise MalformedBundleError("voucher is too long", expected=f"at most {BUNDLE_BYTES_MAX} bytes")
    return encoded
