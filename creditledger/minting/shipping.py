"""How a node's receipts travel to a pool behind a URL: how often, and within which bounds.

Source: specs/minting.md §10."""

from dataclasses import dataclass

from creditledger.minting.kept_inputs import KEPT_BYTES_MAX
from creditledger.minting.outbox import OUTBOX_BYTES_MAX


@dataclass(frozen=True, slots=True, kw_only=True)
class Shipping:
    """What a node may set. The bounds in bytes hold for a ledger on this machine too."""

    interval_s: float = 5.0
    """How long receipts wait at most for company in a batch."""
    retry_s_max: float = 300.0
    """The longest wait between two attempts at a service that is away; the first is a second."""
    close_s: float = 10.0
    """How long `Minter.close` waits for the last delivery; what is not delivered then waits on the disk."""
    outbox_bytes_max: int = OUTBOX_BYTES_MAX
    """Of batches that wait. When they are more, minting stops with a StorageError; none is dropped."""
    kept_bytes_max: int = KEPT_BYTES_MAX
    """Of sealed inputs. When they are more, the oldest go."""
