"""The pool of a soak: who is in it, what its rules are, and the folder its processes share."""

import json
import os
import time
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from cli_pools import ask
from creditledger.ledger.founding import create
from creditledger.ledger.keyring import KeyFile, KeyRole
from creditledger.ledger.ledger import OPERATOR_KEY, WITNESS_KEY
from creditledger.records.parameters import Genesis
from creditledger.records.registration import Role
from creditledger.transparency.trust_policy import TrustPolicy
from fakes.cast import Papers, ed25519, pool_parameters
from fakes.committee import fake_digest, real_validator

CLIENTS: Final = ("client-0", "client-1")
NODES: Final = ("node-0", "node-1")
QUEUE: Final = "queue-0"
PAYERS: Final = ("payer-0", "payer-1")
"""Clients that only pay each other: their requests are timed under attack."""
VALIDATORS: Final = 3
QUORUM: Final = 2
ANONYMOUS_PER_MINUTE: Final = 600
GRANT_MICRO: Final = 10**12
LEVY_PPM: Final = 10_000
EXPIRY_MS: Final = 24 * 3_600_000
"""How long orders and holds are good for: longer than any soak."""


@dataclass(frozen=True, kw_only=True)
class Scene:
    """One run: where its files lie and where its server answers."""

    folder: str
    url: str
    ends_unix_s: float
    """When every party stops whatever it does."""
    seed: int
    token: str = ""
    """What every honest party shows: strangers have a small share together."""
    parent: int = field(default_factory=os.getppid)
    """Without it nobody is left to say anything."""

    @classmethod
    def load(cls, folder: Path) -> "Scene":
        """What `save` wrote, for this process."""
        return cls(**json.loads((folder / "scene.json").read_text()) | {"parent": os.getppid()})

    def save(self) -> None:
        """For the other processes."""
        (self.path / "scene.json").write_text(json.dumps(asdict(self)))

    @property
    def path(self) -> Path:
        return Path(self.folder)

    @property
    def pool(self) -> Path:
        """The ledger's directory, which parties know nothing of but its policy."""
        return self.path / "pool"

    @cached_property
    def genesis(self) -> Genesis:
        return Genesis.decode((self.path / "genesis").read_bytes())

    @cached_property
    def papers(self) -> Papers:
        """Signs for everybody."""
        return Papers(genesis=self.genesis)

    @cached_property
    def policy(self) -> TrustPolicy:
        """What a reader was given before anything began."""
        return TrustPolicy.load(self.path / "policy")

    def is_told(self, word: str) -> bool:
        """Whether the campaign has said ``word``: `stop` new work, `end` altogether."""
        return (self.path / word).exists() or self.is_over()

    def is_over(self) -> bool:
        """Whether nobody waits for this process any more."""
        return time.time() > self.ends_unix_s or os.getppid() != self.parent

    def tell(self, word: str) -> None:
        (self.path / word).touch()


def found_scene(folder: Path, *, port: int, seconds: float, seed: int) -> Scene:
    """Found the pool, its accounts registered and granted; who certifies more has no key beside it."""
    operator = KeyFile(role=KeyRole.OPERATOR, secret=fake_digest("ed25519", "operator"))
    witness = KeyFile(role=KeyRole.WITNESS, secret=fake_digest("ed25519", "witness"))
    parameters = pool_parameters(
        members=VALIDATORS, quorum=QUORUM, rule_set=4, levy_ppm=LEVY_PPM, clock_tolerance_ms=60_000
    )
    scene = Scene(
        folder=str(folder), url=f"http://127.0.0.1:{port}", ends_unix_s=time.time() + seconds, seed=seed
    )
    with create(
        scene.pool,
        origin="pool.example/soak",
        operator=operator.ed25519(),
        parameters=parameters.replace(vesting_rounds=1),
        witness=witness.ed25519(),
        keys={OPERATOR_KEY: operator, WITNESS_KEY: witness},
    ) as ledger:
        (folder / "genesis").write_bytes(ledger.genesis.encode())
        (folder / "policy").write_bytes(ledger.policy().serialize())
        papers = scene.papers
        for name, role in roles().items():
            ledger.append(papers.registration(ed25519(name), name, role))
        for name in (*CLIENTS, *PAYERS):
            ledger.append(papers.grant(ed25519(name).public_key, GRANT_MICRO))
        ledger.complete_round({index: real_validator(index) for index in range(VALIDATORS)})
    (scene.pool / "service.toml").write_text(f"[limits]\nanonymous_per_minute = {ANONYMOUS_PER_MINUTE}\n")
    made = ask("token", "new", scene.pool, "--name", "soak")
    scene = replace(scene, token=made["token"])
    scene.save()
    return scene


def roles() -> dict[str, Role]:
    """Everybody with an account."""
    found = dict.fromkeys((*CLIENTS, *PAYERS), Role.CLIENT)
    return found | dict.fromkeys(NODES, Role.NODE) | {QUEUE: Role.QUEUE}


def name_of(account: bytes) -> str:
    """Whose account it is."""
    return _NAMES[account]


_NAMES: Final[dict[Any, str]] = {ed25519(name).public_key: name for name in roles()}
