"""`validate`: a committee member's loop over a ledger in a directory. Source: specs/cli.md §11."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from creditledger.cli.opening import reading, writing
from creditledger.cli.options import (
    INPUT_FILE,
    directory_argument,
    json_option,
    key_file,
    model_option,
    model_path,
)
from creditledger.cli.output import emit, note
from creditledger.errors import BusyError, RoleError, UnknownIdError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from creditledger.activations.runners.numpy_llama import NumpyLlama
    from creditledger.ledger.ledger import Acknowledgement, Ledger
    from creditledger.records.entry import Submission
    from creditledger.validation.validator import Action, Validator
    from creditledger.validation.validator_key import ValidatorKey

STEPS_AT_ONCE: Final = 64


@click.command()
@directory_argument
@model_option
@click.option("--key", "key_path", required=True, type=INPUT_FILE, callback=key_file)
@click.option("--once", is_flag=True, help="Do what is due now, then end.")
@click.option("--interval", type=click.IntRange(1, 86_400), default=5, show_default=True, metavar="SECONDS")
@click.option("--journal", "journal_path", type=click.Path(path_type=Path), help="Default: KEY.journal.")
@json_option
def validate(
    ledger: Path,
    model: str,
    key_path: Path,
    once: bool,
    interval: int,
    journal_path: Path | None,
    as_json: bool,
) -> None:
    """Certify rounds and check the receipts that are drawn for this validator, until interrupted.

    What it promises is in its journal before it is signed: keep that beside the key, for both together
    are the validator. With --once it ends when nothing is due."""
    journal = journal_path or key_path.with_name(key_path.name + ".journal")
    with reading(ledger) as opened:
        key = _seated_key(opened, key_path)
        runners = _runners(opened, model)
    validator = _validator(ledger, key, runners, journal)
    try:
        while True:
            was_idle = True
            for action in _due(ledger, validator, is_patient=not once):
                was_idle = False
                emit(_row(action), as_json=as_json)
            if once:
                break
            if was_idle:
                for runner in runners.values():
                    runner.release()
            time.sleep(interval)
    except KeyboardInterrupt:
        note("stopped")
    finally:
        validator.close()
    if once and not as_json:
        note("nothing more is due")


def _seated_key(ledger: "Ledger", path: Path) -> "ValidatorKey":
    from creditledger.credits.reading import parameters_in_force
    from creditledger.validation.validator_key import ValidatorKey

    key = ValidatorKey.load(path, ledger_id=ledger.id)
    with ledger.read() as state:
        committee = parameters_in_force(state).committee
    if key.member_index(committee) is None:
        raise RoleError("the key has no seat on the committee", found=key.bls.public_key.hex())
    return key


def _runners(ledger: "Ledger", model: str) -> "dict[bytes, NumpyLlama]":
    """The model's runner by its digest; none where the pool has no model to check."""
    from creditledger.credits.reading import parameters_in_force

    path = model_path(model)
    with ledger.read() as state:
        parameters = parameters_in_force(state)
    if not parameters.models:
        return {}
    from creditledger.activations.runners.numpy_llama import NumpyLlama
    from creditledger.activations.runners.weights import load_model

    loaded = load_model(path)
    digest = loaded.description.digest
    if parameters.model_terms(digest) is None:
        listed = ", ".join(terms.name for terms in parameters.models)
        raise UnknownIdError("the pool does not list this model", expected=listed, found=digest.hex())
    return {digest: NumpyLlama(loaded)}


def _validator(
    path: Path, key: "ValidatorKey", runners: "dict[bytes, NumpyLlama]", journal: Path
) -> "Validator":
    from creditledger.ledger.directory import LedgerDirectory
    from creditledger.ledger.source import DirectorySource
    from creditledger.transparency.trust_policy import TrustPolicy
    from creditledger.validation.evidence import DirectoryEvidence
    from creditledger.validation.validator import Validator

    def submit(submission: "Submission") -> "Acknowledgement":
        with writing(path) as ledger:
            return ledger.append(submission)

    directory, beside = LedgerDirectory(path), DirectoryEvidence(path)
    return Validator(
        DirectorySource(directory.public),
        key=key,
        runner=runners,
        journal=journal,
        evidence=beside,
        sink=beside,
        policy=TrustPolicy.load(directory.policy),
        submit=submit,
    )


def _due(path: Path, validator: "Validator", *, is_patient: bool) -> "Iterator[Action]":
    """Step by step what is due, until nothing is. Between steps others may write."""
    try:
        for _ in range(STEPS_AT_ONCE):
            _advance(path)
            actions = validator.step()
            yield from actions
            if not actions:
                return
    except BusyError as error:
        if not is_patient:
            raise
        note(f"busy, trying again later: {error}")


def _advance(path: Path) -> None:
    from creditledger.ledger.rounds import advance

    with writing(path) as ledger:
        advance(ledger)


def _row(action: "Action") -> dict[str, Any]:
    from creditledger.validation.validator import Committed, Missed, Revealed

    row: dict[str, Any] = {"action": type(action).__name__.lower(), "round": action.round}
    if isinstance(action, Missed):
        return row | {"reason": action.reason}
    row["index"] = action.acknowledgement.index
    if isinstance(action, Committed):
        row["judgements"] = [
            {"receipt": receipt, "outcome": judged.outcome.name.lower(), "reason": judged.reason.name.lower()}
            for receipt, judged in action.judgements.items()
        ]
    if isinstance(action, Revealed):
        row["verdicts"] = action.verdicts
    return row
