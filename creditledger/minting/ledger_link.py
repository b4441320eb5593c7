"""What a node needs of a ledger: the terms in force, and a place to submit to.

Source: specs/minting.md §4."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
from creditledger.errors import HoldClosedError, UnknownIdError
from creditledger.ledger.ledger import Ledger
from creditledger.ledger.opening import Place, open_ledger
from creditledger.ledger.writer import Acknowledgement
from creditledger.records.entry import Submission
from creditledger.records.job import Job
from creditledger.records.parameters import Parameters


class LedgerLink:
    """A `Ledger` of this process, or a ledger's directory or URL that is opened for each use and let go.

    A node goes on with the terms that it last saw while a service is away."""

    def __init__(self, ledger: Ledger | Place, *, clock: Callable[[], int]) -> None:
        """Raises what `Ledger.open` raises."""
        self._ledger = ledger
        self._clock = clock
        with self._reading() as opened:
            self.ledger_id: bytes = opened.id
            self.path: Path = Path(opened.path)

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

        Raises UnknownIdError, HoldClosedError once it is closed, settled or expired."""
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
        ledger = open_ledger(self._ledger, read_only=True, clock=self._clock, may_be_stale=True)
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
