"""Who takes part: keys, names and spans. Every key file lies in the ledger's ``keys`` folder."""

import itertools
from dataclasses import dataclass
from pathlib import Path

from creditledger.cli.demonstration.chance import stream
from creditledger.ledger.keyring import KeyFile, KeyRole

VALIDATORS = 2
CLIENT, QUEUE = "client", "queue"


@dataclass(frozen=True, slots=True, kw_only=True)
class Party:
    """A named account and its key file."""

    name: str
    role: KeyRole
    key: KeyFile
    file: Path

    @property
    def account(self) -> bytes:
        """Its id: its public key."""
        return self.key.ed25519().public_key


@dataclass(frozen=True, slots=True, kw_only=True)
class Cast:
    """All parties of the story."""

    client: Party
    queue: Party
    nodes: tuple[Party, ...]
    spans: tuple[tuple[int, int], ...]
    """Layers ``(start, stop)`` of each node."""
    operator: KeyFile
    log: KeyFile
    witness: KeyFile
    validators: tuple[KeyFile, ...]

    @property
    def parties(self) -> tuple[Party, ...]:
        """Everybody who has an account."""
        return (self.client, *self.nodes, self.queue)


def make_cast(folder: Path, *, layers: int, nodes: int, seed: int | None) -> Cast:
    """Fresh keys for everybody; the model's layers shared out evenly among the nodes."""
    edges = [layers * number // nodes for number in range(nodes + 1)]
    return Cast(
        client=_party(folder, CLIENT, KeyRole.CLIENT, seed),
        queue=_party(folder, QUEUE, KeyRole.QUEUE, seed),
        nodes=tuple(_party(folder, f"node-{n + 1}", KeyRole.NODE, seed) for n in range(nodes)),
        spans=tuple(itertools.pairwise(edges)),
        operator=_key(KeyRole.OPERATOR, "operator", seed),
        log=_key(KeyRole.LOG, "log", seed),
        witness=_key(KeyRole.WITNESS, "witness", seed),
        validators=tuple(_key(KeyRole.VALIDATOR, f"validator-{n}", seed) for n in range(VALIDATORS)),
    )


def _party(folder: Path, name: str, role: KeyRole, seed: int | None) -> Party:
    return Party(name=name, role=role, key=_key(role, name, seed), file=folder / "keys" / f"{name}.key")


def _key(role: KeyRole, name: str, seed: int | None) -> KeyFile:
    return KeyFile.new(role, random_bytes=stream(seed, f"key of {name}"))
