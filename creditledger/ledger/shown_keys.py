"""The keys of signers that have rotated, as a bundle shows them. Source: specs/bundle.md §5."""

from collections.abc import Sequence
from dataclasses import dataclass

from creditledger.credits import reading
from creditledger.credits.rounds import RoundInfo
from creditledger.credits.state import StateView
from creditledger.errors import BusyError
from creditledger.records.state import consumed_key, public_key_key
from creditledger.transparency.bundle import MapValue


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """A record in the log, and whose it is."""

    account: bytes
    index: int
    digest: bytes = b""
    """Where the bundle has no place for it."""


def is_by_later_key(state: StateView, signature: Signature) -> bool:
    """Whether another key than the account's first signed it."""
    return reading.key_at(state, signature.account, signature.index) != signature.account


def shown_keys(
    state: StateView, info: RoundInfo | None, signatures: Sequence[Signature]
) -> tuple[MapValue, ...]:
    """The states of every signer of whose ``signatures`` a later key made one; empty if there is none.

    Raises BusyError while no certified round covers them."""
    rotated = {one.account for one in signatures if is_by_later_key(state, one)}
    if not rotated:
        return ()
    own = [one for one in signatures if one.account in rotated]
    keys = sorted({reading.key_at(state, one.account, one.index) for one in own})
    wanted = [public_key_key(key) for key in keys]
    wanted += [consumed_key(one.digest) for one in own if one.digest]
    if info is None or max(one.index for one in own) >= info.round.log_size:
        raise BusyError(
            "no certified round shows the signer's key yet: it has rotated", expected="a later round"
        )
    return tuple(_proven(state, info.round.map_root, key) for key in wanted)


def _proven(state: StateView, root: bytes, key: bytes) -> MapValue:
    value = reading.map_value(state, root, key)
    if value is None:
        raise BusyError("no certified round shows the signer's key yet", expected="a later round")
    return MapValue(value=value, proof=reading.map_proof(state, root, key))
