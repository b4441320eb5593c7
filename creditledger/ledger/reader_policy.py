"""The policy that readers are told, kept up to what the log says. Source: specs/ledger.md §6."""

from dataclasses import replace

from creditledger.credits import reading
from creditledger.credits.fold import committee_of
from creditledger.credits.state import StateView
from creditledger.errors import RoleError
from creditledger.ledger.head import log_key
from creditledger.transparency.keys import Ed25519Signer
from creditledger.transparency.quorum import KeyRange, PolicyLog
from creditledger.transparency.trust_policy import TrustPolicy


def current_policy(policy: TrustPolicy, state: StateView, *, origin: str) -> TrustPolicy:
    """``policy`` with the committee in force and the operator's keys, each for its sizes.

    Witnesses, quorum, and other people's logs are left alone."""
    committee = committee_of(reading.parameters_in_force(state))
    if policy.committee is None or policy.committee.digest != committee.digest:
        policy = replace(policy, committee=committee)
    keys = reading.operator_keys(state)
    return policy if len(keys) == 1 else replace(policy, logs=_logs(policy, keys, origin))


def require_own_key(operator: Ed25519Signer, policy: TrustPolicy, *, origin: str) -> None:
    """Raises RoleError if a witness or another log of the policy has the key of ``operator``.

    A policy names a key once: with this one in force it could not be told to readers any more."""
    own = log_key(origin, operator.public_key)
    if any(vkey.public_key == operator.public_key and vkey != own for vkey in policy.vkeys):
        raise RoleError("one key cannot be operator and witness", found=operator.public_key.hex())


def _logs(policy: TrustPolicy, keys: list[tuple[int, bytes]], origin: str) -> tuple[PolicyLog, ...]:
    """The operator's keys, oldest first, then what else the policy names."""
    known = {log.vkey: log for log in policy.logs}
    ends = [first for first, _ in keys[1:]] + [0]
    own = {}
    for (first, key), until in zip(keys, ends, strict=True):
        vkey = log_key(origin, key)
        log = known.get(vkey, PolicyLog(vkey=vkey))
        own[vkey] = replace(log, range=KeyRange(first_size=first, until_size=until))
    return (*own.values(), *(log for log in policy.logs if log.vkey not in own))
