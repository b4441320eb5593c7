"""The pool of the story: its parameters, its ledger, its accounts."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from creditledger.activations.calibration import CalibrationProfile
from creditledger.activations.model import ModelDescription
from creditledger.cli.demonstration.cast import VALIDATORS, Cast, Party, validator_name
from creditledger.ledger.clock import Clock
from creditledger.ledger.founding import create, default_parameters, member_of
from creditledger.ledger.keyring import bind_key
from creditledger.ledger.ledger import LOG_KEY, OPERATOR_KEY, WITNESS_KEY, Ledger
from creditledger.quantities import ZERO_DIGEST
from creditledger.records.entry import Submission
from creditledger.records.parameters import ModelTerms, Parameters, ProfileTerms
from creditledger.records.record import Record
from creditledger.records.registration import Registration, Role

ORIGIN: Final = "demo.invalid/creditledger"
MICRO_PER_TFLOP: Final = 20_000_000
"""What a teraflop earns in this pool of laptops: a thousand times what it would on a datacentre GPU."""


def found_pool(
    folder: Path,
    cast: Cast,
    model: ModelDescription,
    profiles: Sequence[CalibrationProfile],
    clock: Clock,
    *,
    is_alone: bool = True,
) -> Ledger:
    """A ledger in ``folder`` under the story's parameters, with the key files in ``keys``.

    Not ``is_alone``: without those of the committee, so that the operator certifies nothing by itself."""
    keys = {OPERATOR_KEY: cast.operator, LOG_KEY: cast.log, WITNESS_KEY: cast.witness}
    if is_alone:
        keys |= {f"{validator_name(number)}.key": key for number, key in enumerate(cast.validators)}
    keys |= {party.file.name: party.key for party in cast.parties}
    return create(
        folder,
        origin=ORIGIN,
        operator=cast.operator.ed25519(),
        parameters=_parameters(cast, model, profiles),
        profiles=[profile.encode() for profile in profiles],
        witness=cast.witness.ed25519(),
        ml_dsa=cast.log.ml_dsa(ORIGIN),
        keys=keys,
        clock=clock,
    )


def register(ledger: Ledger, party: Party) -> None:
    """Open the party's account under its own signature."""
    bind_key(party.file, ledger_id=ledger.id)
    record = Registration(
        account=party.account,
        role=Role[party.role.name],
        name=party.name,
        next_key=ZERO_DIGEST,
        admission=b"",
    )
    ledger.append(signed(ledger, party, record))


def signed(ledger: Ledger, party: Party, record: Record) -> Submission:
    """``record`` with the party's signature."""
    return Submission(record=record, signature=party.key.ed25519().sign(record.signing_bytes(ledger.id)))


def _parameters(cast: Cast, model: ModelDescription, profiles: Sequence[CalibrationProfile]) -> Parameters:
    # Checks on everything and vesting after one round, so that nobody has to wait a day for the story's end.
    return default_parameters([member_of(key) for key in cast.validators], quorum=VALIDATORS).replace(
        check_floor_ppm=1_000_000,
        probation_micro=0,
        always_check_micro=0,
        vesting_rounds=1,
        vesting_ms=0,
        vesting_micro=0,
        models=(model_terms(model),),
        profiles=tuple(
            ProfileTerms(model=profile.model, layer_stop=profile.layer_stop, profile=profile.digest)
            for profile in sorted(profiles, key=lambda profile: profile.layer_stop)
        ),
    )


def model_terms(model: ModelDescription) -> ModelTerms:
    """The model as the tariff sees it."""
    shape = model.shape
    name = re.sub(r"[^a-z0-9._-]+", "-", model.name.lower()).strip("-")[:64] or "model"
    return ModelTerms(
        model=model.digest,
        name=name,
        layers=shape.layers,
        hidden=shape.hidden,
        ff=shape.ff,
        heads=shape.heads,
        kv_heads=shape.kv_heads,
        head_dim=shape.head_dim,
        micro_per_tflop=MICRO_PER_TFLOP,
    )
