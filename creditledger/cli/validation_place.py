"""Where a validator works: over a directory, or far from it, over HTTP. Source: specs/cli.md §11."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

import click

from creditledger.cli.opening import account_id, reading, writing
from creditledger.errors import StorageError

if TYPE_CHECKING:
    from creditledger.activations.runners.numpy_llama import NumpyLlama
    from creditledger.ledger.ledger import Acknowledgement, Ledger
    from creditledger.records.entry import Submission
    from creditledger.service.http_evidence import EvidencePlace
    from creditledger.validation.reruns import Reruns
    from creditledger.validation.validator import Validator
    from creditledger.validation.validator_key import ValidatorKey

PATIENCE_MS_MAX: Final = 60_000
"""How long a validator far from the nodes waits for inputs that are still on their way."""

Runners: TypeAlias = dict[bytes, "NumpyLlama"]


@contextmanager
def validator_here(
    path: Path,
    key: "ValidatorKey",
    runners: "Runners",
    journal: Path,
    *,
    reruns: "Reruns | None" = None,
) -> "Iterator[Validator]":
    """Over the ledger in the directory ``path``, which it opens for each submission and lets go."""
    from creditledger.ledger.directory import LedgerDirectory
    from creditledger.ledger.source import DirectorySource
    from creditledger.transparency.trust_policy import TrustPolicy
    from creditledger.validation.evidence import DirectoryEvidence
    from creditledger.validation.validator import Validator

    def submit(submission: "Submission") -> "Acknowledgement":
        with writing(path) as ledger:
            return ledger.append(submission)

    directory, beside = LedgerDirectory(path), DirectoryEvidence(path)
    validator = Validator(
        DirectorySource(directory.public),
        key=key,
        runner=runners,
        journal=journal,
        evidence=beside,
        sink=beside,
        policy=TrustPolicy.load(directory.policy),
        submit=submit,
        reruns=reruns,
    )
    try:
        yield validator
    finally:
        validator.close()


@contextmanager
def validator_afar(
    copy: Path,
    key: "ValidatorKey",
    runners: "Runners",
    journal: Path,
    *,
    evidence: Sequence[tuple[str, str]],
    reruns: "Reruns | None" = None,
) -> "Iterator[Validator]":
    """Over the pool that ``copy`` is a copy of: it reads, submits and fetches evidence over HTTP.

    ``evidence``: node, or nothing for the pool, and URL of each place asked before the pool's own. The copy
    may be thrown away at any time: what must last is in the journal. Raises UnknownIdError,
    MalformedRecordError, BusyError."""
    from creditledger.credits.reading import parameters_in_force
    from creditledger.ledger.opening import open_ledger
    from creditledger.service.http_evidence import HttpEvidence
    from creditledger.service.http_source import HttpSource
    from creditledger.service.remote.copies import TOKEN
    from creditledger.validation.validator import Validator

    def submit(submission: "Submission") -> "Acknowledgement":
        with open_ledger(copy, read_only=False) as ledger:
            return ledger.append(submission)

    with reading(copy) as ledger:
        url = _url_of(ledger)
        places = [*_places(ledger, evidence), _pools_own(ledger, url)]
        found = HttpEvidence(places, signer=key.bls, ledger_id=ledger.id)
        with ledger.read() as state:
            grace_ms = parameters_in_force(state).grace_ms
        policy = ledger.policy()
    source = HttpSource(url, token=os.environ.get(TOKEN, ""))
    validator = Validator(
        source,
        key=key,
        runner=runners,
        journal=journal,
        evidence=found,
        sink=found,
        policy=policy,
        submit=submit,
        patience_ms=min(PATIENCE_MS_MAX, grace_ms // 2),
        reruns=reruns,
    )
    try:
        yield validator
    finally:
        validator.close()
        found.close()
        source.close()


def _url_of(ledger: "Ledger") -> str:
    from creditledger.ledger.remote_ledger import RemoteLedger

    if not isinstance(ledger, RemoteLedger):
        raise StorageError("the ledger is no copy of one at a URL", found=str(ledger.path)[-100:])
    return ledger.url


def _pools_own(ledger: "Ledger", url: str) -> "EvidencePlace":
    from creditledger.service.http_evidence import POOLS_OWN, EvidencePlace

    return EvidencePlace(url=url + POOLS_OWN, audience=ledger.id)


def place_texts(
    ctx: click.Context, param: click.Parameter, value: tuple[str, ...]
) -> tuple[tuple[str, str], ...]:
    """Converts ``[NODE@]URL``, each to the node, or nothing, and the URL."""
    found = []
    for text in value:
        node, at, url = text.partition("@")
        if not at or "/" in node:
            node, url = "", text
        if not url.startswith(("http://", "https://")):
            raise click.BadParameter(f"expected [NODE@]URL, not {text[:200]!r}", ctx, param)
        found.append((node, url))
    return tuple(found)


def _places(ledger: "Ledger", evidence: Sequence[tuple[str, str]]) -> "list[EvidencePlace]":
    from creditledger.service.http_evidence import EvidencePlace

    with ledger.read() as state:
        owners = [account_id(state, node) if node else ledger.id for node, _ in evidence]
    return [EvidencePlace(url=url, audience=owner) for (_, url), owner in zip(evidence, owners, strict=True)]
