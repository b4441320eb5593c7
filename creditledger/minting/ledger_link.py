"""What a node needs of a ledger: the terms in force, and a place to submit to.

Source: specs/minting.md §4."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path

from creditledger.activations.calibration import CalibrationProfile
from creditledger.credits.jobs import JobStatus
from creditledger.credits.reading import (
    account_of_key,
    job_body,
    job_status,
    keys_of,
    parameters_in_force,
    parameters_with,
)
from creditledger.errors import BusyError, HoldClosedError, UnknownIdError
from creditledger.ledger.evidence_taker import EvidenceTaker
from creditledger.ledger.ledger import Ledger
from creditledger.ledger.opening import Place, open_ledger
from creditledger.ledger.remote_ledger import RemoteLedger
from creditledger.ledger.writer import Acknowledgement, Outcome
from creditledger.records.entry import Submission
from creditledger.records.job import Job
from creditledger.records.parameters import Parameters
from creditledger.transparency.keys import Ed25519Signer


class LedgerLink:
    """A `Ledger` of this process, a ledger's directory that is opened for each use and let go, or a URL.

    Of a ledger behind a URL the terms are those that were last seen: nothing here waits for the network but
    what says so."""

    def __init__(self, ledger: Ledger | Place, *, clock: Callable[[], int]) -> None:
        """Raises what `open_ledger` raises; a service that is away is not missed if it was seen before."""
        self._ledger = ledger
        self._clock = clock
        self._own: Ledger | None = None
        if not isinstance(ledger, Ledger):
            opened = open_ledger(ledger, read_only=True, clock=clock, may_be_stale=True)
            if isinstance(opened, RemoteLedger):
                self._ledger = self._own = opened
            else:
                opened.close()
        with self._reading() as opened:
            self.ledger_id: bytes = opened.id
            self.path: Path = Path(opened.path)

    def close(self) -> None:
        """Let go of what was opened here; a second call does nothing."""
        own, self._own = self._own, None
        if own is not None:
            own.close()

    @property
    def is_remote(self) -> bool:
        """Whether another machine writes the ledger."""
        return isinstance(self._ledger, RemoteLedger)

    def follow(self) -> None:
        """See what is new behind a URL: waits for the network. Raises what `RemoteLedger.follow` raises."""
        self._remote().follow()

    def submit_all(self, submissions: Sequence[Submission]) -> Sequence[Outcome]:
        """Have the service log them: waits for the network. Raises what `RemoteLedger.submit` raises."""
        return self._remote().submit(submissions)

    def evidence_taker(self, key: Ed25519Signer) -> EvidenceTaker:
        """Where the service takes the evidence that ``key``'s account keeps for checks."""
        return self._remote().evidence_taker(key)

    def _remote(self) -> RemoteLedger:
        if not isinstance(self._ledger, RemoteLedger):
            raise AssertionError("only a ledger behind a URL is asked over the network")
        return self._ledger

    def parameters(self) -> Parameters:
        """The parameters in force."""
        with self._reading() as ledger, ledger.read() as view:
            return parameters_in_force(view)

    def parameters_with(self, digest: bytes) -> Parameters:
        """The parameters that a job names. Raises UnknownIdError if they were never in force."""
        with self._reading() as ledger, ledger.read() as view:
            found = parameters_with(view, digest)
        if found is None:
            raise UnknownIdError("the job's parameters were never in force", found=digest.hex())
        return found

    def account_of(self, key: bytes) -> bytes:
        """The account that a public key signs for. Raises RoleError for a retired key."""
        with self._reading() as ledger, ledger.read() as view:
            return account_of_key(view, key)

    def present_key(self, account: bytes) -> bytes:
        """The public key that signs for an account now."""
        with self._reading() as ledger, ledger.read() as view:
            return keys_of(view, account)[-1][1]

    def profile(self, terms: Parameters, model: bytes, layer_stop: int) -> CalibrationProfile:
        """The profile that a span ending at ``layer_stop`` is judged by under ``terms``.

        Raises UnknownIdError."""
        digest = terms.profile_digest(model, layer_stop)
        with self._reading() as ledger:
            for body in ledger.bodies(terms):
                if sha256(body).digest() == digest:
                    return CalibrationProfile.decode(body)
        raise UnknownIdError(
            "the ledger has no profile for this span",
            expected=f"a profile of {model.hex()[:16]} up to layer {layer_stop}",
            found="none" if digest is None else "its digest only",
        )

    def require_held(self, job: bytes) -> Job:
        """The logged job with this digest, if a hold covers it and work may start.

        Looks for news first, where a service is there to ask. Raises UnknownIdError, HoldClosedError once
        it is closed, settled or expired."""
        if self.is_remote:
            with suppress(BusyError):
                self.follow()
        with self._reading() as ledger, ledger.read() as view:
            body, progress = job_body(view, job), job_status(view, job)
        if body is None or progress is None or progress.status == JobStatus.ORDERED:
            raise UnknownIdError(
                "no hold covers this job", expected="a logged job and its hold", found=job.hex()
            )
        if progress.status != JobStatus.HELD:
            raise HoldClosedError(
                "job takes no work now", expected="held", found=JobStatus(progress.status).name.lower()
            )
        return body

    def submit(self, submission: Submission) -> Acknowledgement:
        """Have it logged; a repeat answers with its first index. Raises what `Ledger.append` raises."""
        with self._writing() as ledger:
            return ledger.append(submission)

    @contextmanager
    def _reading(self) -> Iterator[Ledger]:
        if isinstance(self._ledger, Ledger):
            yield self._ledger
            return
        ledger = open_ledger(self._ledger, read_only=True, clock=self._clock)
        try:
            yield ledger
        finally:
            ledger.close()

    @contextmanager
    def _writing(self) -> Iterator[Ledger]:
        if isinstance(self._ledger, Ledger):
            yield self._ledger
            return
        ledger = open_ledger(self._ledger, read_only=False, clock=self._clock)
        try:
            yield ledger
        finally:
            ledger.close()
