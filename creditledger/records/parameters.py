"""The rules a pool has agreed on, and the genesis that founds its ledger. Source: specs/records.md §6."""

import hashlib
import itertools
from enum import IntEnum
from typing import ClassVar

from creditledger.errors import MalformedRecordError
from creditledger.quantities import (
    BlsPublicKey,
    BlsSignature,
    Code,
    Count,
    Digest,
    Ed25519PublicKey,
    LayerIndex,
    MicroCredit,
    Millisecond,
    Name,
    Origin,
    PartsPerMillion,
    UnixMillisecond,
    X25519PublicKey,
)
from creditledger.records.kinds import Kind
from creditledger.records.record import Fields, Record


class Admission(IntEnum):
    """Who may register: anybody, or whom the operator countersigns."""

    OPEN = 1
    APPROVAL = 2


class LevyUse(IntEnum):
    """What becomes of the levy on captures."""

    BURN = 1
    VALIDATORS = 2
    MEMBERS = 3


class Member(Fields):
    """A validator on the committee, with the proof that it holds its key."""

    bls_key: BlsPublicKey
    proof_of_possession: BlsSignature
    audit_key: X25519PublicKey


class ModelTerms(Fields):
    """A model that may be ordered: its shape fixes the FLOPs, its price fixes the credits."""

    model: Digest
    name: Name
    layers: LayerIndex
    hidden: Count
    ff: Count
    heads: Count
    kv_heads: Count
    head_dim: Count
    micro_per_tflop: MicroCredit


class HardwarePrice(Fields):
    """What one second on one GPU of a class costs."""

    name: Name
    micro_per_gpu_second: MicroCredit


class ProfileTerms(Fields):
    """The calibration profile to judge a span's output by."""

    model: Digest
    layer_stop: LayerIndex
    profile: Digest


class Parameters(Record):
    """All rules of a pool. A change takes effect with the first certified round that covers it."""

    KIND: ClassVar[Kind] = Kind.PARAMETERS

    sequence: Count
    """0 at genesis, then one more with each change."""
    rule_set: Code
    committee: tuple[Member, ...]
    quorum: Count
    admission: Code
    transfers_allowed: Code
    levy_ppm: PartsPerMillion
    levy_use: Code
    check_floor_ppm: PartsPerMillion
    """The rate that checks never fall below."""
    probation_micro: MicroCredit
    """A node's first settled value, every receipt of which is checked; 0 for no probation."""
    always_check_micro: MicroCredit
    """A receipt worth more than this is always checked; 0 switches the rule off."""
    vesting_rounds: Count
    vesting_ms: Millisecond
    vesting_micro: MicroCredit
    """A lot vests when this many rounds, this much time and this much later value have passed."""
    grace_ms: Millisecond
    """From a hold's expiry to the earliest expire record."""
    clock_tolerance_ms: Millisecond
    models: tuple[ModelTerms, ...]
    hardware: tuple[HardwarePrice, ...]
    profiles: tuple[ProfileTerms, ...]

    def check_rules(self) -> None:
        if not 1 <= self.quorum <= max(1, len(self.committee)) or not self.committee:
            raise MalformedRecordError(
                "quorum does not fit the committee",
                expected=f"1..{len(self.committee)}",
                found=str(self.quorum),
            )
        if len({member.bls_key for member in self.committee}) != len(self.committee):
            raise MalformedRecordError("a committee member is listed twice")
        if self.admission not in tuple(Admission) or self.levy_use not in tuple(LevyUse):
            raise MalformedRecordError("admission or levy use is not a known code")
        if self.transfers_allowed > 1:
            raise MalformedRecordError("transfers_allowed is not 0 or 1")
        _require_ascending([model.model for model in self.models], "models")
        _require_ascending([price.name for price in self.hardware], "hardware")
        _require_ascending([(p.model, p.layer_stop) for p in self.profiles], "profiles")

    def model_terms(self, model: bytes) -> ModelTerms | None:
        """The terms of the model with this digest, if it may be ordered."""
        return next((terms for terms in self.models if terms.model == model), None)

    def hardware_price(self, name: str) -> HardwarePrice | None:
        """The price of a hardware class, if it is listed."""
        return next((price for price in self.hardware if price.name == name), None)

    def profile_digest(self, model: bytes, layer_stop: int) -> bytes | None:
        """The digest of the profile to judge a span that ends before ``layer_stop``."""
        return next(
            (
                terms.profile
                for terms in self.profiles
                if terms.model == model and terms.layer_stop == layer_stop
            ),
            None,
        )


def _require_ascending(keys: list[bytes] | list[str] | list[tuple[bytes, int]], what: str) -> None:
    if any(not a < b for a, b in itertools.pairwise(keys)):  # type: ignore[operator]
        raise MalformedRecordError(f"{what} are not in ascending order, each once")


class Genesis(Record):
    """The first entry of a ledger; its hash is the ledger's id."""

    KIND: ClassVar[Kind] = Kind.GENESIS

    origin: Origin
    operator: Ed25519PublicKey
    created_unix_ms: UnixMillisecond
    parameters: Parameters

    def check_rules(self) -> None:
        if self.parameters.sequence != 0:
            raise MalformedRecordError("a ledger begins with parameters of sequence 0")

    @property
    def ledger_id(self) -> bytes:
        """SHA-256 of the encoded genesis: 32 bytes. Source: specs/records.md §6."""
        return hashlib.sha256(self.encode()).digest()
