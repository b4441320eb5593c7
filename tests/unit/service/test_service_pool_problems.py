"""The table from errors to statuses is whole, and an event is one line."""

import errno
import io
import json

import pytest

from creditledger import errors
from creditledger.errors import CreditLedgerError, StorageError
from creditledger.service.pool.event_log import TEXT_MAX, EventLog
from creditledger.service.pool.problems import plain_problem, problem_of

STATUS = {
    "MalformedRecordError": 400, "ActivationError": 400, "KeyFormatError": 400, "VerificationError": 422,
    "MalformedBundleError": 422, "SignatureError": 422, "InclusionProofError": 422,
    "ConsistencyProofError": 422, "OpeningError": 422, "CertificateError": 422, "PolicyError": 422,
    "BusyError": 503, "IntegrityError": 503, "RollbackError": 503, "StorageError": 503, "RefusedError": 422,
    "ConflictError": 409, "UnknownIdError": 404, "RoleError": 403, "InsufficientCreditError": 402,
    "LimitError": 422, "AccountClosedError": 422, "FailedIdError": 409, "AmountError": 400,
    "HoldExpiredError": 410, "HoldClosedError": 409, "ExpiredError": 410, "TokenError": 401,
    "RateLimitError": 429,
}  # fmt: skip
KINDS = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, CreditLedgerError) and kind is not CreditLedgerError
]


@pytest.mark.parametrize("kind", KINDS)
def test_each_error_has_the_status_of_the_table(kind: type[CreditLedgerError]) -> None:
    """specs/service.md §2."""
    if kind is errors.ForkError:
        return
    problem = problem_of(kind("said\nso", expected="a", found="b\x1b[2J"))
    told = json.loads(problem.body)
    assert told["status"] == problem.status == STATUS[kind.__name__]
    assert (told["error"], told["exit"], told["detail"]) == (kind.__name__, kind.exit_code, "said so")
    assert told["found"] == "b [2J"
    assert ("retry-after" in problem.headers) == (problem.status in (429, 503))
    assert ("www-authenticate" in problem.headers) == (problem.status == 401)


def test_a_name_becomes_a_type() -> None:
    told = json.loads(problem_of(errors.InsufficientCreditError("no")).body)
    assert told["type"] == "urn:creditledger:problem:insufficient-credit-error"
    assert json.loads(plain_problem(404).body)["type"] == "urn:creditledger:problem:unknown-path"


@pytest.mark.parametrize(("number", "status"), [(errno.ENOSPC, 507), (errno.EDQUOT, 507), (errno.EIO, 503)])
def test_a_disk_without_room_is_told_from_one_that_fails(number: int, status: int) -> None:
    error = StorageError("no")
    error.__cause__ = OSError(number, "x")
    assert problem_of(error).status == status


@pytest.mark.parametrize("text", ["a\r\nb", '{"event":"x"}', "\x1b[31m", "\u2028", "\udc80", "x" * 10_000])
def test_an_event_is_one_bounded_line_of_ascii(text: str) -> None:
    """D6."""
    stream = io.StringIO()
    log = EventLog(stream, clock=lambda: 7)
    log.note("seen", text=text)
    log.error("failed", StorageError(text))
    lines = stream.getvalue().splitlines()
    assert [json.loads(line)["event"] for line in lines] == ["seen", "failed"]
    assert json.loads(lines[0])["text"] == text[:TEXT_MAX]
    assert all(line.isascii() and line.isprintable() and len(line) < 4_000 for line in lines)
