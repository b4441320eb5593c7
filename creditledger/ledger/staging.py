"""What front ends hand to the sequencer through a table, and what it answers. Source: specs/postgres.md §4.

A row's body is sealed with a key that only the operator's front ends can make: what stands in it is taken at
their word."""

import hashlib
import hmac
import select
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from creditledger.errors import VerificationError
from creditledger.ledger.postgres_rows import in_schema
from creditledger.ledger.postgres_session import DatabaseUrl, asking, connect, server_errors

if TYPE_CHECKING:
    import psycopg

from creditledger.transparency.keys import Ed25519Signer

ROWS_AT_ONCE: Final = 256
BYTES_AT_ONCE: Final = 8 * 1024 * 1024
SEAL_SIZE: Final = 32
LEFT_OVER: Final = "1 hour"
"""After so long, an outcome that nobody fetched is for nobody."""
_STAGE: Final = (
    "INSERT INTO {}.staged (body) SELECT body FROM unnest(%b::bytea[]) WITH ORDINALITY "
    "AS given (body, place) ORDER BY place RETURNING id"
)
_WAITING: Final = (
    "SELECT id, body FROM (SELECT id, body, sum(length(body)) OVER (ORDER BY id) - length(body) AS before "
    f"FROM {{}}.staged WHERE outcome IS NULL ORDER BY id LIMIT {ROWS_AT_ONCE}) AS first "
    f"WHERE before < {BYTES_AT_ONCE} ORDER BY id"
)
_FETCH: Final = (
    "DELETE FROM {}.staged WHERE id = ANY(%b::bigint[]) AND outcome IS NOT NULL RETURNING id, outcome"
)
OUTCOMES: Final = (
    "UPDATE {}.staged SET outcome = said.outcome FROM unnest(%b::bigint[], %b::bytea[]) "
    "AS said (id, outcome) WHERE staged.id = said.id"
)
"""What the sequencer runs in the transaction of a group."""


class StagingKey:
    """Seals what one front end stages and another integrates."""

    __slots__ = ("_key",)

    def __init__(self, operator: Ed25519Signer, ledger_id: bytes) -> None:
        """Ed25519 signatures are deterministic: whoever holds the operator's key finds the same."""
        signed = operator.sign(b"creditledger/v1/staging\0" + ledger_id)
        self._key = hashlib.sha256(signed).digest()

    def seal(self, content: bytes) -> bytes:
        """``content`` behind its seal."""
        return self._seal_of(content) + content

    def open(self, body: bytes) -> bytes:
        """The inverse of `seal`. Raises VerificationError for what no front end has sealed."""
        content = body[SEAL_SIZE:]
        if not hmac.compare_digest(body[:SEAL_SIZE], self._seal_of(content)):
            raise VerificationError("a staged row has another seal", expected="the operator's")
        return content

    def _seal_of(self, content: bytes) -> bytes:
        return hmac.digest(self._key, content, "sha256")


class Staging:
    """The table of one ledger's staged submissions, through a session of its own. For one thread."""

    def __init__(self, url: DatabaseUrl) -> None:
        """Raises StorageError."""
        self._url = url
        self._session: psycopg.Connection[Any] = connect(url, name="front end")
        try:
            with server_errors():
                self._session.execute(f'LISTEN "{url.channel}"'.encode())
        except BaseException:
            self._session.close()
            raise

    def stage(self, bodies: Sequence[bytes]) -> list[int]:
        """Keep ``bodies`` durably, in order, for the sequencer; their numbers. Raises StorageError."""
        rows = self._run(_STAGE, [list(bodies)])
        self._run("SELECT pg_notify(%t, '')", [self._url.channel])
        return [int(row[0]) for row in rows]

    def waiting(self) -> list[tuple[int, bytes]]:
        """The first that have no outcome yet, in order. Raises StorageError."""
        return [(int(number), bytes(body)) for number, body in self._run(_WAITING, [])]

    def answer(self, outcomes: dict[int, bytes]) -> None:
        """Say what became of rows that changed nothing. Raises StorageError."""
        self._run(OUTCOMES + " RETURNING staged.id", [list(outcomes), list(outcomes.values())])
        self.tell()

    def tell(self) -> None:
        """Wake all front ends. Raises StorageError."""
        self._run("SELECT pg_notify(%t, '')", [self._url.channel])

    def fetch(self, numbers: Sequence[int]) -> dict[int, bytes]:
        """Take the outcomes that are there, of those. Raises StorageError."""
        return {int(number): bytes(outcome) for number, outcome in self._run(_FETCH, [list(numbers)])}

    def forget_left_over(self) -> None:
        """Drop outcomes that nobody fetches any more. Raises StorageError."""
        self._run(
            "DELETE FROM {}.staged WHERE outcome IS NOT NULL "
            f"AND staged < now() - interval '{LEFT_OVER}' RETURNING id",
            [],
        )

    def wait(self, wake: int, *, seconds: float) -> bool:
        """Wait for news, or for something to read from the descriptor ``wake``; whether there was news."""
        with server_errors():
            select.select([self._session.fileno(), wake], [], [], seconds)
            return bool(list(self._session.notifies(timeout=0)))

    def close(self) -> None:
        """End the session."""
        with suppress(Exception):
            self._session.close()

    def _run(self, statement: str, parameters: list[Any]) -> list[tuple[Any, ...]]:
        return asking(self._session)(in_schema(statement, self._url.quoted), parameters)
