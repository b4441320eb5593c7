"""`POST /v1/records`, and a hold's life: what changes a ledger over HTTP. Source: specs/service.md §2."""

from collections.abc import Callable, Sequence
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from creditledger.errors import CreditLedgerError, MalformedRecordError, UnknownIdError
from creditledger.ledger.naming import as_digest
from creditledger.records import canonical
from creditledger.records.entry import Submission
from creditledger.records.record import Record
from creditledger.records.transfer import Capture, Hold, Release
from creditledger.service.pool.appending import Appending
from creditledger.service.pool.request_bounds import BODY_BYTES_MAX
from creditledger.service.pool.tellings import tell_one, tell_records

RECORDS_MAX: Final = 256


def records_routes(appending: Appending) -> list[BaseRoute]:
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
        def read(body: bytes) -> Sequence[Submission]:
            submission = Submission.decode(body)
            if not is_asked_for(submission.record):
                kind = submission.record.KIND.name.lower()
                raise MalformedRecordError("not the record of this path", found=kind)
            return [submission]

        return await appending.answer(request, read, tell_one)

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


def _submission(element: object, room: canonical.Room) -> Submission | CreditLedgerError:
    if not isinstance(element, bytes):
        raise MalformedRecordError(
            "not a list of records", expected="byte strings", found=type(element).__name__
        )
    try:
        return Submission.decode(element, room=room)
    except CreditLedgerError as error:
        return error


def _hold_id(request: Request) -> bytes:
    digest = as_digest(request.path_params["id"])
    if digest is None:
        raise UnknownIdError("no hold is called so", expected="64 lower-case hex digits")
    return digest
