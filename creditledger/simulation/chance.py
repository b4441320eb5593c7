"""Chance: every coin and every hash of a simulated life, from one seed. Source: specs/simulation.md §3."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b, sha256
from typing import TYPE_CHECKING, Protocol

from creditledger.credits.duty import draw_hash
from creditledger.simulation.strategy import MILLION
from creditledger.simulation.world import World

if TYPE_CHECKING:
    import numpy as np


def life_key(seed: int, node: int) -> bytes:
    """32 bytes that nothing but one node's life under one seed depends on."""
    return sha256(
        b"creditledger simulated life" + seed.to_bytes(32, "big") + node.to_bytes(8, "big")
    ).digest()


class Coins:
    """Coins of one life: the same question always has the same answer."""

    __slots__ = ("_key",)

    def __init__(self, key: bytes) -> None:
        self._key = key

    def falls(self, ppm: int, what: bytes, receipt: int, member: int = 0) -> bool:
        """Whether an event of ``ppm`` happens to this receipt, at this member."""
        message = what + receipt.to_bytes(8, "big") + member.to_bytes(2, "big")
        drawn = int.from_bytes(blake2b(message, digest_size=8, key=self._key).digest(), "big")
        return drawn * MILLION >> 64 < ppm


class Hashes(Protocol):
    """What the draw looks at: each signer's hash of a receipt, 8 bytes or more."""

    def lowest(self, round_index: int) -> int:
        """The least first 8 bytes, as a number, among all members' hashes of that round's new receipts."""

    def new(self, round_index: int, receipt: int) -> Mapping[int, bytes]:
        """Hashes of a receipt under the seeds of the round that covers it, by member."""

    def later(self, round_index: int, receipt: int) -> Mapping[int, bytes]:
        """Hashes of an older receipt under the seeds of round ``round_index``."""

    def rank(self, receipt: int) -> bytes:
        """The receipts of one node are judged in this order."""

    def job_rank(self, round_index: int) -> bytes:
        """The jobs of one node are settled in this order."""


class UniformHashes:
    """Uniform 64-bit numbers instead of SHA-256; of new receipts by PCG64, whose stream never changes."""

    __slots__ = ("_key", "_lowest", "_members", "_per_round", "_rows")

    def __init__(self, key: bytes, world: World) -> None:
        from numpy.random import PCG64

        self._key, self._members, self._per_round = key, world.members, world.receipts_a_round
        width = world.receipts_a_round * world.members
        raw = PCG64(int.from_bytes(key, "big")).random_raw(world.rounds * width)
        self._rows: np.ndarray = raw.reshape(world.rounds * world.receipts_a_round, world.members)
        self._lowest: list[int] = raw.reshape(world.rounds, width).min(axis=1).tolist()

    def lowest(self, round_index: int) -> int:
        return self._lowest[round_index]

    def new(self, round_index: int, receipt: int) -> Mapping[int, bytes]:
        row = self._rows[receipt].astype(">u8").tobytes()
        return {member: row[8 * member : 8 * member + 8] for member in range(self._members)}

    def later(self, round_index: int, receipt: int) -> Mapping[int, bytes]:
        prefix = round_index.to_bytes(8, "big") + receipt.to_bytes(8, "big")
        return {
            member: blake2b(prefix + bytes([member]), digest_size=8, key=self._key).digest()
            for member in range(self._members)
        }

    def rank(self, receipt: int) -> bytes:
        return receipt.to_bytes(8, "big")

    def job_rank(self, round_index: int) -> bytes:
        return round_index.to_bytes(8, "big")


@dataclass(slots=True, kw_only=True)
class LoggedHashes:
    """The real ones, of a pool that was folded: seeds by round and member, digests by receipt and by job."""

    seeds: Sequence[Mapping[int, bytes]]
    receipts: dict[int, bytes]
    jobs: dict[int, bytes]
    receipts_a_round: int

    def lowest(self, round_index: int) -> int:
        first = round_index * self.receipts_a_round
        return min(
            int.from_bytes(found[:8], "big")
            for receipt in range(first, first + self.receipts_a_round)
            for found in self.new(round_index, receipt).values()
        )

    def new(self, round_index: int, receipt: int) -> Mapping[int, bytes]:
        digest = self.receipts[receipt]
        return {member: draw_hash(seed, digest) for member, seed in self.seeds[round_index].items()}

    def later(self, round_index: int, receipt: int) -> Mapping[int, bytes]:
        return self.new(round_index, receipt)

    def rank(self, receipt: int) -> bytes:
        return self.receipts[receipt]

    def job_rank(self, round_index: int) -> bytes:
        return self.jobs[round_index]
