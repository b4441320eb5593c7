"""Who takes part: keys, names and spans. Every key file lies in the ledger's ``keys`` folder."""

from dataclasses import dataclass
from pathlib import Path

from creditledger.cli.demonstration.chance import stream
from creditledger.cli.demonstration.scene import NODES, Scene, node_name
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
    operator: KeyFile
    log: KeyFile
    witness: KeyFile
    validators: tuple[KeyFile, ...]

    @property
    def parties(self) -> tuple[Party, ...]:
        """Everybody who has an account."""
        return (self.client, *self.nodes, self.queue)


def validator_name(number: int) -> str:
    """What the key file of validator ``number``, from 0, is called."""
    return f"validator-{number}"


def make_cast(scene: Scene) -> Cast:
    """Fresh keys for everybody."""
    return Cast(
        client=_party(scene, CLIENT, KeyRole.CLIENT),
        queue=_party(scene, QUEUE, KeyRole.QUEUE),
        nodes=tuple(_party(scene, node_name(number), KeyRole.NODE) for number in range(NODES)),
        operator=_key(KeyRole.OPERATOR, "operator", scene.seed),
        log=_key(KeyRole.LOG, "log", scene.seed),
        witness=_key(KeyRole.WITNESS, "witness", scene.seed),
        validators=tuple(
            _key(KeyRole.VALIDATOR, validator_name(number), scene.seed) for number in range(VALIDATORS)
        ),
    )


def _party(scene: Scene, name: str, role: KeyRole) -> Party:
    return Party(name=name, role=role, key=_key(role, name, scene.seed), file=scene.key_file(name))


def _key(role: KeyRole, name: str, seed: int | None) -> KeyFile:
    return KeyFile.new(role, random_bytes=stream(seed, f"key of {name}"))
