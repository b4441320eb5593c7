"""`prove`: proofs out of a ledger. Source: specs/cli.md §8."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from creditledger.cli.opening import as_digest, reading
from creditledger.cli.options import OUTPUT_FILE, json_option, place_argument
from creditledger.cli.output import emit
from creditledger.cli.output_file import output_file
from creditledger.errors import MalformedRecordError, UnknownIdError

if TYPE_CHECKING:
    from creditledger.ledger.prove import Level


@click.command()
@place_argument
@click.argument("subject_id", metavar="ID")
@click.option("--absent", is_flag=True, help="Prove that no record with this digest was ever accepted.")
@click.option("-o", "proof_path", required=True, metavar="FILE", type=OUTPUT_FILE)
@click.option(
    "--format",
    "form",
    type=click.Choice(["bundle", "tlog-proof"]),
    default="bundle",
    show_default=True,
    help="tlog-proof: a text that other logs' tools read; it proves that an entry was logged, no more.",
)
@click.option(
    "--entry", "entry_path", metavar="FILE", type=OUTPUT_FILE, help="For a tlog-proof: write the entry here."
)
@click.option(
    "--policy",
    "policy_path",
    type=click.Path(path_type=Path),
    is_eager=True,
    help="The reader's: a bundle carries only signatures that it knows. Default: LEDGER/policy.",
)
@click.option(
    "--level",
    type=click.Choice(["signed", "logged", "certified"]),
    default="certified",
    show_default=True,
    help="For a receipt: carry proofs up to here, as far as the ledger has come.",
)
@json_option
def prove(
    ledger: Path,
    subject_id: str,
    absent: bool,
    proof_path: Path,
    form: Literal["bundle", "tlog-proof"],
    entry_path: Path | None,
    policy_path: Path | None,
    level: "Level",
    as_json: bool,
) -> None:
    """Write a proof of ID to anyone with the policy file.

    ID is the digest of a receipt, batch or hold, an account's id or name, or an account's key. For a
    tlog-proof it is the digest of any logged record, of a receipt, or an entry's index."""
    from creditledger.ledger.prove import prover
    from creditledger.ledger.prove_by_id import bundle_of
    from creditledger.transparency.trust_policy import TrustPolicy

    if absent and form == "tlog-proof":
        raise click.UsageError("--absent takes a bundle: a tlog-proof shows what is in the log only")
    if entry_path is not None and form != "tlog-proof":
        raise click.UsageError("--entry goes with --format tlog-proof: a bundle holds its entry")
    policy = None if policy_path is None else TrustPolicy.load(policy_path)
    index: dict[str, int] = {}
    with reading(ledger) as opened, prover(opened, policy) as proving, output_file(proof_path) as write:
        if absent:
            subject, encoded = "absent", proving.absent(_digest(subject_id))
        elif form == "bundle":
            subject, encoded = bundle_of(proving, subject_id, most=level)
        else:
            proof = proving.tlog_proof(_entry(subject_id))
            subject, encoded, index = "entry", proof.encode(), {"index": proof.index}
            if entry_path is not None:
                with output_file(entry_path) as write_entry:
                    write_entry(proving.log.entry_bytes(proof.index))
        write(encoded)
    answer = {"subject": subject, "id": subject_id, "file": proof_path, "bytes": len(encoded)}
    emit(answer | {"size": proving.size} | index, as_json=as_json)


def _entry(text: str) -> int | bytes:
    """The index or digest that ``text`` spells. Raises UnknownIdError."""
    from creditledger.transparency.checkpoint import parse_decimal

    digest = as_digest(text)
    if digest is not None:
        return digest
    try:
        return parse_decimal(text.encode("utf-8", "surrogateescape"))
    except MalformedRecordError:
        raise UnknownIdError(
            "no entry is called so", expected="a record's digest or an index", found=ascii(text)[:80]
        ) from None


def _digest(text: str) -> bytes:
    digest = as_digest(text)
    if digest is None:
        raise click.UsageError("--absent takes a record's digest: 64 lower-case hex digits")
    return digest
