"""Under which key each record of a bundle must verify: an account's first, or one that the round shows.

Source: specs/bundle.md §5."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from creditledger.errors import MalformedBundleError, MalformedRecordError, SignatureError
from creditledger.records import canonical
from creditledger.records.job import Job
from creditledger.records.kinds import Kind
from creditledger.records.receipt import Delivery
from creditledger.records.round import Round
from creditledger.records.state import KeyState, consumed_key, public_key_key
from creditledger.transparency.bundle import (
    Bundle,
    MapValue,
    SignedRecord,
    Subject,
    decode_logged,
    decode_part,
)
from creditledger.transparency.keys import verify_ed25519
from creditledger.transparency.sparse_merkle import verify_map_proof

_INDEX_SIZE = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownStates:
    """A bundle's states by what they are, in their order."""

    own: MapValue | None
    """The subject's; None for a batch, and without a certified round."""
    lot: MapValue | None
    """A settled receipt's."""
    keys: tuple[MapValue, ...]
    """Of signers that have rotated, ascending by key."""
    indices: tuple[MapValue, ...]
    """Where the job, then the delivery, of such a signer stand in the log."""


def split_states(bundle: Bundle) -> ShownStates:
    """Tell the states apart. Raises MalformedBundleError for any other order."""
    rest = list(bundle.states)
    own = rest.pop(0) if rest and bundle.subject != Subject.BATCH else None
    is_receipt = bundle.subject == Subject.RECEIPT
    lot = rest.pop(0) if is_receipt and rest and _kind(rest[0]) == Kind.LOT_STATE else None
    count = next((at for at, shown in enumerate(rest) if _kind(shown) != Kind.KEY_STATE), len(rest))
    keys, indices = rest[:count], rest[count:]
    if any(len(shown.value) != _INDEX_SIZE for shown in indices) or (indices and not keys):
        raise MalformedBundleError(
            "states are of other kinds or in another order", expected="the subject's, a lot, keys, indices"
        )
    return ShownStates(own=own, lot=lot, keys=tuple(keys), indices=tuple(indices))


class Signers:
    """Which keys a bundle shows, and that none of them is shown for nothing."""

    __slots__ = ("_indices", "_ledger", "_log_size", "_states", "_unused")

    def __init__(
        self, states: Sequence[KeyState], indices: Mapping[bytes, int], *, ledger_id: bytes, log_size: int
    ) -> None:
        """``indices``: of records without a place, by digest. ``log_size``: what the round speaks of."""
        self._states = states
        self._indices = indices
        self._ledger = ledger_id
        self._log_size = log_size
        self._unused = {state.key for state in states}

    def verify(self, signed: SignedRecord, account: bytes) -> None:
        """Check that the key of ``account`` at the record's index signed it. Raises SignatureError."""
        record = decode_logged(signed.record)
        key = self._key_of(account, signed, record.digest(self._ledger))
        verify_ed25519(public_key=key, message=record.signing_bytes(self._ledger), signature=signed.signature)

    def require_all_used(self) -> None:
        """Raises MalformedBundleError for a key that signed nothing here."""
        if self._unused:
            raise MalformedBundleError(
                "bundle shows a key that signed nothing in it", found=min(self._unused).hex()
            )

    def _key_of(self, account: bytes, signed: SignedRecord, digest: bytes) -> bytes:
        own = [state for state in self._states if state.account == account]
        if not own:
            return account
        index = signed.place[0].index if signed.place else self._indices[digest]
        for state in own:
            if index < self._log_size and state.from_index <= index < (state.until_index or self._log_size):
                self._unused.discard(state.key)
                return state.key
        raise SignatureError(
            "no key of the account that is shown signs at the record's index",
            expected=", ".join(f"{state.from_index} until {state.until_index}" for state in own),
            found=f"entry {index}",
        )


def read_signers(bundle: Bundle) -> Signers:
    """The keys and indices of ``bundle``, each proven under its round's map.

    Raises MalformedBundleError, InclusionProofError."""
    shown = split_states(bundle)
    if not shown.keys:
        return Signers((), {}, ledger_id=bundle.ledger, log_size=0)
    round_ = decode_part(Round, bundle.certified[0].round.record)
    states = [decode_part(KeyState, value.value) for value in shown.keys]
    for value, state in zip(shown.keys, states, strict=True):
        _require_proven(round_, public_key_key(state.key), value)
    names = [state.key for state in states]
    if names != sorted(set(names)):
        raise MalformedBundleError("keys are not ascending, each once", found=f"{len(names)} keys")
    digests = list(_unplaced(bundle, {state.account for state in states}))
    if len(digests) != len(shown.indices):
        raise MalformedBundleError(
            "a job and a delivery by a signer whose keys are shown come with their indices",
            expected=str(len(digests)),
            found=str(len(shown.indices)),
        )
    for digest, value in zip(digests, shown.indices, strict=True):
        _require_proven(round_, consumed_key(digest), value)
    indices = {
        digest: int.from_bytes(value.value, "big")
        for digest, value in zip(digests, shown.indices, strict=True)
    }
    return Signers(states, indices, ledger_id=bundle.ledger, log_size=round_.log_size)


def _unplaced(bundle: Bundle, accounts: set[bytes]) -> Iterator[bytes]:
    """Digests of the job and the delivery whose client's keys are shown."""
    for signed in (*bundle.job, *bundle.delivery):
        record = decode_logged(signed.record)
        if isinstance(record, Job | Delivery) and record.client in accounts:
            yield record.digest(bundle.ledger)


def _require_proven(round_: Round, key: bytes, shown: MapValue) -> None:
    verify_map_proof(root=round_.map_root, key=key, value=shown.value, proof=shown.proof)


def _kind(shown: MapValue) -> int:
    """The kind of record that a value encodes; 0 for anything else."""
    try:
        values = canonical.decode(shown.value)
    except MalformedRecordError:
        return 0
    first = values[0] if isinstance(values, list) and values else 0
    return first if isinstance(first, int) else 0
