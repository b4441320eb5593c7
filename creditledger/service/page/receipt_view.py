"""`/receipts/{id}` and `/verify`: what the pool says of a receipt, and what the reader's browser makes of it.

Source: specs/service.md §9.2."""

from dataclasses import dataclass
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from creditledger.credits import reading
from creditledger.credits.state import StateView
from creditledger.errors import UnknownIdError
from creditledger.ledger.naming import as_digest
from creditledger.quantities import LayerIndex, MicroCredit, Position, RoundNumber
from creditledger.records.state import ReceiptState
from creditledger.records.verdict import Outcome
from creditledger.service.page.page import Page

CHECKER: Final = ("verify/checker.js",)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptFacts:
    """What the ledger's state says of one receipt."""

    state: ReceiptState
    node: str
    client: str
    """Names; empty for one that has none."""
    client_id: bytes
    layer_stop: LayerIndex
    """Exclusive."""
    window_start: Position
    model: str
    """Its name in the pool's terms, or the beginning of its digest."""
    outcome: str
    lot_micro: MicroCredit | None
    """What its span of the job was paid, all receipts together; None before the job is settled."""
    is_vested: bool
    certified_round: RoundNumber


def receipt_view(page: Page, request: Request) -> Response:
    """`GET /receipts/{id}`. Raises UnknownIdError."""
    digest = as_digest(request.path_params["id"])
    if digest is None:
        raise UnknownIdError("no receipt's id", expected="64 lower-case hex digits")
    facts = page.kept(("receipt", digest), lambda: page.read(lambda state: receipt_facts(state, digest)))
    return page.show(
        request,
        "receipt.html",
        {"facts": facts, "receipt": digest, "ledger_id": page.ledger.id},
        title=f"Receipt {digest.hex()[:12]}",
        modules=CHECKER,
        is_live=False,
    )


def verify_view(page: Page, request: Request) -> Response:
    """`GET /verify`: the same for a bundle from a file."""
    values = {"receipt": b"", "ledger_id": page.ledger.id}
    return page.show(
        request, "verify.html", values, title="Verify", section="Verify", modules=CHECKER, is_live=False
    )


def receipt_facts(view: StateView, digest: bytes) -> ReceiptFacts:
    """Raises UnknownIdError."""
    state = reading.receipt_state(view, digest)
    job = None if state is None else reading.job_body(view, state.job)
    span = None if state is None or job is None else job.span_of(state.layer_start)
    if state is None or job is None or span is None:
        raise UnknownIdError("no such receipt", found=digest.hex())
    models = {terms.model: terms.name for terms in reading.parameters_in_force(view).models}
    windows = reading.job_receipts(view, state.job, state.layer_start)
    lot = reading.lot_state(view, state.job, state.layer_start) if state.settled else None
    certified = reading.latest_certified_round(view)
    return ReceiptFacts(
        state=state,
        node=_name(view, state.node),
        client=_name(view, job.client),
        client_id=job.client,
        layer_stop=span.layer_stop,
        window_start=next(start for start, receipt in windows if receipt == digest),
        model=models.get(job.model, job.model.hex()[:12]),
        outcome=Outcome(state.outcome).name.lower(),
        lot_micro=None if lot is None else lot.amount_micro,
        is_vested=lot is not None and bool(lot.vested),
        certified_round=0 if certified is None else certified.round.number,
    )


def _name(view: StateView, account: bytes) -> str:
    found = reading.account_state(view, account)
    return "" if found is None else found.name
