"""How outcomes are told to who asked: always the same to the same. Source: specs/service.md §2."""

import json
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias

from creditledger.errors import CreditLedgerError
from creditledger.ledger.writer import Acknowledgement, Outcome
from creditledger.records.entry import Submission
from creditledger.service.pool.kept_answers import Answer
from creditledger.service.pool.problems import printable, problem_of

Asked: TypeAlias = Sequence[Submission | CreditLedgerError]
"""What a body asks for: submissions, and errors where it spells none or none may go on."""
Telling: TypeAlias = Callable[[Sequence[Outcome], Asked, bytes], Answer]
"""The answer to the outcomes of all that was asked, in the ledger with this id."""


def tell_records(outcomes: Sequence[Outcome], asked: Asked, ledger_id: bytes) -> Answer:
    """``{"outcomes": [...]}``: the place of each record in the log, or why it has none."""
    rows = [_logged(one) if isinstance(one, Acknowledgement) else error_row(one) for one in outcomes]
    return Answer(status=200, body=_json({"outcomes": rows}))


def tell_one(outcomes: Sequence[Outcome], asked: Asked, ledger_id: bytes) -> Answer:
    """The place and digest of the one record, or the problem with it."""
    (outcome,), (submission,) = outcomes, asked
    if isinstance(outcome, Acknowledgement) and isinstance(submission, Submission):
        digest = submission.record.digest(ledger_id).hex()
        return Answer(status=201, body=_json(_logged(outcome) | {"digest": digest}))
    assert isinstance(outcome, CreditLedgerError)
    problem = problem_of(outcome)
    return Answer(status=problem.status, body=problem.body)


TELLINGS: Final[tuple[Telling, ...]] = (tell_records, tell_one)
"""By the number that front ends call them by (specs/postgres.md §4): only ever added to."""


def error_row(error: CreditLedgerError) -> dict[str, Any]:
    """An error as one of several outcomes."""
    return {
        "error": type(error).__name__,
        "message": printable(str(error)),
        "expected": printable(error.expected),
        "found": printable(error.found),
        "exit": error.exit_code,
    }


def _logged(acknowledgement: Acknowledgement) -> dict[str, Any]:
    # Nothing tells a repeat from the first time: the same request has the same answer.
    return {"index": acknowledgement.index, "leaf_hash": acknowledgement.leaf_hash.hex()}


def _json(answer: dict[str, Any]) -> bytes:
    return json.dumps(answer, separators=(",", ":")).encode()
