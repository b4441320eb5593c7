"""A body that is taken piece by piece: bounded in bytes and in time. Source: specs/service.md §6.1."""

import asyncio
from collections.abc import AsyncIterator
from typing import Final

from starlette.types import Receive

from creditledger.service.pool.arriving_bodies import BODY_BYTES_PER_SECOND
from creditledger.service.pool.problems import Problem, plain_problem

PIECE_BYTES: Final = 1 << 20
_CLOSE: Final = {"connection": "close"}


class UnfitBodyError(Exception):
    """The body is not what was announced, or too late; ``problem`` says it to whoever sent it."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.detail)
        self.problem = problem


async def pieces_of(receive: Receive, *, size: int, seconds: float) -> AsyncIterator[bytes]:
    """The body's ``size`` bytes, in pieces of about `PIECE_BYTES`.

    ``seconds``: how long it may take, and one more for each `BODY_BYTES_PER_SECOND` that came. Raises
    UnfitBodyError for a longer, a shorter and a slower one, and where nobody is there any more."""
    began, got, piece = asyncio.get_running_loop().time(), 0, bytearray()
    while True:
        try:
            async with asyncio.timeout_at(began + seconds + got / BODY_BYTES_PER_SECOND):
                message = await receive()
        except TimeoutError:
            raise UnfitBodyError(plain_problem(408, headers=_CLOSE)) from None
        if message["type"] != "http.request":
            raise UnfitBodyError(plain_problem(400, "the body ended early", headers=_CLOSE))
        piece += message.get("body", b"")
        got += len(message.get("body", b""))
        is_last = not message.get("more_body", False)
        if got > size or (is_last and got < size):
            told = {"expected": f"{size} bytes", "found": f"{got} bytes"}
            raise UnfitBodyError(plain_problem(400, "not the length announced", headers=_CLOSE, **told))
        if len(piece) >= PIECE_BYTES or is_last:
            yield bytes(piece)
            piece.clear()
        if is_last:
            return
