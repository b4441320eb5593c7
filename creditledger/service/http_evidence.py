"""Evidence in places on the network: fetched, and shipped. Source: specs/service.md §6.2.

Nothing of it is believed here: what is named by its digest is held against it, the rest when it is opened."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final
from urllib.parse import urlsplit

import httpx2

from creditledger.errors import BusyError, ConflictError, IntegrityError, MalformedRecordError
from creditledger.ledger.clock import Clock, system_clock
from creditledger.ledger.directory import FILE_BYTES_MAX
from creditledger.ledger.json_text import read_json
from creditledger.minting.handover import HANDOVER_BYTES_MAX
from creditledger.minting.kept_inputs import SEALED_INPUTS_BYTES_MAX
from creditledger.service.evidence_path import EvidenceKind, EvidencePath
from creditledger.service.http_exchange import Deadline, body_within, require_base_url
from creditledger.service.signed_request import (
    DIGEST_HEADER,
    NO_BODY,
    REQUEST_HEADER,
    content_digest,
    sign_request,
)
from creditledger.transparency.bls import BlsSigner
from creditledger.transparency.keys import Ed25519Signer

POOLS_OWN: Final = "/v1/evidence"
"""Where below its URL a pool's server has the application."""
TIMEOUT_SECONDS: Final = 30.0
BYTES_PER_SECOND: Final = 64 * 1024
"""The slowest that evidence may come; each so many bytes that it may have give it a second more."""
VALID_MS: Final = 240_000
"""How long a request holds: less than the most, since clocks differ."""
_PROBLEM_BYTES_MAX: Final = 16 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidencePlace:
    """Where an application of §6.1 is mounted."""

    url: str
    audience: bytes
    """Whose it is, 32 bytes: the ledger's id for the pool, else the account of a node."""


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    content: bytes

    @property
    def says_absent(self) -> bool:
        """Whether it was the application that had nothing; whoever else says 404 says nothing of it."""
        try:
            told = read_json(self.content)
        except MalformedRecordError:
            return False
        return self.status == 404 and isinstance(told, dict) and told.get("error") == "UnknownIdError"


class HttpEvidence:
    """An `EvidenceSource`, `EvidenceSink` and `EvidenceTaker` over places, tried in order. For one thread.

    A node's own place that is away has nothing: a node must not be able to hold up its own check. Where the
    pool's is away, or says neither yes nor no, nothing can be told: BusyError."""

    def __init__(
        self,
        places: Sequence[EvidencePlace],
        *,
        signer: BlsSigner | Ed25519Signer,
        ledger_id: bytes,
        clock: Clock = system_clock,
        timeout_s: float = TIMEOUT_SECONDS,
        client: httpx2.Client | None = None,
    ) -> None:
        """``places``: the pool's among them. ``signer``: a committee member's; a node's to bring evidence,
        and to fetch what accuses it. Raises MalformedRecordError."""
        if not any(place.audience == ledger_id for place in places):
            raise MalformedRecordError("no place of evidence is the pool's own", expected="one at least")
        self._places = [_required(place) for place in places]
        self._signer = signer
        self._ledger_id = ledger_id
        self._clock = clock
        self._timeout_s = timeout_s
        # One connection, so that a deadline knows which to end.
        self._client = client or httpx2.Client(limits=httpx2.Limits(max_connections=1))
        self._stream: Any = None

    def sealed_sketches(self, digest: bytes) -> bytes | None:
        return self._named(EvidenceKind.SEALED, digest)

    def profile(self, digest: bytes) -> bytes | None:
        return self._named(EvidenceKind.PROFILE, digest)

    def inputs(self, input_root: bytes, *, holder: bytes) -> bytes | None:
        path = EvidencePath(kind=EvidenceKind.INPUTS, digest=input_root, account=holder)
        return next(self._found(path, most=SEALED_INPUTS_BYTES_MAX), None)

    def has_inputs(self, input_root: bytes, *, holder: bytes) -> bool:
        path = EvidencePath(kind=EvidenceKind.INPUTS, digest=input_root, account=holder)
        return any(True for _ in self._found(path, most=0, method="HEAD"))

    def handover(self, input_root: bytes, *, holder: bytes) -> bytes | None:
        path = EvidencePath(kind=EvidenceKind.HANDOVER, digest=input_root, account=holder)
        return next(self._found(path, most=HANDOVER_BYTES_MAX), None)

    def refutation(self, name: str, *, most: int) -> bytes | None:
        """What was shipped under `refutation_name`, sealed. Raises MalformedRecordError, BusyError."""
        return next(self._found(EvidencePath.of_refutation(name), most=most), None)

    def ship(self, name: str, sealed: bytes) -> None:
        try:
            self._put(EvidencePath.of_refutation(name), sealed)
        except ConflictError as error:
            raise IntegrityError(str(error), found=error.found) from error

    def put_inputs(self, root: bytes, sealed: bytes) -> None:
        self._put(EvidencePath(kind=EvidenceKind.INPUTS, digest=root), sealed)

    def put_handover(self, root: bytes, encoded: bytes) -> None:
        self._put(EvidencePath(kind=EvidenceKind.HANDOVER, digest=root), encoded)

    def close(self) -> None:
        """Let go of the connections."""
        self._client.close()

    def _put(self, path: EvidencePath, content: bytes) -> None:
        """Have the pool keep it. Raises ConflictError where it has other content there, BusyError."""
        place = next(place for place in self._places if place.audience == self._ledger_id)
        answer = self._exchange(place, "PUT", path, most=_PROBLEM_BYTES_MAX, content=content)
        if answer.status == 409:
            raise ConflictError("the pool has other evidence under this name", found=str(path)[:150])
        if answer.status not in (200, 201):
            raise _unclear(place, answer)

    def _named(self, kind: EvidenceKind, digest: bytes) -> bytes | None:
        """What has this SHA-256, wherever it comes from."""
        found = self._found(EvidencePath(kind=kind, digest=digest), most=FILE_BYTES_MAX)
        return next((content for content in found if sha256(content).digest() == digest), None)

    def _found(self, path: EvidencePath, *, most: int, method: str = "GET") -> Iterator[bytes]:
        """What the places have, in order. Raises BusyError at the end if the pool did not tell."""
        unclear: BusyError | None = None
        for place in self._places:
            try:
                answer = self._exchange(place, method, path, most=most)
            except BusyError as error:
                unclear = error if place.audience == self._ledger_id else unclear
                continue
            if answer.status == 200:
                yield answer.content
            elif place.audience == self._ledger_id and not (answer.says_absent or method == "HEAD"):
                unclear = _unclear(place, answer)
        if unclear is not None:
            raise unclear

    def _exchange(
        self, place: EvidencePlace, method: str, path: EvidencePath, *, most: int = 0, content: bytes = b""
    ) -> _Answer:
        digest = sha256(content).digest() if content else NO_BODY
        headers = {"accept-encoding": "identity", REQUEST_HEADER: self._signed(place, method, path, digest)}
        if method == "PUT":
            headers[DIGEST_HEADER] = content_digest(digest)
        seconds = self._timeout_s + max(most, len(content)) / BYTES_PER_SECOND
        with Deadline(seconds, self._stream) as deadline:
            try:
                with self._client.stream(
                    method,
                    f"{place.url}{path}",
                    headers=headers,
                    content=content or None,
                    timeout=self._timeout_s,
                    follow_redirects=False,
                    extensions={"trace": deadline.watch},
                ) as response:
                    self._stream = deadline.stream
                    answer = _bounded(place, response, most if method == "GET" else _PROBLEM_BYTES_MAX)
            except httpx2.HTTPError as error:
                self._stream = None
                raise _away(place, type(error).__name__) from error
        if deadline.has_passed:
            self._stream = None
            raise _away(place, f"a part within {seconds:.0f} s")
        return answer

    def _signed(self, place: EvidencePlace, method: str, path: EvidencePath, digest: bytes) -> str:
        return sign_request(
            self._signer,
            ledger_id=self._ledger_id,
            audience=place.audience,
            method=method,
            target=f"{urlsplit(place.url).path}{path}",
            body_digest=digest,
            expires_unix_ms=self._clock() + VALID_MS,
        )


def _required(place: EvidencePlace) -> EvidencePlace:
    url = require_base_url(place.url, what="place of evidence")
    return EvidencePlace(url=url, audience=place.audience)


def _bounded(place: EvidencePlace, response: httpx2.Response, most: int) -> _Answer:
    """Raises BusyError for an answer that is longer than what was asked for may be."""
    most = most if response.status_code == 200 else _PROBLEM_BYTES_MAX
    content = body_within(response.iter_raw(), most)
    if content is None:
        raise _away(place, f"more than {most} bytes")
    return _Answer(response.status_code, content)


def _away(place: EvidencePlace, found: str) -> BusyError:
    return BusyError(
        "a place of evidence does not answer", expected="evidence", found=f"{found}, {place.url}"
    )


def _unclear(place: EvidencePlace, answer: _Answer) -> BusyError:
    return BusyError(
        "the pool neither shows evidence nor says that it has none",
        expected="status 200 or 404",
        found=f"status {answer.status}, {answer.content[:80]!a}, {place.url}",
    )
