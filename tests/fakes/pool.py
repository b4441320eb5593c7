"""A whole signed pool in memory: operator, committee, clients, nodes, a queue, their log and its state."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext

import pytest

from creditledger.credits import reading
from creditledger.credits.context import FoldContext, SignatureVerifier, TransparencyVerifier
from creditledger.credits.fold import apply_entry, attestations_of, propose_round, propose_settlement
from creditledger.credits.postings import postings
from creditledger.credits.state import MemoryState, Overlay, StateView
from creditledger.errors import CreditLedgerError
from creditledger.ledger.store import Store
from creditledger.records.entry import Entry, Submission
from creditledger.records.job import Job
from creditledger.records.parameters import Parameters
from creditledger.records.receipt import Receipt
from creditledger.records.registration import Role
from creditledger.records.round import Round
from creditledger.records.verdict import Outcome, Reason
from creditledger.transparency.keys import Ed25519Signer
from creditledger.transparency.merkle import leaf_hash, root_from_leaf_hashes
from fakes.cast import (
    HARDWARE,
    HOUR_MS,
    MODEL,
    START_MS,
    Papers,
    ed25519,
    fake_id,
    pool_genesis,
    pool_parameters,
)
from fakes.committee import FakeBlsVerifier, fake_digest

__all__ = [
    "HARDWARE",
    "HOUR_MS",
    "MODEL",
    "START_MS",
    "Papers",
    "Pool",
    "ed25519",
    "fake_digest",
    "fake_id",
    "pool_genesis",
    "pool_parameters",
]


class StoreView:
    """A store's state as of now: every question is a transaction of its own. For reading."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def get(self, key: bytes, /) -> bytes | None:
        with self._store.read() as view:
            return view.get(key)

    def scan(self, prefix: bytes, /) -> Iterator[tuple[bytes, bytes]]:
        with self._store.read() as view:
            return iter(list(view.scan(prefix)))

    def put(self, key: bytes, value: bytes, /) -> None:
        raise TypeError("a view for reading")

    def delete(self, key: bytes, /) -> None:
        raise TypeError("a view for reading")


class Pool:
    """A ledger without a disk. Time stands at ``now`` until someone moves it.

    ``client``, ``node``, ``other_node`` and ``queue`` are registered under these names (the second node
    as ``other-node``). ``real_bls=False`` replaces BLS by hashing, which is far faster. ``changes``
    replace fields of the parameters; ``committed``: each of them may rotate to the key called
    "next " and its name; ``store`` keeps the state, else a dict does."""

    def __init__(
        self,
        *,
        members: int = 1,
        quorum: int | None = None,
        real_bls: bool = False,
        registered: bool = True,
        committed: bool = False,
        store: Store | None = None,
        **changes: object,
    ) -> None:
        parameters = pool_parameters(members=members, quorum=quorum, real_bls=real_bls, **changes)
        self.papers = Papers(genesis=pool_genesis(parameters), real_bls=real_bls)
        self.verifier: SignatureVerifier = TransparencyVerifier() if real_bls else FakeBlsVerifier()
        self.store = store
        self.view: StateView = MemoryState() if store is None else StoreView(store)
        self.now = START_MS
        self.entries: list[Entry] = []
        self.bodies: list[tuple[bytes, ...]] = []
        self.client, self.node = ed25519("client"), ed25519("node")
        self.other_node, self.queue = ed25519("other-node"), ed25519("queue")
        self.submit(self.papers.founding())
        if registered:
            for signer, name, role in (
                (self.client, "client", Role.CLIENT),
                (self.node, "node", Role.NODE),
                (self.other_node, "other-node", Role.NODE),
                (self.queue, "queue", Role.QUEUE),
            ):
                submission = self.papers.registration(
                    signer,
                    name,
                    role,
                    admitted=parameters.admission == 2,
                    next_key=ed25519(f"next {name}") if committed else None,
                )
                self.submit(submission)

    @property
    def ledger_id(self) -> bytes:
        return self.papers.ledger_id

    @property
    def parameters(self) -> Parameters:
        """Those in force."""
        return reading.parameters_in_force(self.view)

    @property
    def parameters_digest(self) -> bytes:
        return reading.parameters_digest(self.view)

    @property
    def context(self) -> FoldContext:
        """For the next entry."""
        return FoldContext(
            ledger_id=self.ledger_id,
            index=len(self.entries),
            log_root=lambda: root_from_leaf_hashes(leaf_hash(entry.encode()) for entry in self.entries),
            verifier=self.verifier,
        )

    def writing(self) -> AbstractContextManager[StateView]:
        """Where an entry is folded: one transaction of the store, if there is one."""
        return nullcontext(self.view) if self.store is None else self.store.write()

    def submit(self, submission: Submission) -> bytes:
        """Fold one submission at ``now`` and keep it; its record's digest. Raises as the fold does."""
        entry = Entry(time_unix_ms=self.now, record=submission.record, signature=submission.signature)
        with self.writing() as view:
            changes = Overlay(view)
            apply_entry(changes, entry, submission.bodies, self.context)
            moved = postings(view, changes)
            # Double entry: whatever a test does, no entry makes or loses credits.
            assert sum(posting.amount_micro for posting in moved) == 0
            changes.merge()
        self.entries.append(entry)
        self.bodies.append(submission.bodies)
        return submission.record.digest(self.ledger_id)

    def propose_round(self) -> Round:
        """The round that the operator should sign now."""
        return propose_round(Overlay(self.view), self.context)

    def close_round(self) -> Round:
        """The operator logs the next round."""
        record = self.propose_round()
        self.submit(self.papers.round(record))
        return record

    def attest(self, record: Round, *members: int) -> None:
        """The given members (all, if none is given) attest to a round."""
        for member in members or range(len(self.parameters.committee)):
            self.submit(self.papers.attestation(member, record, self.parameters))

    def certify(self, record: Round) -> None:
        """The operator logs the certificate of all attestations so far."""
        signatures = attestations_of(self.view, record.number)
        self.submit(self.papers.certificate(record, self.parameters, signatures))

    def run_round(self) -> Round:
        """Round, everybody's attestation, certificate."""
        record = self.close_round()
        self.attest(record)
        self.certify(record)
        return record

    def fund(self, signer: Ed25519Signer, amount_micro: int) -> None:
        """Grant and certify."""
        grant_id = fake_id("fund", len(self.entries))
        self.submit(self.papers.grant(signer.public_key, amount_micro, id=grant_id))
        self.run_round()

    def order(self, *nodes: Ed25519Signer, tag: object = 0, **changes: object) -> Job:
        """A job of the client's at these nodes (``node`` if none is given), with its hold."""
        keys = [node.public_key for node in nodes or (self.node,)]
        submission = self.papers.job(
            self.client,
            keys,
            parameters=self.parameters_digest,
            tag=tag,
            **changes,  # type: ignore[arg-type]
        )
        self.submit(submission)
        job = submission.record
        if not isinstance(job, Job):
            raise TypeError("not a job")
        self.submit(self.papers.job_hold(self.client, job))
        return job

    def work(self, job: Job, positions: int) -> list[list[Receipt]]:
        """Every node of the plan logs its receipts in one batch per span; the chains, in plan order."""
        signers = {signer.public_key: signer for signer in (self.node, self.other_node)}
        chains = [self.papers.receipts(job, span, positions) for span in job.plan]
        for span, chain in zip(job.plan, chains, strict=True):
            self.submit(self.papers.batch(signers[span.node], chain))
        return chains

    def deliver(self, chains: Sequence[Sequence[Receipt]], *, closes: bool = True) -> None:
        """The client accepts each chain to its end."""
        self.submit(self.papers.delivery(self.client, [chain[-1] for chain in chains], closes=closes))

    def check_round(
        self,
        number: int,
        *,
        outcomes: Mapping[bytes, Outcome] | None = None,
        reason: Reason = Reason.MATCH,
        step_micro: int = 0,
    ) -> int:
        """Every member with duties commits, then reveals; how many verdicts there were."""
        verdicts = {
            member: self.papers.verdicts(
                number,
                member,
                reading.duties_of(self.view, member, number),
                outcomes=outcomes,
                reason=reason,
                step_micro=step_micro,
            )
            for member in reading.members_on_duty(self.view, number)
        }
        for member, found in verdicts.items():
            self.submit(self.papers.commit(member, found))
        for member, found in verdicts.items():
            self.submit(self.papers.reveal(member, found))
        return sum(len(found) for found in verdicts.values())

    def settle(self, job: Job) -> None:
        """The operator logs the settlement that is due."""
        digest = job.digest(self.ledger_id)
        record = propose_settlement(self.view, digest, self.ledger_id, now_unix_ms=self.now)
        self.submit(self.papers.signed(self.papers.operator, record))

    def refuse(
        self, submission: Submission, error: type[CreditLedgerError], match: str = ""
    ) -> CreditLedgerError:
        """Check that the fold refuses with exactly this error, and that nothing changed; the error."""
        before = self.snapshot()
        with pytest.raises(error, match=match or None) as caught:
            self.submit(submission)
        assert caught.type is error
        assert self.snapshot() == before
        return caught.value

    def snapshot(self) -> dict[bytes, bytes]:
        """The whole state."""
        return dict(self.view.scan(b""))
