"""Who cosigned the published checkpoint, and when. Source: specs/service.md §9."""

from dataclasses import dataclass
from typing import Final

from creditledger.errors import CreditLedgerError
from creditledger.quantities import UnixMillisecond
from creditledger.transparency.cosignature import cosignature_timestamp, note_verifier
from creditledger.transparency.note import (
    TYPE_COSIGNATURE,
    TYPE_COSIGNATURE_ML_DSA_44,
    VerifierKey,
    open_note,
)
from creditledger.transparency.quorum import NO_QUORUM
from creditledger.transparency.trust_policy import TrustPolicy

_KEY_TYPES: Final = {TYPE_COSIGNATURE: "Ed25519", TYPE_COSIGNATURE_ML_DSA_44: "ML-DSA-44"}


@dataclass(frozen=True, slots=True, kw_only=True)
class WitnessRow:
    """One witness of the policy."""

    name: str
    key_type: str
    cosigned_unix_ms: UnixMillisecond | None
    """None where it did not cosign this checkpoint."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WitnessFacts:
    """The policy's witnesses, and what they say of one checkpoint."""

    rows: tuple[WitnessRow, ...]
    quorum: str
    """In words."""
    problem: str
    """Why the checkpoint does not meet the policy; empty where it does."""


def witness_facts(policy: TrustPolicy, note: bytes) -> WitnessFacts:
    """Every signature on ``note`` is verified; an empty one has none."""
    times: dict[VerifierKey, int] = {}
    problem = ""
    try:
        _, signatures = open_note(note, [note_verifier(vkey) for vkey in policy.vkeys])
        for signature in signatures:
            if signature.vkey.key_type in _KEY_TYPES:
                times[signature.vkey] = cosignature_timestamp(signature.body) * 1_000
        policy.for_any_size().verify_checkpoint(note)
    except CreditLedgerError as error:
        problem = str(error)
    rows = (
        WitnessRow(
            name=witness.name,
            key_type=_KEY_TYPES[witness.vkey.key_type],
            cosigned_unix_ms=times.get(witness.vkey),
        )
        for witness in policy.witnesses
    )
    return WitnessFacts(rows=tuple(rows), quorum=_quorum(policy), problem=problem)


def _quorum(policy: TrustPolicy) -> str:
    if policy.quorum == NO_QUORUM:
        return "no witness is asked for"
    group = next((group for group in policy.groups if group.name == policy.quorum), None)
    if group is None:
        return policy.quorum
    return f"{group.threshold} of {', '.join(group.members)}"
