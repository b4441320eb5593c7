"""A proof of whatever an id or name stands for. Source: specs/cli.md §8."""

from creditledger.credits import reading
from creditledger.errors import UnknownIdError
from creditledger.ledger.naming import account_id, as_digest
from creditledger.ledger.prove import Level, Prover
from creditledger.records.entry import Entry
from creditledger.records.receipt import Batch


def bundle_of(proving: Prover, text: str, *, most: Level = "certified") -> tuple[str, bytes]:
    """What ``text`` names, and its bundle: the digest of a receipt, batch or hold, an account's id or name,
    or an account's key. Raises UnknownIdError, BusyError."""
    digest, state = as_digest(text), proving.state
    if digest is None:
        return "account", proving.account(account_id(state, text))
    if reading.receipt_state(state, digest) is not None:
        return "receipt", proving.receipt(digest, most=most)
    if reading.hold_state(state, digest) is not None:
        return "hold", proving.hold(digest)
    if reading.account_state(state, digest) is not None:
        return "account", proving.account(digest)
    if reading.key_state(state, digest) is not None:
        return "key", proving.key(digest)
    return "batch", proving.batch(_batch(proving, digest))


def _batch(proving: Prover, digest: bytes) -> bytes:
    index = reading.consumed_index(proving.state, digest)
    if index is None:
        raise UnknownIdError("nothing is known under this id", found=digest.hex())
    record = Entry.decode(proving.log.entry_bytes(index)).record
    if not isinstance(record, Batch):
        kind = record.KIND.name.lower()
        raise UnknownIdError(
            "there is no bundle for such a record", expected="receipt, batch, hold", found=kind
        )
    return digest
