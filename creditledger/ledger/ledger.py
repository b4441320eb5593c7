"""A ledger in a directory: append, read, close rounds, publish. Source: specs/ledger.md."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from creditledger.credits import reading
from creditledger.credits.fold import SignatureVerifier, TransparencyVerifier, due_expiries
from creditledger.credits.state import StateView
from creditledger.errors import CreditLedgerError, StorageError
from creditledger.ledger import rounds
from creditledger.ledger.clock import Clock, steady_clock, system_clock
from creditledger.ledger.cosigning import Cosigner, Reply
from creditledger.ledger.directory import LedgerDirectory, WriterLock, is_there
from creditledger.ledger.head import HeadFile, log_key, require_not_rolled_back
from creditledger.ledger.keyring import KeyRole, bls_signers_in, ed25519_in, ml_dsa_in
from creditledger.ledger.local_witness import LocalWitness
from creditledger.ledger.operator_keys import (
    OPERATOR_KEY,
    OperatorSigners,
    operator_at,
    operator_in,
    signed_rotation,
)
from creditledger.ledger.public_log import PublicLog
from creditledger.ledger.reader_policy import require_own_key
from creditledger.ledger.rounds import RoundStanding
from creditledger.ledger.store import LedgerStore
from creditledger.ledger.store_place import open_store
from creditledger.ledger.stored_log import StoredLog, kept_beside, state_of
from creditledger.ledger.writer import Acknowledgement, Beside, Outcome, Writer
from creditledger.quantities import ZERO_DIGEST
from creditledger.records.entry import Entry, Submission
from creditledger.records.parameters import Genesis, Member, Parameters
from creditledger.records.record import Record
from creditledger.records.transfer import Expire
from creditledger.transparency.bls import BlsSigner
from creditledger.transparency.cosignature import MlDsaCosignatureSigner
from creditledger.transparency.keys import Ed25519Signer
from creditledger.transparency.trust_policy import TrustPolicy

__all__ = ["LOG_KEY", "OPERATOR_KEY", "WITNESS_KEY", "Acknowledgement", "Ledger", "RoundStanding", "Snapshot"]

WITNESS_KEY = "witness-local.key"
LOG_KEY = "log-ml-dsa-44.key"


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """One moment of a ledger, consistent in itself."""

    log: StoredLog
    state: StateView
    beside: StateView
    """What a service keeps beside the log."""


class Ledger:
    """An open ledger. One process writes; any number reads. Safe to use from several threads."""

    is_remote = False  # see RemoteLedger
    begins_as_writer = True  # see StandbyLedger

    def __init__(
        self,
        directory: LedgerDirectory,
        store: LedgerStore,
        genesis: Genesis,
        *,
        operator: Ed25519Signer | None,
        ml_dsa: MlDsaCosignatureSigner | None,
        cosigners: Sequence[Cosigner],
        clock: Clock,
        verifier: SignatureVerifier,
        lock: WriterLock | None,
    ) -> None:
        """Use `open`. ``lock``: the writer's; None opens for reading."""
        self._directory = directory
        self._store = store
        self._clock = clock
        self._lock = lock
        self.verifier = verifier
        self._operator = OperatorSigners(operator)
        self._validators: tuple[Sequence[Member], dict[int, BlsSigner]] | None = None
        self.genesis = genesis
        self.id: bytes = genesis.ledger_id
        self._head = HeadFile(directory.head, origin=self.origin, operator=self.genesis.operator)
        self._public = PublicLog(directory, origin=self.origin, ml_dsa=ml_dsa, cosigners=cosigners)
        self._writer: Writer | None = None
        if lock is None or not self.begins_as_writer:
            self._require_not_rolled_back()
            return
        self._writer = self._new_writer()

    def _require_not_rolled_back(self) -> None:
        with self._store.read() as view:
            head = self._head.read(operator_at(state_of(view)))
        # The store is looked at after the head: a writer may have gone on between the two.
        with self._store.read() as view:
            require_not_rolled_back(StoredLog(view), head)

    def _new_writer(self) -> Writer:
        with self._store.read() as view:
            self._operator.in_force(state_of(view))
            published = self._public.verified()
            if published is not None:
                require_not_rolled_back(StoredLog(view), published.checkpoint, what="published checkpoint")
        writer = Writer(
            self._store,
            self._head,
            self._directory.sealed,
            origin=self.origin,
            ledger_id=self.id,
            operator=self._operator,
            verifier=self.verifier,
            clock=self._clock,
            ask_witnesses=self._ask_witnesses if self._public.asks_witnesses else None,
        )
        writer.note_witnesses(None if published is None else published.cosigned_unix_ms)
        return writer

    @staticmethod
    def create(
        path: str | Path,
        *,
        origin: str,
        operator: Ed25519Signer,
        parameters: Parameters,
        profiles: Sequence[bytes] = (),
        witness: Ed25519Signer | None = None,
        ml_dsa: MlDsaCosignatureSigner | None = None,
        clock: Clock = system_clock,
    ) -> "Ledger":
        """Found a ledger at ``path`` and open it: see `founding.create`."""
        from creditledger.ledger.founding import create

        return create(
            path,
            origin=origin,
            operator=operator,
            parameters=parameters,
            profiles=profiles,
            witness=witness,
            ml_dsa=ml_dsa,
            clock=clock,
        )

    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        operator: Ed25519Signer | None = None,
        witness: Ed25519Signer | None = None,
        ml_dsa: MlDsaCosignatureSigner | None = None,
        cosigners: Sequence[Cosigner] = (),
        read_only: bool = False,
        clock: Clock = system_clock,
        witness_clock: Clock | None = None,
        verifier: SignatureVerifier | None = None,
    ) -> Self:
        """The ledger in a directory, for writing unless ``read_only``.

        Keys that are not handed in are looked for in its ``keys`` folder. ``cosigners``: witnesses to ask
        beside the local one. ``witness_clock``: the local witness's; by default ``clock``, or for the
        machine's own clock one that does not jump with it. Raises StorageError if
        there is none, BusyError if another writer has it, RollbackError if it is older than its
        head, RoleError without the operator's key."""
        directory = LedgerDirectory(Path(path))
        if not is_there(directory.store):
            raise StorageError(
                "there is no ledger here", expected="a ledger's directory", found=str(path)[-100:]
            )
        lock = None if read_only else WriterLock(directory.lock)
        store: LedgerStore | None = None
        try:
            store = open_store(directory.store, read_only=read_only or not cls.begins_as_writer)
            with store.read() as view:
                genesis = StoredLog(view).genesis()
                operators = reading.operator_keys(state_of(view))
                if not read_only and operator is None:
                    operator = operator_in(directory.keys, state_of(view), genesis)
            if not read_only:
                witness = witness or ed25519_in(directory.keys / WITNESS_KEY, KeyRole.WITNESS, genesis)
                ml_dsa = ml_dsa or ml_dsa_in(directory.keys / LOG_KEY, genesis)
            if witness is not None:
                own_time = witness_clock or (steady_clock if clock is system_clock else clock)
                vkeys = [log_key(genesis.origin, key) for _, key in operators]
                local = LocalWitness(directory.witness, witness, log_vkeys=vkeys, clock=own_time)
                cosigners = [local, *cosigners]
            return cls(
                directory,
                store,
                genesis,
                operator=operator,
                ml_dsa=ml_dsa,
                cosigners=cosigners,
                clock=clock,
                verifier=verifier or TransparencyVerifier(),
                lock=lock,
            )
        except BaseException:
            if store is not None:
                store.close()
            if lock is not None:
                lock.close()
            raise

    def close(self) -> None:
        """Let go of the files and of the writer's lock; a second call does nothing."""
        self._store.close()
        if self._lock is not None:
            self._lock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def path(self) -> Path:
        """The ledger's directory."""
        return self._directory.path

    @property
    def directory(self) -> LedgerDirectory:
        """The names of the files in it."""
        return self._directory

    @property
    def origin(self) -> str:
        """The log's name in its checkpoints."""
        return self.genesis.origin

    @property
    def size(self) -> int:
        """Entries in the log."""
        with self._store.read() as view:
            return StoredLog(view).size

    @contextmanager
    def snapshot(self) -> Iterator[Snapshot]:
        """Log and state of one moment. Keep it short: a growing store waits for it to end."""
        with self._store.read() as view:
            yield Snapshot(log=StoredLog(view), state=state_of(view), beside=kept_beside(view))

    @contextmanager
    def read(self) -> Iterator[StateView]:
        """The fold's state of one moment, for `credits.reading`."""
        with self.snapshot() as snapshot:
            yield snapshot.state

    def entry_bytes(self, index: int) -> bytes:
        """Entry ``index``, checked against the tree. Raises UnknownIdError, IntegrityError."""
        with self.snapshot() as snapshot:
            return snapshot.log.entry_bytes(index)

    def entry(self, index: int) -> Entry:
        """Entry ``index``, decoded. Raises as `entry_bytes`."""
        return Entry.decode(self.entry_bytes(index))

    def bodies(self, record: Record) -> tuple[bytes, ...]:
        """The bodies beside a logged record: receipts, verdicts, profiles. Raises IntegrityError."""
        with self.snapshot() as snapshot:
            return snapshot.log.bodies(record)

    def policy(self) -> TrustPolicy:
        """What readers are told to trust. Raises StorageError, MalformedRecordError."""
        return self._public.policy()

    def checkpoint(self) -> bytes:
        """The note of the last published checkpoint. Raises StorageError if there is none."""
        return self._public.checkpoint()

    def submit(self, submissions: Sequence[Submission], *, also: Beside | None = None) -> list[Outcome]:
        """Log what the rules allow in one durable commit: see `Writer.submit`."""
        return self._require_writer().submit(submissions, also=also)

    def reopen(self) -> None:
        """Go on after a failure whose cause is gone, checking all that `open` checks. Raises as it does."""
        turn = self._require_writer().turn
        with turn:
            self._store.reopen()
            self._writer = self._new_writer()
            self._writer.turn = turn

    @property
    def is_writer(self) -> bool:
        """Whether this process appends."""
        return self._writer is not None

    def append(self, submission: Submission) -> Acknowledgement:
        """Log one submission durably, or raise the error it is refused with."""
        outcome = self.submit([submission])[0]
        if isinstance(outcome, CreditLedgerError):
            raise outcome
        return outcome

    def sign(self, record: Record, *, bodies: tuple[bytes, ...] = ()) -> Submission:
        """``record`` signed by the operator."""
        signature = self.operator_signer().sign(record.signing_bytes(self.id))
        return Submission(record=record, signature=signature, bodies=bodies)

    def operator_signer(self) -> Ed25519Signer:
        """The operator's signer now. Raises RoleError if it is not at hand."""
        with self.read() as state:
            return self._operator.in_force(state)

    def rotate_operator(
        self, new: Ed25519Signer, *, next_key: bytes = ZERO_DIGEST, old: Ed25519Signer | None = None
    ) -> Acknowledgement:
        """Hand over to ``new``, the key that the operator has committed to; it signs head and checkpoints
        from then on. ``next_key``: SHA-256 of the key after that. ``old`` signs, by default the key in force.

        Keep the new key where it will be found before: only it opens the ledger again. Raises RoleError
        for any other key. Source: specs/ledger.md §13."""
        with self._require_writer().turn:
            require_own_key(new, self.policy(), origin=self.origin)
            self._operator.add(new)
            self._public.trust_locally(log_key(self.origin, new.public_key))
            old, account = old or self.operator_signer(), self.genesis.operator
            return self.append(signed_rotation(self.id, account=account, old=old, new=new, next_key=next_key))

    def close_round(self) -> Acknowledgement:
        """Log the operator's commitment to the state as it is."""
        with self._require_writer().turn:
            with self.snapshot() as snapshot:
                record = rounds.round_to_sign(snapshot, self.id, self.verifier)
            return self.append(self.sign(record))

    def certify(self) -> Acknowledgement | None:
        """Log the latest round's certificate if a quorum has attested and it has none yet."""
        with self._require_writer().turn:
            with self.read() as state:
                submission = rounds.certificate(state, self.id)
            return None if submission is None else self.append(submission)

    def settle_due(self) -> list[Acknowledgement]:
        """Log the settlement of every job whose checks are in, once the canaries among them are open."""
        return rounds.settle_due(self, clock=self._clock)

    def expire_due(self) -> list[Acknowledgement]:
        """Log the expiry of every hold whose time and grace are over."""
        with self._require_writer().turn:
            with self.read() as state:
                records = [Expire(hold=hold) for hold in due_expiries(state, self._clock())]
            return [self.append(self.sign(record)) for record in records]

    def local_validators(self) -> dict[int, BlsSigner]:
        """Signers of the committee members whose key files lie in the ``keys`` folder, by index."""
        with self.read() as state:
            committee = reading.parameters_in_force(state).committee
        if self._validators is None or self._validators[0] != committee:
            self._validators = committee, bls_signers_in(self._directory.keys, committee, ledger_id=self.id)
        return self._validators[1]

    def complete_round(self, validators: Mapping[int, BlsSigner] | None = None) -> RoundStanding:
        """Bring everything logged under a certified round, as far as ``validators`` suffice.

        Publishes, closes a round if there is news, attests it with ``validators`` (by committee
        index; by default the local ones), certifies it given a quorum, and publishes again. Where
        certifying put pending records into effect, a second round certifies that too."""
        return rounds.complete_round(self, validators, clock=self._clock)

    def publish(self) -> bytes:
        """Publish all that is logged; the cosigned checkpoint's note: see `Publisher.publish`."""
        if self._lock is None:
            self._require_writer()
        with self._public.turn, self.snapshot() as snapshot:
            publication = self._public.publish(
                snapshot, operator=self._operator.in_force(snapshot.state), now_unix_ms=self._clock()
            )
        if self._writer is not None:
            self._writer.note_witnesses(publication.verified.cosigned_unix_ms)
        return publication.note

    @property
    def witness_replies(self) -> tuple[Reply, ...]:
        """What became of asking each witness when this last published."""
        return self._public.replies

    def _ask_witnesses(self) -> None:
        self.publish()  # The witnesses date what they cosign: that is how one asks them for the time.

    def _require_writer(self) -> Writer:
        if self._writer is None:
            raise StorageError("ledger is open for reading", expected="a ledger open for writing")
        return self._writer
