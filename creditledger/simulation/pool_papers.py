"""What the people of a simulated pool sign, for one ledger: hashed signatures, real records.

Source: specs/simulation.md §4."""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import TypeAlias

from creditledger.credits.context import committee_of
from creditledger.quantities import AMOUNT_MAX, ZERO_DIGEST
from creditledger.records.job import Job, PlanSpan
from creditledger.records.parameters import Genesis
from creditledger.records.receipt import (
    BF16_NUMERICS,
    WINDOW,
    Batch,
    ChainHead,
    Delivery,
    OutputKind,
    Receipt,
)
from creditledger.records.record import Record
from creditledger.records.registration import Registration, Role
from creditledger.records.round import Attestation, Certificate, Round, round_statement
from creditledger.records.transfer import Grant, Hold, Settlement, Slash
from creditledger.records.verdict import CUSUM_STEP_BIAS, Commit, Reveal, Verdict, verdict_commitment
from creditledger.simulation.career import Finding
from creditledger.simulation.hashed_keys import aggregate_of, member_key, signature_of
from creditledger.simulation.world import World
from creditledger.transparency.certificate import encode_bitmap
from creditledger.transparency.merkle import leaf_hash, root_from_leaf_hashes

Paper: TypeAlias = tuple[Record, bytes, tuple[bytes, ...]]
"""A record, its signature, its bodies."""
_FOR_EVER = 10**15
_SALT = bytes(32)


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolPapers:
    """Makes every paper of one pool; its people are public keys."""

    world: World
    genesis: Genesis
    client: bytes

    @property
    def operator(self) -> bytes:
        """Its public key."""
        return self.genesis.operator

    def signed(self, key: bytes, record: Record, *bodies: bytes, length: int = 64) -> Paper:
        """``record`` as ``key`` signs it."""
        message = record.signing_bytes(self.genesis.ledger_id)
        return record, signature_of(key, message, length), bodies

    def registration(self, key: bytes, name: str, role: Role) -> Paper:
        """An account."""
        record = Registration(account=key, role=role, name=name, next_key=ZERO_DIGEST, admission=b"")
        return self.signed(key, record)

    def grant(self) -> Paper:
        """More than the client will ever spend."""
        record = Grant(
            id=_id(b"grant", 0), account=self.client, amount_micro=AMOUNT_MAX // 2, reason="simulation"
        )
        return self.signed(self.operator, record)

    def order(self, node: bytes, number: int, now_unix_ms: int) -> tuple[Paper, Paper]:
        """Job number ``number``, all of it at one node, and its hold."""
        count, parameters = self.world.receipts_a_round, self.genesis.parameters
        job = Job(
            id=_id(b"job", number),
            client=self.client,
            model=self.world.model.model,
            plan=(PlanSpan(layer_start=0, layer_stop=1, node=node),),
            max_positions=count * WINDOW,
            max_price_micro=self.world.price_micro(count),
            hold_id=_id(b"hold", number),
            parameters=parameters.digest(self.genesis.ledger_id),
            expires_unix_ms=now_unix_ms + _FOR_EVER,
        )
        hold = Hold(
            id=job.hold_id,
            holder=self.client,
            amount_micro=job.max_price_micro,
            job=job.digest(self.genesis.ledger_id),
            queue=ZERO_DIGEST,
            hardware="job",
            gpus=0,
            duration_ms=0,
            micro_per_gpu_second=0,
            expires_unix_ms=job.expires_unix_ms,
        )
        return self.signed(self.client, job), self.signed(self.client, hold)

    def work(self, node: bytes, job: bytes) -> tuple[Paper, Paper, list[bytes]]:
        """All receipts of a job in one batch, the client's last word on them, and their digests."""
        digests: list[bytes] = []
        bodies = []
        for place in range(self.world.receipts_a_round):
            receipt = self._receipt(node, job, place, digests[-1] if digests else ZERO_DIGEST)
            digests.append(receipt.digest(self.genesis.ledger_id))
            bodies.append(receipt.encode())
        batch = Batch(
            node=node,
            root=root_from_leaf_hashes(map(leaf_hash, bodies)),
            count=len(bodies),
            sealed=ZERO_DIGEST,
            audit_epoch=0,
        )
        head = ChainHead(node=node, layer_start=0, receipt=digests[-1], positions=len(bodies) * WINDOW)
        delivery = Delivery(client=self.client, job=job, heads=(head,), closes=1)
        return self.signed(node, batch, *bodies), self.signed(self.client, delivery), digests

    def _receipt(self, node: bytes, job: bytes, place: int, previous: bytes) -> Receipt:
        return Receipt(
            job=job,
            node=node,
            layer_start=0,
            layer_stop=1,
            window_start=place * WINDOW,
            positions=WINDOW,
            input_root=ZERO_DIGEST,
            output_root=ZERO_DIGEST,
            sketch=ZERO_DIGEST,
            previous=previous,
            model=self.world.model.model,
            numerics=BF16_NUMERICS,
            output_kind=OutputKind.ACTIVATIONS,
            sampler=ZERO_DIGEST,
            started_unix_ms=0,
            duration_ms=0,
        )

    def round(self, record: Round) -> Paper:
        """The operator's state commitment."""
        return self.signed(self.operator, record)

    def certification(self, record: Round) -> tuple[dict[int, bytes], list[Paper]]:
        """Every member's signature of a round, and the papers that carry them and their certificate."""
        committee, digest = committee_of(self.genesis.parameters), record.digest(self.genesis.ledger_id)
        statement = round_statement(digest, committee.digest, self.genesis.ledger_id)
        signatures = {
            member: signature_of(member_key(member), statement, 96) for member in range(self.world.members)
        }
        papers: list[Paper] = [
            (Attestation(round=digest, committee=committee.digest, member=member), signature, ())
            for member, signature in signatures.items()
        ]
        bitmap = encode_bitmap(frozenset(signatures), size=self.world.members)
        certificate = Certificate(round=digest, committee=committee.digest, signers=bitmap)
        papers.append((certificate, aggregate_of(list(signatures.values())), ()))
        return signatures, papers

    def verdicts(self, number: int, member: int, findings: Mapping[bytes, Finding]) -> tuple[Paper, Paper]:
        """A member's commit and reveal for round ``number``. ``findings``: by receipt digest, ascending."""
        bodies = [
            Verdict(
                round=number,
                member=member,
                receipt=receipt,
                outcome=finding.outcome,
                reason=finding.reason,
                cusum_step_biased=CUSUM_STEP_BIAS + finding.step_micro,
                evidence=ZERO_DIGEST,
            ).encode()
            for receipt, finding in findings.items()
        ]
        key, root = member_key(member), root_from_leaf_hashes(map(leaf_hash, bodies))
        commitment = verdict_commitment(member_key=key, root=root, salt=_SALT)
        commit = Commit(round=number, member=member, count=len(bodies), commitment=commitment)
        reveal = Reveal(round=number, member=member, count=len(bodies), root=root, salt=_SALT)
        return self.signed(key, commit, length=96), self.signed(key, reveal, *bodies, length=96)

    def settlement(self, record: Settlement) -> Paper:
        """What the fold proposes, signed."""
        return self.signed(self.operator, record)

    def slash(self, node: bytes, number: int, amount_micro: int) -> Paper:
        """The quorum's sentence: ``amount_micro``, or what is unvested if that is less."""
        record = Slash(id=_id(b"slash", number), node=node, amount_micro=amount_micro, reason="simulation")
        return self.signed(self.operator, record)


def _id(what: bytes, number: int) -> bytes:
    return sha256(what + number.to_bytes(8, "big")).digest()[:16]
