"""`POST /v1/records`, and a hold's life: what changes a ledger over HTTP. Source: specs/service.md §2."""

import json
from collections.abc import Callable, Sequence
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from creditledger.errors import CreditLedgerError, MalformedRecordError, UnknownIdError
from creditledger.ledger.naming import as_digest
from creditledger.ledger.writer import Acknowledgement, Outcome
from creditledger.records import canonical
from creditledger.records.entry import Submission
from creditledger.records.record import Record
from creditledger.records.transfer import Capture, Hold, Release
from creditledger.service.pool.appending import Appending
from creditledger.service.pool.kept_answers import Answer
from creditledger.service.pool.problems import printable, problem_of
from creditledger.service.pool.request_bounds import BODY_BYTES_MAX

RECORDS_MAX: Final = 256


def records_routes(appending: Appending, *, ledger_id: bytes) -> list[BaseRoute]:
    """The routes that append."""

    async def records(request: Request) -> Response:
        return await appending.answer(request, read_records, tell_records)

    async def hold(request: Request) -> Response:
        return await _one(request, lambda record: isinstance(record, Hold))

    async def capture(request: Request) -> Response:
        digest = _hold_id(request)
        return await _one(request, lambda record: isinstance(record, Capture) and record.hold == digest)

    async def release(request: Request) -> Response:
        digest = _hold_id(request)
        return await _one(request, lambda record: isinstance(record, Release) and record.hold == digest)

    async def _one(request: Request, is_asked_for: Callable[[Record], bool]) -> Response:
        read_digest: list[bytes] = []

        def read(body: bytes) -> Sequence[Submission]:
            submission = Submission.decode(body)
            if not is_asked_for(submission.record):
                kind = submission.record.KIND.name.lower()
                raise MalformedRecordError("not the record of this path", found=kind)
            read_digest.append(submission.record.digest(ledger_id))
            return [submission]

        def tell(outcomes: Sequence[Outcome]) -> Answer:
            (outcome,) = outcomes
            if isinstance(outcome, Acknowledgement):
                return Answer(status=201, body=_json(_logged(outcome) | {"digest": read_digest[0].hex()}))
            problem = problem_of(outcome)
            return Answer(status=problem.status, body=problem.body)

        return await appending.answer(request, read, tell)

    return [
        Route("/v1/records", records, methods=["POST"]),
        Route("/v1/holds", hold, methods=["POST"]),
        Route("/v1/holds/{id}/capture", capture, methods=["POST"]),
        Route("/v1/holds/{id}/release", release, methods=["POST"]),
    ]


def read_records(body: bytes) -> list[Submission | CreditLedgerError]:
    """The submissions of a canonical array of 1 to 256 byte strings; an error for each that is none, and for
    those beyond 65,535 items in all.

    Raises MalformedRecordError for another array, or none."""
    elements = canonical.decode(body, most=BODY_BYTES_MAX)
    if not isinstance(elements, list) or not 1 <= len(elements) <= RECORDS_MAX:
        raise MalformedRecordError(
            "not a list of records",
            expected=f"an array of 1..{RECORDS_MAX} byte strings",
            found=f"{len(elements)} items" if isinstance(elements, list) else type(elements).__name__,
        )
    room = canonical.Room()
    return [_submission(element, room) for element in elements]


def tell_records(outcomes: Sequence[Outcome]) -> Answer:
    """``{"outcomes": [...]}``: the place of each record in the log, or why it has none."""
    rows = [_logged(one) if isinstance(one, Acknowledgement) else error_row(one) for one in outcomes]
    return Answer(status=200, body=_json({"outcomes": rows}))


def error_row(error: CreditLedgerError) -> dict[str, Any]:
    """An error as one of several outcomes."""
    return {
        "error": type(error).__name__,
        "message": printable(str(error)),
        "expected": printable(error.expected),
        "found": printable(error.found),
        "exit": error.exit_code,
    }


def _submission(element: object, room: canonical.Room) -> Submission | CreditLedgerError:
    if not isinstance(element, bytes):
        raise MalformedRecordError(
            "not a list of records", expected="byte strings", found=type(element).__name__
        )
    try:
        return Submission.decode(element, room=room)
    except CreditLedgerError as error:
        return error


def _logged(acknowledgement: Acknowledgement) -> dict[str, Any]:
    # Nothing tells a repeat from the first time: the same request has the same answer.
    return {"index": acknowledgement.index, "leaf_hash": acknowledgement.leaf_hash.hex()}


def _hold_id(request: Request) -> bytes:
    digest = as_digest(request.path_params["id"])
    if digest is None:
        raise UnknownIdError("no hold is called so", expected="64 lower-case hex digits")
    return digest


def _json(answer: dict[str, Any]) -> bytes:
    return json.dumps(answer, separators=(",", ":")).encode()
