"""What a write verb does and says once its record is logged. Source: specs/cli.md §3."""

from typing import TYPE_CHECKING, Any

from creditledger.cli.output import note
from creditledger.errors import BusyError

if TYPE_CHECKING:
    from creditledger.ledger.ledger import Acknowledgement, Ledger
    from creditledger.records.record import Record
    from creditledger.transparency.bls import BlsSigner
    from creditledger.transparency.keys import Ed25519Signer


def logged(ledger: "Ledger", record: "Record", signer: "Ed25519Signer | BlsSigner") -> dict[str, Any]:
    """Sign and log a record, and bring it under a round as `placed` does; where it stands."""
    from creditledger.records.entry import Submission

    signature = signer.sign(record.signing_bytes(ledger.id))
    return placed(ledger, ledger.append(Submission(record=record, signature=signature)))


def placed(ledger: "Ledger", acknowledgement: "Acknowledgement") -> dict[str, Any]:
    """Bring the record under a certified round if that can be done here; where it stands."""
    complete(ledger)
    return {
        "index": acknowledgement.index,
        "leaf_hash": acknowledgement.leaf_hash,
        "repeated": acknowledgement.repeated,
    } | covered(ledger, acknowledgement.index)


def complete(ledger: "Ledger") -> None:
    """Close and certify a round if the validators whose keys are here are a quorum, or see whether the
    service that has the ledger does.

    A witness or clock that is not ready leaves what was logged pending, and says so on stderr."""
    from creditledger.ledger.rounds import reaches_quorum

    if not (ledger.is_remote or reaches_quorum(ledger)):
        return
    try:
        ledger.complete_round()
    except BusyError as error:
        note(f"logged, but no round could be certified: {error}")


def covered(ledger: "Ledger", index: int) -> dict[str, Any]:
    """``certified`` or ``pending``, and the latest certified round's number (None before the first)."""
    from creditledger.credits.reading import latest_certified_round

    with ledger.read() as state:
        info = latest_certified_round(state)
    is_certified = info is not None and index < info.round.log_size
    return {
        "status": "certified" if is_certified else "pending",
        "round": None if info is None else info.round.number,
    }
