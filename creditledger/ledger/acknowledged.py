"""Whether a log keeps what it acknowledged. Source: specs/ledger.md §14."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from creditledger.errors import MalformedRecordError
from creditledger.ledger.ledger import Ledger
from creditledger.ledger.verified_tiles import VerifiedTiles
from creditledger.transparency.checkpoint import parse_decimal
from creditledger.transparency.tile import TILE_WIDTH

LINE_SIZE_MAX: Final = 200
_ACK: Final = re.compile(rb"ACK ([0-9]{1,20}) ([0-9a-f]{64})\n")
_REFUSED: Final = re.compile(rb"REFUSED [0-9]{1,20} [A-Za-z]{1,64}\n")


class Standing(StrEnum):
    """What has become of an acknowledgement."""

    COVERED = "covered"
    NOT_YET = "not yet covered"
    CONTRADICTED = "contradicted"
    """The signed tree has another leaf at that index: the log broke its promise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Acknowledged:
    """A promise: this leaf stands at this index."""

    index: int
    leaf_hash: bytes
    """32 bytes."""


def parse_acknowledgements(lines: Iterable[bytes]) -> Iterator[Acknowledged]:
    """The promises in what `append` answered, one line at a time; lines of refused records are skipped.

    Raises MalformedRecordError, naming the line."""
    for number, line in enumerate(lines, start=1):
        found = _ACK.fullmatch(line)
        if found is not None:
            yield Acknowledged(index=parse_decimal(found[1]), leaf_hash=bytes.fromhex(found[2].decode()))
        elif not _REFUSED.fullmatch(line):
            raise MalformedRecordError(
                f"line {number} is no acknowledgement",
                expected="ACK <index> <leaf hash>, ended by LF",
                found=ascii(line[:60]),
            )


def standing_of(promise: Acknowledged, tiles: VerifiedTiles, *, size: int) -> Standing:
    """Whether the tree of ``size`` entries under ``tiles`` bears it out. Raises VerificationError."""
    if promise.index >= size:
        return Standing.NOT_YET
    leaf = tiles.hashes(0, promise.index // TILE_WIDTH)[promise.index % TILE_WIDTH]
    return Standing.COVERED if leaf == promise.leaf_hash else Standing.CONTRADICTED


def beyond(ledger: Ledger, size: int) -> Iterator[Acknowledged]:
    """What a ledger's own store has acknowledged beyond its published ``size``. Raises IntegrityError."""
    for index in range(size, ledger.size):
        with ledger.snapshot() as snapshot:
            yield Acknowledged(index=index, leaf_hash=snapshot.log.node(0, index))
