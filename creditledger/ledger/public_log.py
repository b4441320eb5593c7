"""The published side of an open ledger: its policy, its checkpoint, and who cosigns.

Source: specs/ledger.md §6."""

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

from creditledger.credits.state import StateView
from creditledger.errors import CreditLedgerError, IntegrityError, PolicyError, StorageError
from creditledger.ledger.cosigning import Cosigner, Reply
from creditledger.ledger.directory import LedgerDirectory, is_there, read_file, replace_file
from creditledger.ledger.local_witness import LocalWitness
from creditledger.ledger.operator_keys import operator_at
from creditledger.ledger.partial_tiles import sweep_superseded
from creditledger.ledger.publish import CHECKPOINT, Publication, Publisher
from creditledger.ledger.reader_policy import current_policy
from creditledger.transparency.cosignature import MlDsaCosignatureSigner
from creditledger.transparency.keys import Ed25519Signer
from creditledger.transparency.note import NOTE_SIZE_MAX, VerifierKey
from creditledger.transparency.quorum import NO_QUORUM
from creditledger.transparency.trust_policy import POLICY_SIZE_MAX, TrustPolicy, VerifiedCheckpoint

if TYPE_CHECKING:
    from creditledger.ledger.ledger import Snapshot


class PublicLog:
    """What readers of one ledger see, and how it is brought up to date."""

    __slots__ = ("_cosigners", "_directory", "_is_swept", "_ml_dsa", "_origin", "replies", "turn")

    def __init__(
        self,
        directory: LedgerDirectory,
        *,
        origin: str,
        ml_dsa: MlDsaCosignatureSigner | None = None,
        cosigners: Sequence[Cosigner] = (),
    ) -> None:
        """``ml_dsa``: the log's second key. ``cosigners``: the witnesses that are asked."""
        self._directory = directory
        self._origin = origin
        self._ml_dsa = ml_dsa
        self._cosigners = tuple(cosigners)
        self._is_swept = False
        self.turn = threading.Lock()
        """Held while publishing, from the snapshot on: else a slower one puts an older checkpoint back."""
        self.replies: tuple[Reply, ...] = ()
        """What became of asking each witness for the last publication."""

    def policy(self) -> TrustPolicy:
        """What readers are told to trust. Raises StorageError, MalformedRecordError."""
        return TrustPolicy.parse(read_file(self._directory.policy, what="policy", most=POLICY_SIZE_MAX))

    def checkpoint(self) -> bytes:
        """The note of the last published checkpoint. Raises StorageError if there is none."""
        return read_file(self._directory.public / CHECKPOINT, what="checkpoint", most=NOTE_SIZE_MAX)

    def verified(self) -> VerifiedCheckpoint | None:
        """The published checkpoint as the policy has it; None where there is none that reaches its quorum.

        Key ranges are left to who knows the log: the policy is renewed before the checkpoint.
        Raises IntegrityError for one that is not the log's, StorageError."""
        if not is_there(self._directory.public / CHECKPOINT):
            return None
        try:
            return self.policy().for_any_size().verify_checkpoint(self.checkpoint())
        except PolicyError:
            # The policy may ask for more witnesses than when this was published.
            return None
        except StorageError:
            raise
        except CreditLedgerError as error:
            raise IntegrityError(
                f"the published checkpoint does not meet the policy: {error}",
                expected=error.expected,
                found=error.found,
            ) from error

    @property
    def asks_witnesses(self) -> bool:
        """Whether the policy has a quorum of witnesses, whose word about the time counts."""
        return self.policy().quorum != NO_QUORUM

    def trust_locally(self, log_vkey: VerifierKey) -> None:
        """Have the local witness take one more key for the log's."""
        for cosigner in self._cosigners:
            if isinstance(cosigner, LocalWitness):
                cosigner.trust(log_vkey)

    def publish(self, snapshot: "Snapshot", *, operator: Ed25519Signer, now_unix_ms: int) -> Publication:
        """Publish all of ``snapshot``, cosigned as the policy asks: see `Publisher.publish`."""
        publisher = Publisher(
            self._directory.public,
            origin=self._origin,
            operator=operator,
            ml_dsa=self._ml_dsa,
            operator_at=operator_at(snapshot.state),
        )
        publication = publisher.publish(
            snapshot.log,
            policy=self._current_policy(snapshot.state),
            cosigners=self._cosigners,
            now_unix_ms=now_unix_ms,
        )
        self.replies = publication.replies
        if not self._is_swept:
            sweep_superseded(self._directory.public, size=publication.verified.checkpoint.size)
            self._is_swept = True
        return publication

    def _current_policy(self, state: StateView) -> TrustPolicy:
        """The policy file, brought up to the state; the witnesses are left alone."""
        policy = self.policy()
        current = current_policy(policy, state, origin=self._origin)
        if current != policy:
            replace_file(self._directory.policy, current.serialize())
        return current
