"""A node's side of evidence over HTTP: it brings what it keeps, signed. Source: specs/service.md §6.2."""

from hashlib import sha256
from typing import Any, Final
from urllib.parse import urlsplit

import httpx2

from creditledger.errors import BusyError, VerificationError
from creditledger.ledger.clock import Clock, system_clock
from creditledger.minting.handover import HANDOVER_BYTES_MAX
from creditledger.minting.kept_inputs import SEALED_INPUTS_BYTES_MAX
from creditledger.service.evidence_app import DIGEST_HEADER, content_digest
from creditledger.service.http_exchange import Deadline, require_base_url
from creditledger.service.remote.service_answer import bounded, read_json, require_now
from creditledger.service.signed_request import REQUEST_HEADER, sign_request
from creditledger.transparency.keys import Ed25519Signer

PATH: Final = "/v1/evidence"
VALID_MS: Final = 240_000
"""How long a request may be on its way: below the bound, since clocks differ."""
TIMEOUT_SECONDS: Final = 30.0
BYTES_A_SECOND: Final = 65_536
"""The slowest that a body may come; each so many give it a second more."""
_DONE: Final = (200, 201, 204)


class EvidenceClient:
    """An `EvidenceTaker` behind a pool's URL. What it acknowledges it may still lose: the node keeps its own
    copy. For one thread at a time."""

    def __init__(
        self,
        url: str,
        signer: Ed25519Signer,
        ledger_id: bytes,
        *,
        audience: bytes | None = None,
        clock: Clock = system_clock,
        timeout_s: float = TIMEOUT_SECONDS,
        client: httpx2.Client | None = None,
    ) -> None:
        """``audience``: who is asked; None is the pool itself. Raises MalformedRecordError."""
        self._url = require_base_url(url, what="pool")
        self._path = urlsplit(self._url).path + PATH
        self._signer = signer
        self._ledger_id = ledger_id
        self._audience = audience or ledger_id
        self._clock = clock
        self._timeout_s = timeout_s
        self._client = client or httpx2.Client(limits=httpx2.Limits(max_connections=1))
        self._stream: Any = None

    def put_inputs(self, root: bytes, sealed: bytes) -> None:
        """See `EvidenceTaker`."""
        self._put(f"inputs/{root.hex()}", sealed, most=SEALED_INPUTS_BYTES_MAX)

    def put_handover(self, root: bytes, encoded: bytes) -> None:
        """See `EvidenceTaker`."""
        self._put(f"handover/{root.hex()}", encoded, most=HANDOVER_BYTES_MAX)

    def close(self) -> None:
        """See `EvidenceTaker`."""
        self._client.close()

    def _put(self, name: str, content: bytes, *, most: int) -> None:
        if len(content) > most:
            raise VerificationError("evidence is too long", expected=f"at most {most} bytes", found=name[:40])
        digest = sha256(content).digest()
        headers = {
            DIGEST_HEADER: content_digest(digest),
            REQUEST_HEADER: sign_request(
                self._signer,
                ledger_id=self._ledger_id,
                audience=self._audience,
                method="PUT",
                target=f"{self._path}/{name}",
                body_digest=digest,
                expires_unix_ms=self._clock() + VALID_MS,
            ),
        }
        status, said = self._exchange(name, content, headers)
        require_now(status)
        if status not in _DONE:
            read_json(status, said)
            raise VerificationError("the service's answer is no answer", found=f"status {status}")

    def _exchange(self, name: str, content: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
        seconds = self._timeout_s + len(content) / BYTES_A_SECOND
        with Deadline(seconds, self._stream) as deadline:
            try:
                with self._client.stream(
                    "PUT",
                    f"{self._url}{PATH}/{name}",
                    headers=headers,
                    content=content,
                    timeout=self._timeout_s,
                    follow_redirects=False,
                    extensions={"trace": deadline.watch},
                ) as response:
                    self._stream = deadline.stream
                    status, said = response.status_code, bounded(response)
            except httpx2.HTTPError as error:
                self._stream = None
                raise BusyError(
                    "the pool's service cannot be reached",
                    expected=f"an answer within {seconds:.0f} s",
                    found=f"{type(error).__name__} at {self._url}",
                ) from error
        if deadline.has_passed:
            raise BusyError("the pool's service is late", expected=f"within {seconds:.0f} s")
        return status, said
