"""From a request's bytes to an answer that is durable: filter, group commit, kept answers.

Source: specs/service.md §2."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Future
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final, Protocol, TypeAlias

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from creditledger.errors import CreditLedgerError, MalformedRecordError
from creditledger.ledger.clock import Clock
from creditledger.ledger.ledger import Ledger
from creditledger.ledger.writer import Outcome
from creditledger.records.entry import Submission
from creditledger.service.pool import kept_answers
from creditledger.service.pool.keeping import Keeping, answer_to
from creditledger.service.pool.kept_answers import Answer, KeyedRequest
from creditledger.service.pool.problems import MEDIA_TYPE as PROBLEM
from creditledger.service.pool.problems import plain_problem
from creditledger.service.pool.tellings import Telling

TOKEN: Final = "creditledger.token"
"""Where in the ASGI scope the id of the request's bearer token stands, once somebody has checked it."""
MSGPACK: Final = "application/msgpack"
KEY_HEADER: Final = "idempotency-key"


class SubmissionFilter(Protocol):
    """Says what may not even be tried."""

    def check(
        self, submissions: Sequence[Submission], token: str | None
    ) -> Sequence[CreditLedgerError | None]:
        """One error or None for each submission, in order. ``token``: the id of the bearer's."""


class Commits(Protocol):
    """Makes submissions durable, in this process or in another."""

    def submit(
        self, submissions: Sequence[Submission], *, size: int, also: Keeping | None = None
    ) -> Future[list[Outcome]]:
        """See `GroupCommit.submit`."""

    @property
    def waiting(self) -> int:
        """Submissions that no commit has taken yet."""


Reading: TypeAlias = Callable[[bytes], Sequence[Submission | CreditLedgerError]]
"""What a body asks for: submissions, and errors where it spells none. Raises for another body."""


@dataclass(slots=True)
class _Turn:
    lock: asyncio.Lock
    users: int = 0


class Appending:
    """What every route that appends does."""

    def __init__(
        self,
        ledger: Ledger,
        commits: Commits,
        *,
        clock: Clock,
        submission_filter: SubmissionFilter | None = None,
    ) -> None:
        self._ledger = ledger
        self._commits = commits
        self._clock = clock
        self._filter = submission_filter
        self._turns: dict[bytes, _Turn] = {}

    async def answer(self, request: Request, read: Reading, tell: Telling) -> Response:
        """Read the body, log what it asks for, and tell what became of it. Raises CreditLedgerError."""
        media_type = request.headers.get("content-type", "")
        if media_type.partition(";")[0].strip().lower() != MSGPACK:
            return plain_problem(415, expected=MSGPACK, found=ascii(media_type)).response()
        body = await request.body()
        token: str | None = request.scope.get(TOKEN)
        keys = [value for name, value in request.scope["headers"] if name == KEY_HEADER.encode()]
        if not keys:
            return _response(await self._log(body, token, read, tell, None))
        if len(keys) > 1 or not kept_answers.is_key(keys[0]):
            raise MalformedRecordError(
                "not an idempotency key", expected="one header of 1..64 visible ASCII characters"
            )
        keyed = KeyedRequest.of(
            keys[0], token=token or "", method=request.method, path=request.url.path, body=body
        )
        async with self._turn(keyed.place):
            found = await run_in_threadpool(self._find, keyed)
            if found is not None:
                return _response(found, {"idempotent-replayed": "true"})
            return _response(await self._log(body, token, read, tell, keyed))

    async def _log(
        self, body: bytes, token: str | None, read: Reading, tell: Telling, keyed: KeyedRequest | None
    ) -> Answer:
        asked = await run_in_threadpool(self._asked, body, token, read)
        submissions = [one for one in asked if isinstance(one, Submission)]

        keeping = None
        if keyed is not None:
            keeping = Keeping(
                request=keyed, telling=tell, asked=asked, ledger_id=self._ledger.id, clock=self._clock
            )
        elif not submissions:
            return answer_to(asked, (), tell, self._ledger.id)
        waiting: Future[list[Outcome]] = self._commits.submit(submissions, size=len(body), also=keeping)
        outcomes: list[Outcome] = await asyncio.wrap_future(waiting)
        return answer_to(asked, outcomes, tell, self._ledger.id)

    def _asked(
        self, body: bytes, token: str | None, read: Reading
    ) -> Sequence[Submission | CreditLedgerError]:
        asked = read(body)
        if self._filter is None:
            return asked
        submissions = [one for one in asked if isinstance(one, Submission)]
        verdicts = iter(self._filter.check(submissions, token))
        return [(next(verdicts) or one) if isinstance(one, Submission) else one for one in asked]

    def _find(self, keyed: KeyedRequest) -> Answer | None:
        with self._ledger.snapshot() as snapshot:
            return kept_answers.find(snapshot.beside, keyed, now_unix_ms=self._clock())

    @asynccontextmanager
    async def _turn(self, place: bytes) -> AsyncIterator[None]:
        """One request at a time under one key."""
        turn = self._turns.setdefault(place, _Turn(asyncio.Lock()))
        turn.users += 1
        try:
            async with turn.lock:
                yield
        finally:
            turn.users -= 1
            if turn.users == 0:
                del self._turns[place]


def _response(answer: Answer, headers: dict[str, str] | None = None) -> Response:
    media_type = PROBLEM if answer.status >= 400 else "application/json"
    return Response(answer.body, answer.status, headers=headers, media_type=media_type)
