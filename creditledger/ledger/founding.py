"""How a ledger begins: a whole directory or none. Source: specs/ledger.md §1."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Final

from creditledger.credits.fold import FoldContext, TransparencyVerifier, apply_entry, committee_of
from creditledger.errors import RoleError
from creditledger.ledger.clock import Clock, system_clock
from creditledger.ledger.directory import (
    LedgerDirectory,
    WriterLock,
    new_directory,
    replace_file,
    sync_directory,
)
from creditledger.ledger.head import HeadFile, log_key
from creditledger.ledger.keyring import KeyFile, KeyRole, save_key
from creditledger.ledger.ledger import LOG_KEY, OPERATOR_KEY, WITNESS_KEY, Ledger
from creditledger.ledger.local_witness import LOCAL_WITNESS
from creditledger.ledger.operator_keys import NEXT_OPERATOR_KEY
from creditledger.ledger.store_place import create_store
from creditledger.ledger.stored_log import StoredLog, state_of
from creditledger.records.entry import Entry
from creditledger.records.parameters import (
    Admission,
    Genesis,
    HardwarePrice,
    LevyUse,
    Member,
    Parameters,
)
from creditledger.records.registration import Registration, Role
from creditledger.transparency.checkpoint import Checkpoint
from creditledger.transparency.cosignature import CosignatureSigner, MlDsaCosignatureSigner
from creditledger.transparency.keys import Ed25519Signer
from creditledger.transparency.merkle import EMPTY_ROOT, leaf_hash
from creditledger.transparency.quorum import NO_QUORUM, PolicyLog, PolicyWitness, WitnessGroup
from creditledger.transparency.trust_policy import TrustPolicy

MICRO: Final = 1_000_000
FIRST_WITH_ROTATION: Final = 2
"""The first rule set under which the operator can commit to a next key."""
HOUR_MS: Final = 3_600_000
REFERENCE_JOB_MICRO: Final = 60 * MICRO
"""What a usual job is worth, to say probation and vesting as value: a minute of the reference class."""

LOG_WITNESS: Final = "log"
"""What the policy calls the log's own ML-DSA-44 key."""
ALL_WITNESSES: Final = "log-and-local"

HARDWARE: Final[Mapping[str, int]] = {
    "a100-40g": 450_000,
    "a100-80g": 550_000,
    "a100-mig-1g": 80_000,
    "a100-mig-2g": 160_000,
    "a100-mig-3g": 240_000,
    "a10g": 150_000,
    "b200": 2_200_000,
    "cpu": 10_000,
    "gh200": 1_150_000,
    "h100": 1_000_000,
    "h100-mig-1g": 130_000,
    "h100-mig-2g": 270_000,
    "h100-mig-3g": 420_000,
    "h100-mig-4g": 550_000,
    "h200": 1_200_000,
    "h200-mig-1g": 160_000,
    "jetson-orin": 40_000,
    "l4": 100_000,
    "l40s": 300_000,
    "mi300x": 1_100_000,
    "rtx-3090": 140_000,
    "rtx-4090": 250_000,
    "rtx-5090": 400_000,
    "rtx-a6000": 180_000,
    "t4": 50_000,
    "v100": 120_000,
}
"""Micro-credits per second on one GPU; one credit is one second of ``h100``, the reference class."""


def default_parameters(committee: Sequence[Member], *, quorum: int) -> Parameters:
    """Sensible rules for a new pool, without models. Source: specs/parameters.md."""
    return Parameters(
        sequence=0,
        rule_set=4,
        committee=tuple(committee),
        quorum=quorum,
        admission=Admission.OPEN,
        transfers_allowed=1,
        levy_ppm=10_000,
        levy_use=LevyUse.BURN,
        check_floor_ppm=20_000,
        probation_micro=20 * REFERENCE_JOB_MICRO,
        always_check_micro=REFERENCE_JOB_MICRO,
        vesting_rounds=1,
        vesting_ms=24 * HOUR_MS,
        vesting_micro=100 * REFERENCE_JOB_MICRO,
        grace_ms=300_000,
        clock_tolerance_ms=300_000,
        models=(),
        hardware=tuple(
            HardwarePrice(name=name, micro_per_gpu_second=price) for name, price in sorted(HARDWARE.items())
        ),
        profiles=(),
    )


def create(
    path: str | Path,
    *,
    origin: str,
    operator: Ed25519Signer,
    parameters: Parameters,
    profiles: Sequence[bytes] = (),
    witness: Ed25519Signer | None = None,
    ml_dsa: MlDsaCosignatureSigner | None = None,
    requires_ml_dsa: bool = False,
    keys: Mapping[str, KeyFile] | None = None,
    store: str | None = None,
    clock: Clock = system_clock,
) -> Ledger:
    """Found a ledger at ``path`` and open it: store, head, policy, first checkpoint.

    ``witness``: signs as the local witness, whose cosignature the policy then asks for. ``ml_dsa``: signs
    every checkpoint as the log too, under its origin; with ``requires_ml_dsa`` the policy asks for that
    line as well, so that no reader can be shown a checkpoint without it. ``keys``:
    key files to keep in the directory, by file name; they are bound to this ledger. To one that is called
    ``operator-next.key`` the operator commits in entry 1. ``store``: the URL of
    a database to keep it in. Built beside
    ``path`` and renamed: a crash leaves a whole ledger or none. Raises StorageError if ``path`` is
    taken, RoleError for one key in two roles, RefusedError if the rules refuse the parameters."""
    genesis = Genesis(
        origin=origin, operator=operator.public_key, created_unix_ms=clock(), parameters=parameters
    )
    kept = keys or {}
    return _create(
        Path(path), genesis, operator, tuple(profiles), witness, ml_dsa, requires_ml_dsa, kept, store, clock
    )


def create_pool(
    path: str | Path,
    *,
    origin: str,
    members: Sequence[Member] = (),
    quorum: int = 1,
    revise: Callable[[Parameters], Parameters] = lambda usual: usual,
    profiles: Sequence[bytes] = (),
    requires_ml_dsa: bool = False,
    store: str | None = None,
    clock: Clock = system_clock,
    random_bytes: Callable[[int], bytes] = os.urandom,
) -> Ledger:
    """Found a ledger with fresh keys for its operator, its log (ML-DSA-44) and a local witness, kept in
    ``keys``, where the operator's next key lies too: the operator commits to it in entry 1.

    Without ``members`` it is a one-person pool: a fresh validator is its whole committee, so that
    every round is certified on the spot. ``revise`` turns the default parameters into the pool's own;
    ``requires_ml_dsa`` is for its policy. Raises as `create`."""
    operator = KeyFile.new(KeyRole.OPERATOR, random_bytes=random_bytes)
    witness = KeyFile.new(KeyRole.WITNESS, random_bytes=random_bytes)
    log = KeyFile.new(KeyRole.LOG, random_bytes=random_bytes)
    keys = {OPERATOR_KEY: operator, WITNESS_KEY: witness, LOG_KEY: log}
    if not members:
        validator = KeyFile.new(KeyRole.VALIDATOR, random_bytes=random_bytes)
        keys["validator-0.key"] = validator
        members = [member_of(validator)]
    parameters = revise(default_parameters(members, quorum=quorum))
    if parameters.rule_set >= FIRST_WITH_ROTATION:
        keys[NEXT_OPERATOR_KEY] = KeyFile.new(KeyRole.OPERATOR, random_bytes=random_bytes)
    genesis = Genesis(
        origin=origin,
        operator=operator.ed25519().public_key,
        created_unix_ms=clock(),
        parameters=parameters,
    )
    return _create(
        Path(path),
        genesis,
        operator.ed25519(),
        tuple(profiles),
        witness.ed25519(),
        log.ml_dsa(origin),
        requires_ml_dsa,
        keys,
        store,
        clock,
    )


def _create(
    path: Path,
    genesis: Genesis,
    operator: Ed25519Signer,
    profiles: tuple[bytes, ...],
    witness: Ed25519Signer | None,
    ml_dsa: MlDsaCosignatureSigner | None,
    requires_ml_dsa: bool,
    keys: Mapping[str, KeyFile],
    store: str | None,
    clock: Clock,
) -> Ledger:
    if witness is not None and witness.public_key == operator.public_key:
        raise RoleError("one key cannot be operator and witness", found=operator.public_key.hex())
    next_operator = keys[NEXT_OPERATOR_KEY].ed25519() if NEXT_OPERATOR_KEY in keys else None
    if witness is not None and next_operator is not None and witness.public_key == next_operator.public_key:
        raise RoleError("one key cannot be operator and witness", found=next_operator.public_key.hex())
    if ml_dsa is not None and ml_dsa.vkey.name != genesis.origin:
        raise RoleError("the log signs under its own origin", expected=genesis.origin, found=ml_dsa.vkey.name)
    with ExitStack() as undo, new_directory(path) as building:
        directory = LedgerDirectory(building)
        for folder in (directory.public, directory.keys, directory.sealed, directory.evidence):
            folder.mkdir(mode=0o755 if folder == directory.public else 0o700)
        for name, key in keys.items():
            save_key(directory.keys / name, replace(key, ledger_id=genesis.ledger_id))
        undo.enter_context(_new_schema(store))
        _found_log(directory, genesis, operator, profiles, store)
        replace_file(directory.policy, _policy(genesis, witness, ml_dsa, requires_ml_dsa).serialize())
        WriterLock(directory.lock).close()
        with Ledger.open(building, operator=operator, witness=witness, ml_dsa=ml_dsa, clock=clock) as ledger:
            if next_operator is not None:
                ledger.append(ledger.sign(operator_registration(genesis.operator, next_operator.public_key)))
            ledger.publish()
        sync_directory(building)
    return Ledger.open(path, operator=operator, witness=witness, ml_dsa=ml_dsa, clock=clock)


@contextmanager
def _new_schema(url: str | None) -> Iterator[None]:
    """Where founding fails, the database is left as it was."""
    if url is None:
        yield
        return
    from creditledger.ledger.postgres_store import PostgresStore

    PostgresStore.require_free(url)
    try:
        yield
    except BaseException:
        PostgresStore.drop(url)
        raise


def operator_registration(operator: bytes, next_key: bytes, *, name: str = "operator") -> Registration:
    """The operator's commitment to its next public key; it opens no account. Source: specs/credits.md §11."""
    commitment = sha256(next_key).digest()
    return Registration(account=operator, role=Role.OPERATOR, name=name, next_key=commitment, admission=b"")


def member_of(validator: KeyFile) -> Member:
    """The committee seat of a validator's key."""
    public = validator.public()
    return Member(
        bls_key=public.public,
        proof_of_possession=public.proof_of_possession,
        audit_key=public.audit_key,
    )


def _found_log(
    directory: LedgerDirectory,
    genesis: Genesis,
    operator: Ed25519Signer,
    profiles: tuple[bytes, ...],
    url: str | None,
) -> None:
    entry = Entry(
        time_unix_ms=genesis.created_unix_ms,
        record=genesis,
        signature=operator.sign(genesis.signing_bytes(genesis.ledger_id)),
    )
    context = FoldContext(
        ledger_id=genesis.ledger_id, index=0, log_root=lambda: EMPTY_ROOT, verifier=TransparencyVerifier()
    )
    store = create_store(directory.store, url)
    try:
        with store.write() as view:
            log = StoredLog(view)
            apply_entry(state_of(view), entry, profiles, context)
            log.append(entry.encode())
            log.put_bodies(genesis, profiles)
            log.seal()
    finally:
        store.close()
    head = HeadFile(directory.head, origin=genesis.origin, operator=operator.public_key)
    root = leaf_hash(entry.encode())
    head.create(Checkpoint(origin=genesis.origin, size=1, root=root), operator)


def _policy(
    genesis: Genesis,
    witness: Ed25519Signer | None,
    ml_dsa: MlDsaCosignatureSigner | None,
    requires_ml_dsa: bool,
) -> TrustPolicy:
    """Names every cosigner at hand; asks for the local witness and, if wanted, for the log's second line."""
    witnesses: list[PolicyWitness] = []
    required: list[str] = []
    if witness is not None:
        vkey = CosignatureSigner(LOCAL_WITNESS, witness).vkey
        witnesses.append(PolicyWitness(name=LOCAL_WITNESS, vkey=vkey))
        required.append(LOCAL_WITNESS)
    if ml_dsa is not None:
        witnesses.append(PolicyWitness(name=LOG_WITNESS, vkey=ml_dsa.vkey))
        required += [LOG_WITNESS] if requires_ml_dsa else []
    both = WitnessGroup(name=ALL_WITNESSES, threshold=2, members=tuple(required)) if required[1:] else None
    return TrustPolicy(
        logs=(PolicyLog(vkey=log_key(genesis.origin, genesis.operator)),),
        witnesses=tuple(witnesses),
        groups=(both,) if both else (),
        quorum=both.name if both else next(iter(required), NO_QUORUM),
        ledger_id=genesis.ledger_id,
        committee=committee_of(genesis.parameters),
    )
