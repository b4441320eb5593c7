"""The operator's commitment to the state, and the committee's word for it. Source: specs/records.md §10."""

import hashlib
from typing import Annotated, ClassVar

from creditledger.quantities import Digest, MemberIndex, RoundNumber, TreeSize, octets
from creditledger.records import canonical
from creditledger.records.kinds import Kind
from creditledger.records.record import Record, signing_prefix


class Round(Record):
    """All entries before ``log_size`` were folded and gave the map with root ``map_root``."""

    KIND: ClassVar[Kind] = Kind.ROUND

    number: RoundNumber
    log_size: TreeSize
    """The index of the entry that carries this round: it speaks of everything before itself."""
    log_root: Digest
    map_root: Digest
    parameters: Digest


def round_statement(round_digest: bytes, committee_digest: bytes, ledger_id: bytes) -> bytes:
    """What every validator signs: the same bytes for all, so their signatures aggregate.

    Source: specs/rounds.md §2."""
    return signing_prefix(Kind.ATTESTATION, ledger_id) + canonical.encode([round_digest, committee_digest])


def draw_seed(signature: bytes) -> bytes:
    """A validator's seed for the draw: SHA-256 of its unique signature. Source: specs/check.md §7."""
    return hashlib.sha256(b"creditledger/v1/seed\0" + signature).digest()


class Attestation(Record):
    """One validator's BLS signature of a round's statement, which is also its seed."""

    KIND: ClassVar[Kind] = Kind.ATTESTATION

    round: Digest
    committee: Digest
    member: MemberIndex


class Certificate(Record):
    """A quorum of those signatures as one aggregate."""

    KIND: ClassVar[Kind] = Kind.CERTIFICATE

    round: Digest
    committee: Digest
    signers: Annotated[bytes, octets(1, 128)]
    """Bitmap over the committee, lowest bit first, no spare bit set."""
