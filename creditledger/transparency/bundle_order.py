"""The client's side of a receipt: the job it was run for, and the countersignature over it.

Source: specs/bundle.md §3."""

from creditledger.errors import VerificationError
from creditledger.records.job import Job
from creditledger.records.receipt import ChainHead, Delivery, Receipt
from creditledger.transparency.bundle import Bundle, decode_part
from creditledger.transparency.bundle_signers import Signers


def verify_order(bundle: Bundle, receipt: Receipt, signers: Signers) -> bool:
    """Check the job and the delivery, as far as they are there; whether the delivery covers the receipt.

    Raises MalformedBundleError, SignatureError, else VerificationError: a job or a delivery is that
    receipt's or an error. Source: specs/bundle.md §3."""
    if not bundle.job:
        return False
    job = decode_part(Job, bundle.job[0].record)
    _require_job_of(receipt, job, bundle.ledger)
    signers.verify(bundle.job[0], job.client)
    if not bundle.delivery:
        return False
    delivery = decode_part(Delivery, bundle.delivery[0].record)
    if delivery.client != job.client or delivery.job != receipt.job:
        raise VerificationError("delivery is of another job", expected=receipt.job.hex())
    if not any(_covers(head, receipt, bundle.ledger) for head in delivery.heads):
        raise VerificationError(
            "delivery does not cover the receipt",
            expected=f"a head of layer {receipt.layer_start} from position {_stop(receipt)} on",
            found=", ".join(f"layer {head.layer_start} to {head.positions}" for head in delivery.heads),
        )
    signers.verify(bundle.delivery[0], job.client)
    return True


def _require_job_of(receipt: Receipt, job: Job, ledger_id: bytes) -> None:
    span = job.span_of(receipt.layer_start)
    is_planned = (
        span is not None and span.node == receipt.node and span.layer_stop == receipt.layer_stop
    ) and job.model == receipt.model
    if job.digest(ledger_id) != receipt.job or not is_planned:
        raise VerificationError(
            "job is not the one the receipt names, or plans other work",
            expected=receipt.job.hex(),
            found=job.digest(ledger_id).hex(),
        )


def _covers(head: ChainHead, receipt: Receipt, ledger_id: bytes) -> bool:
    if head.layer_start != receipt.layer_start or head.node != receipt.node:
        return False
    # A head names the receipt that ends at its position: there is no other of that window.
    if head.positions == _stop(receipt):
        return head.receipt == receipt.digest(ledger_id)
    return head.positions > _stop(receipt)


def _stop(receipt: Receipt) -> int:
    return receipt.window_start + receipt.positions
