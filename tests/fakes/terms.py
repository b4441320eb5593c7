"""The terms of the fake pool: its model, its prices, its parameters and its genesis."""

from functools import lru_cache

from creditledger.records.parameters import (
    Admission,
    Genesis,
    HardwarePrice,
    LevyUse,
    Member,
    ModelTerms,
    Parameters,
)
from creditledger.transparency.keys import Ed25519Signer
from fakes.committee import fake_digest, validator

START_MS = 1_800_000_000_000
HOUR_MS = 3_600_000


def fake_id(*parts: object) -> bytes:
    """A 16-byte client id."""
    return fake_digest("id", *parts)[:16]


MODEL = ModelTerms(
    model=fake_digest("model"),
    name="tiny-llama",
    layers=4,
    hidden=64,
    ff=128,
    heads=4,
    kv_heads=2,
    head_dim=16,
    micro_per_tflop=10**9,
)
HARDWARE = (
    HardwarePrice(name="cpu", micro_per_gpu_second=10_000),
    HardwarePrice(name="h100", micro_per_gpu_second=1_500_001),
)


def ed25519(name: str) -> Ed25519Signer:
    """The fixed key of whoever is called ``name``."""
    return Ed25519Signer(fake_digest("ed25519", name))


@lru_cache(maxsize=64)
def _member(index: int, is_real: bool) -> Member:
    signer = validator(index, is_real=is_real)
    return Member(
        bls_key=signer.public_key,
        proof_of_possession=signer.proof_of_possession(),
        audit_key=fake_digest("audit key", index),
    )


def pool_parameters(
    *, members: int = 1, quorum: int | None = None, real_bls: bool = True, **changes: object
) -> Parameters:
    """Parameters of a pool whose committee are validators 0.. in order; ``changes`` replace fields."""
    base = Parameters(
        sequence=0,
        rule_set=1,
        committee=tuple(_member(index, real_bls) for index in range(members)),
        quorum=members if quorum is None else quorum,
        admission=Admission.OPEN,
        transfers_allowed=1,
        levy_ppm=10_000,
        levy_use=LevyUse.BURN,
        check_floor_ppm=20_000,
        probation_micro=10**15,
        always_check_micro=0,
        vesting_rounds=1,
        vesting_ms=0,
        vesting_micro=0,
        grace_ms=60_000,
        clock_tolerance_ms=5_000,
        models=(MODEL,),
        hardware=HARDWARE,
        profiles=(),
    )
    return base.replace(**changes)  # type: ignore[arg-type]


def pool_genesis(parameters: Parameters, *, operator: Ed25519Signer | None = None) -> Genesis:
    """The genesis of the fake pool."""
    return Genesis(
        origin="pool.example/fake",
        operator=(operator or ed25519("operator")).public_key,
        created_unix_ms=START_MS,
        parameters=parameters,
    )
