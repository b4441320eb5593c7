"""What a client holds an answer against before it countersigns. Source: specs/service.md §8."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

from creditledger.activations.commitment import open_commitment
from creditledger.activations.delivered import Rows, boundary_key, delivered_root
from creditledger.activations.sampler import Sampler
from creditledger.activations.token_check import NOT_SAMPLED
from creditledger.adapters.answer_receipts import AnswerReceipts
from creditledger.errors import OpeningError, VerificationError
from creditledger.quantities import ZERO_DIGEST
from creditledger.records.receipt import WINDOW, OutputKind, Receipt
from creditledger.redemption.order import Order

_CUT_OFF: Final = "\ufffd"
"""What stands for a character whose last bytes were never drawn; streams leave it out."""


class ModelReader(Protocol):
    """What a client knows of a model without running it: its tokenizer, at best its embeddings too."""

    def text(self, tokens: Sequence[int]) -> str:
        """The text that a server gives for these tokens: special ones left out."""

    def prompt(self, request: Mapping[str, Any]) -> Sequence[int] | None:
        """The tokens of a request's prompt; None where the client cannot tell."""

    def rows(self, tokens: Sequence[int]) -> Rows | None:
        """What enters layer 0 for these tokens, in the format that the node delivers; None: not known."""


def verify_answer(
    answer: AnswerReceipts,
    *,
    order: Order,
    sampler: Sampler,
    ledger_id: bytes,
    request: Mapping[str, Any],
    text: str,
    reader: ModelReader,
) -> list[int]:
    """The tokens that were drawn, if the receipts are a chain over ``order`` that commits to them.

    Checked: job, node, span, model, sampler, windows from 0 on without a gap, each opening; that ``text`` is
    that of the tokens; and where ``reader`` can tell, that the prompt has the request's tokens and that what
    entered layer 0 were their rows and those of the tokens drawn. Not checked: that the model was run, which
    is the validators' to find out. Raises OpeningError, VerificationError."""
    receipts = [opened.receipt for opened in answer.receipts]
    _require_chain(receipts, order=order, sampler=sampler, ledger_id=ledger_id)
    prompt_positions, drawn = _drawn_tokens(answer)
    found = reader.text(drawn)
    if found.rstrip(_CUT_OFF) != text.rstrip(_CUT_OFF):
        raise OpeningError("receipts commit to other tokens than were received", found=ascii(found[:60]))
    prompt = reader.prompt(request)
    if prompt is None:
        return drawn
    if len(prompt) != prompt_positions:
        raise OpeningError(
            "receipts are of another prompt",
            expected=f"{len(prompt)} positions",
            found=str(prompt_positions),
        )
    rows = reader.rows([*prompt, *drawn[:-1]])
    if rows is not None:
        _require_inputs(receipts, rows, key=boundary_key(order.secret, 0))
    return drawn


def _require_chain(receipts: Sequence[Receipt], *, order: Order, sampler: Sampler, ledger_id: bytes) -> None:
    job, (span,) = order.job, order.job.plan
    digest, previous, position = job.digest(ledger_id), ZERO_DIGEST, 0
    if not receipts:
        raise VerificationError("there are no receipts for this answer", expected="one at least")
    for receipt in receipts:
        facts = (receipt.job, receipt.node, receipt.layer_start, receipt.layer_stop, receipt.model)
        if facts != (digest, span.node, span.layer_start, span.layer_stop, job.model):
            raise VerificationError("receipt is of another job, node or model", expected=digest.hex())
        if (receipt.output_kind, receipt.sampler) != (OutputKind.TOKENS, sampler.digest):
            raise VerificationError("receipt names another sampler", expected=sampler.digest.hex())
        if (receipt.previous, receipt.window_start) != (previous, position):
            raise VerificationError("receipts are not one chain", expected=f"position {position}")
        if position % WINDOW or position + receipt.positions > job.max_positions:
            raise VerificationError("receipts go beyond the order", expected=str(job.max_positions))
        previous, position = receipt.digest(ledger_id), position + receipt.positions


def _drawn_tokens(answer: AnswerReceipts) -> tuple[int, list[int]]:
    """How many positions the prompt has, and the tokens drawn after it: none is left out in between."""
    tokens: list[int] = []
    for one in answer.receipts:
        opened = open_commitment(one.salt, one.opened, receipt=one.receipt).drawn
        tokens += () if opened is None else opened.tokens
    before = next((index for index, token in enumerate(tokens) if token != NOT_SAMPLED), len(tokens))
    drawn = tokens[before:]
    if not drawn or NOT_SAMPLED in drawn:
        raise OpeningError("tokens of an answer follow one another", expected="a prompt, then its answer")
    return before + 1, drawn


def _require_inputs(receipts: Sequence[Receipt], rows: Rows, *, key: bytes) -> None:
    for receipt in receipts:
        start, stop = receipt.window_start, receipt.window_start + receipt.positions
        if stop > len(rows):
            raise OpeningError("receipts go beyond the answer", expected=str(len(rows)), found=str(stop))
        root = delivered_root(rows[start:stop], boundary_key=key, first_position=start)
        if root != receipt.input_root:
            raise OpeningError("the model was given other rows than this prompt and answer have")
