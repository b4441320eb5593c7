"""A batch's evidence goes ahead of it: whoever is drawn to check finds it. Source: specs/minting.md §10."""

from collections.abc import Sequence

from creditledger.errors import ConflictError
from creditledger.ledger.evidence_taker import EvidenceTaker
from creditledger.ledger.writer import Outcome
from creditledger.minting.kept_inputs import KeptInputs
from creditledger.minting.outbox import SubmitAll
from creditledger.records.entry import Submission
from creditledger.records.receipt import Batch, Receipt


class EvidenceAhead:
    """A `SubmitAll` that has a place keep the inputs and handovers of the receipts in a batch first.

    What the place has, it has once; after a restart the batch that was next is brought again."""

    def __init__(self, submit: SubmitAll, *, kept: KeptInputs, place: EvidenceTaker) -> None:
        self._submit = submit
        self._kept = kept
        self._place = place
        self._brought: set[bytes] = set()
        self.missing = 0
        """Windows whose inputs were not kept any more, or whose name another had taken at the place."""

    def __call__(self, submissions: Sequence[Submission]) -> Sequence[Outcome]:
        """Raises what the place or the log raises; all of ``submissions`` are then open."""
        roots = [root for submission in submissions for root in _input_roots(submission)]
        for root in roots:
            if root not in self._brought:
                self._bring(root)
                self._brought.add(root)
        outcomes = self._submit(submissions)
        self._brought.difference_update(roots)
        return outcomes

    def _bring(self, root: bytes) -> None:
        sealed, handover = self._kept.sealed(root), self._kept.handover(root)
        is_there = sealed is not None
        try:
            if handover is not None:
                self._place.put_handover(root, handover)
            if sealed is not None:
                self._place.put_inputs(root, sealed)
        except ConflictError:
            # It is write-once, and not ours to clear: this node's own copy has to speak for it.
            is_there = False
        self.missing += not is_there


def _input_roots(submission: Submission) -> list[bytes]:
    if not isinstance(submission.record, Batch):
        return []
    return [Receipt.decode(body).input_root for body in submission.bodies[:-1]]
