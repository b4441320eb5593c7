"""A witness on the network, as the publisher asks it. Home of httpx2. Source: specs/log.md §9.

A witness is trusted for nothing: its answer is bounded in size and time, and each line is verified."""

from collections.abc import Mapping
from typing import Final

import httpx2

from creditledger.errors import (
    BusyError,
    ConsistencyProofError,
    CreditLedgerError,
    MalformedRecordError,
    SignatureError,
    UnknownIdError,
)
from creditledger.service.http_exchange import Deadline, body_within, require_base_url
from creditledger.transparency.checkpoint import parse_decimal
from creditledger.transparency.cosignature import note_verifier
from creditledger.transparency.note import VerifierKey, parse_note, parse_signature_line
from creditledger.transparency.trust_policy import TrustPolicy
from creditledger.transparency.witness import AddCheckpoint, StaleSizeError

ANSWER_BYTES_MAX: Final = 64 * 1024
LINES_MAX: Final = 16
"""Signature lines of one answer that are looked at."""
TIMEOUT_SECONDS: Final = 5.0
_HEADERS: Final = {"content-type": "text/plain; charset=utf-8", "accept-encoding": "identity"}
_REFUSALS: Final[Mapping[int, tuple[type[CreditLedgerError], str]]] = {
    400: (MalformedRecordError, "finds the request malformed"),
    403: (SignatureError, "trusts no key that signed the checkpoint"),
    404: (UnknownIdError, "does not watch this log"),
    408: (BusyError, "did not get the request in time"),
    413: (MalformedRecordError, "finds the request too long"),
    422: (ConsistencyProofError, "finds that the log contradicts what it saw"),
    429: (BusyError, "was asked too often"),
}


class HttpCosigner:
    """One witness behind a URL. Each call opens its own connection, so that it can be ended in time."""

    __slots__ = ("_client", "_endpoint", "_timeout_s", "_verifier", "name", "url", "vkey")

    def __init__(
        self,
        name: str,
        vkey: VerifierKey,
        url: str,
        *,
        timeout_s: float = TIMEOUT_SECONDS,
        client: httpx2.Client | None = None,
    ) -> None:
        """``name``: what the policy calls it. ``vkey``: whose lines count. ``url``: the submission prefix.

        Raises MalformedRecordError if ``url`` is not an http or https URL without query."""
        self.name = name
        self.vkey = vkey
        self.url = require_base_url(url, what="witness")
        self._endpoint = f"{self.url}/add-checkpoint"
        self._timeout_s = timeout_s
        self._verifier = note_verifier(vkey)
        self._client = client or httpx2.Client(
            follow_redirects=False, limits=httpx2.Limits(max_keepalive_connections=0)
        )

    def cosign(self, request: AddCheckpoint) -> bytes:
        """Its signature line (with LF) for the request's checkpoint, verified.

        Raises StaleSizeError with the size it has; SignatureError or ConsistencyProofError when it
        refuses the checkpoint, SignatureError when what it answers does not verify; UnknownIdError when
        it does not watch the log; BusyError when it is away, late or overloaded; MalformedRecordError
        when it answers what no witness would."""
        status, content = self._post(request.encode())
        if status == 200:
            return self._verified_line(content, parse_note(request.note).text)
        if status == 409:
            raise self._stale(content, request.old_size)
        kind, reason = _REFUSALS.get(status, (MalformedRecordError, f"answers with status {status}"))
        if status >= 500:
            kind, reason = BusyError, f"fails with status {status}"
        raise kind(f"witness {self.name} {reason}", found=_shown(content))

    def close(self) -> None:
        """Let go of the client."""
        self._client.close()

    def _post(self, body: bytes) -> tuple[int, bytes]:
        with Deadline(self._timeout_s) as deadline:
            try:
                with self._client.stream(
                    "POST",
                    self._endpoint,
                    content=body,
                    headers=_HEADERS,
                    timeout=self._timeout_s,
                    follow_redirects=False,
                    extensions={"trace": deadline.watch},
                ) as response:
                    status, content = response.status_code, self._bounded(response)
            except httpx2.TransportError as error:
                is_late = deadline.has_passed or isinstance(error, httpx2.TimeoutException)
                raise self._away(is_late=is_late, found=type(error).__name__) from error
            if deadline.has_passed:  # an answer without a length then looks whole
                raise self._away(is_late=True, found=f"{len(content)} bytes")
        return status, content

    def _away(self, *, is_late: bool, found: str) -> BusyError:
        return BusyError(
            f"witness {self.name} {'is late' if is_late else 'cannot be reached'}",
            expected=f"an answer within {self._timeout_s} s",
            found=f"{found} at {self.url}",
        )

    def _bounded(self, response: httpx2.Response) -> bytes:
        content = body_within(response.iter_raw(), ANSWER_BYTES_MAX)
        if content is None:
            raise MalformedRecordError(
                f"witness {self.name} answers too much", expected=f"at most {ANSWER_BYTES_MAX} bytes"
            )
        return content

    def _verified_line(self, content: bytes, text: bytes) -> bytes:
        """The first line by our key; every line by it must verify, those of other keys are ignored."""
        lines = content.removesuffix(b"\n").split(b"\n")
        if not content.endswith(b"\n") or len(lines) > LINES_MAX:
            raise MalformedRecordError(
                f"witness {self.name} answers no signature lines",
                expected=f"1 to {LINES_MAX} lines",
                found=_shown(content),
            )
        known = (self.vkey.name, self.vkey.key_id)
        signatures = [parse_signature_line(line) for line in lines]
        ours = [signature for signature in signatures if (signature.name, signature.key_id) == known]
        for signature in ours:
            self._verifier.verify(text, signature.body)
        if not ours:
            raise SignatureError(
                f"witness {self.name} signs with other keys", expected=str(self.vkey), found=_shown(content)
            )
        return ours[0].line

    def _stale(self, content: bytes, old_size: int) -> CreditLedgerError:
        if not content.endswith(b"\n"):
            return MalformedRecordError(f"witness {self.name} tells no size", found=_shown(content))
        stored_size = parse_decimal(content[:-1])
        if stored_size == old_size:
            # An older protocol says so of a second tree of one size: asking again would never end.
            return ConsistencyProofError(
                f"witness {self.name} has seen another tree of {old_size} entries", found=_shown(content)
            )
        return StaleSizeError(stored_size=stored_size, old_size=old_size)


def cosigners_of(policy: TrustPolicy, *, timeout_s: float = TIMEOUT_SECONDS) -> list[HttpCosigner]:
    """One cosigner for each witness of ``policy`` that has a URL. Raises MalformedRecordError."""
    return [
        HttpCosigner(witness.name, witness.vkey, witness.url, timeout_s=timeout_s)
        for witness in policy.witnesses
        if witness.url is not None
    ]


def _shown(content: bytes) -> str:
    return ascii(content[:100].decode("utf-8", "replace"))
