"""`validate`: a committee member's loop. Source: specs/cli.md §11."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from creditledger.cli.listening import ends_on_sigterm
from creditledger.cli.opening import reading, writing
from creditledger.cli.options import (
    INPUT_FILE,
    json_option,
    key_file,
    ledger_argument,
    model_option,
    model_path,
)
from creditledger.cli.output import emit, note
from creditledger.cli.validation_place import place_texts, validator_afar, validator_here
from creditledger.errors import BusyError, RoleError, UnknownIdError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from creditledger.cli.validation_place import Runners
    from creditledger.ledger.ledger import Ledger
    from creditledger.validation.reruns import Reruns
    from creditledger.validation.validator import Action, Validator
    from creditledger.validation.validator_key import ValidatorKey

STEPS_AT_ONCE: Final = 64

T = TypeVar("T")


@click.command()
@ledger_argument
@model_option
@click.option("--key", "key_path", required=True, type=INPUT_FILE, callback=key_file)
@click.option("--once", is_flag=True, help="Do what is due now, then end.")
@click.option("--interval", type=click.IntRange(1, 86_400), default=5, show_default=True, metavar="SECONDS")
@click.option("--journal", "journal_path", type=click.Path(path_type=Path), help="Default: KEY.journal.")
@click.option(
    "--evidence",
    multiple=True,
    metavar="[NODE@]URL",
    callback=place_texts,
    help="Where LEDGER is a URL: asked for evidence before the pool.",
)
@click.option("--ray", metavar="ADDRESS", help="Re-execute on this Ray cluster: HOST:PORT, auto or local.")
@click.option("--ray-workers", type=click.IntRange(1, 10_000), metavar="N", help="Default: its processors.")
@json_option
def validate(
    ledger: Path,
    model: str,
    key_path: Path,
    once: bool,
    interval: int,
    journal_path: Path | None,
    evidence: tuple[tuple[str, str], ...],
    ray: str | None,
    ray_workers: int | None,
    as_json: bool,
) -> None:
    """Certify rounds and check the receipts that are drawn for this validator, until interrupted.

    What it promises is in its journal before it is signed: keep that beside the key, for both together
    are the validator. With --once it ends when nothing is due."""
    from creditledger.ledger.opening import is_copy

    journal = journal_path or key_path.with_name(key_path.name + ".journal")
    is_afar = is_copy(ledger)
    if evidence and not is_afar:
        raise click.UsageError("--evidence is for a LEDGER at a URL: a directory has its own")
    if ray_workers and not ray:
        raise click.UsageError("--ray-workers is for --ray")

    def begin() -> "tuple[Validator, Runners]":
        with reading(ledger) as found:
            key, runners = _seated_key(found, key_path), _runners(found, model)
        with ExitStack() as tried:
            reruns = None
            if ray and runners:
                reruns = tried.enter_context(_on_ray(ray, model, runners, workers=ray_workers))
            place = (
                validator_afar(ledger, key, runners, journal, evidence=evidence, reruns=reruns)
                if is_afar
                else validator_here(ledger, key, runners, journal, reruns=reruns)
            )
            validator = tried.enter_context(place)
            opened.push(tried.pop_all())
        return validator, runners

    with ends_on_sigterm(), ExitStack() as opened:
        try:
            # Whoever starts before its pool waits for it.
            validator, runners = _patiently(begin, interval) if is_afar and not once else begin()
            advance = _nothing if is_afar else partial(_advance, ledger)
            _work(validator, runners, advance, interval=None if once else interval, as_json=as_json)
        except KeyboardInterrupt:
            note("stopped")
    if once and not as_json:
        note("nothing more is due")


def _work(
    validator: "Validator",
    runners: "Runners",
    advance: Callable[[], None],
    *,
    interval: int | None,
    as_json: bool,
) -> None:
    """Do what is due every ``interval`` seconds; None: once."""
    while True:
        was_idle = True
        for action in _due(validator, advance, is_patient=interval is not None):
            was_idle = False
            emit(_row(action), as_json=as_json)
        if interval is None:
            return
        if was_idle:
            for runner in runners.values():
                runner.release()
        time.sleep(interval)


def _patiently(begin: Callable[[], T], interval: int) -> T:
    """What ``begin`` gives, as soon as it is not busy any more."""
    while True:
        try:
            return begin()
        except BusyError as error:
            note(f"busy, trying again later: {error}")
        time.sleep(interval)


def _seated_key(ledger: "Ledger", path: Path) -> "ValidatorKey":
    from creditledger.credits.reading import parameters_in_force
    from creditledger.validation.validator_key import ValidatorKey

    key = ValidatorKey.load(path, ledger_id=ledger.id)
    with ledger.read() as state:
        committee = parameters_in_force(state).committee
    if key.member_index(committee) is None:
        raise RoleError("the key has no seat on the committee", found=key.bls.public_key.hex())
    return key


def _runners(ledger: "Ledger", model: str) -> "Runners":
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


def _on_ray(
    address: str, model: str, runners: "Runners", *, workers: int | None
) -> "AbstractContextManager[Reruns]":
    from creditledger.adapters.ray_reruns import ray_reruns

    (digest,) = runners
    return ray_reruns(address, model_path(model), digest=digest, workers=workers)


def _due(validator: "Validator", advance: Callable[[], None], *, is_patient: bool) -> "Iterator[Action]":
    """Step by step what is due, until nothing is. Between steps others may write."""
    try:
        for _ in range(STEPS_AT_ONCE):
            advance()
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


def _nothing() -> None:
    """A pool that is served advances by itself."""


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
