"""The people of a pool, with fixed keys, and every paper they can sign. Nothing here folds anything."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Protocol

from creditledger.credits import tariff
from creditledger.credits.context import TransparencyVerifier, committee_of
from creditledger.errors import CertificateError, SignatureError
from creditledger.quantities import ZERO_DIGEST
from creditledger.records.entry import Submission
from creditledger.records.job import Job, PlanSpan
from creditledger.records.parameters import (
    Admission,
    Genesis,
    HardwarePrice,
    LevyUse,
    Member,
    ModelTerms,
    Parameters,
)
from creditledger.records.receipt import BF16_NUMERICS, Batch, ChainHead, Delivery, OutputKind, Receipt
from creditledger.records.record import Record
from creditledger.records.registration import Registration, Role, admission_bytes
from creditledger.records.round import Attestation, Certificate, Round, round_statement
from creditledger.records.transfer import Capture, CreditLine, Expire, Grant, Hold, Release, Slash, Transfer
from creditledger.records.verdict import (
    CUSUM_STEP_BIAS,
    Commit,
    Outcome,
    Reason,
    Reveal,
    Verdict,
    verdict_commitment,
)
from creditledger.transparency.bls import BlsSigner, key_from_seed
from creditledger.transparency.certificate import Committee, decode_bitmap, encode_bitmap, make_certificate
from creditledger.transparency.keys import Ed25519Signer
from creditledger.transparency.merkle import leaf_hash, root_from_leaf_hashes

START_MS = 1_800_000_000_000
HOUR_MS = 3_600_000


def fake_digest(*parts: object) -> bytes:
    """32 bytes that stand for anything: roots, models, samplers."""
    return hashlib.sha256(repr(parts).encode()).digest()


def fake_id(*parts: object) -> bytes:
    """A 16-byte client id."""
    return fake_digest("id", *parts)[:16]


MODEL = ModelTerms(
    model=fake_digest("model"),
    name="tiny-llama",
    layers=4,
    hidden=64,
    ff=128,
    heads=4,
    kv_heads=2,
    head_dim=16,
    micro_per_tflop=10**9,
)
HARDWARE = (
    HardwarePrice(name="cpu", micro_per_gpu_second=10_000),
    HardwarePrice(name="h100", micro_per_gpu_second=1_500_001),
)


class Certifier(Protocol):
    """What a validator's key does; `BlsSigner` is the real one."""

    public_key: bytes

    def sign(self, message: bytes) -> bytes: ...

    def proof_of_possession(self) -> bytes: ...


class FakeBlsSigner:
    """Signs by hashing: anybody could, but a million times faster."""

    def __init__(self, seed: bytes) -> None:
        self.public_key = (hashlib.sha512(b"fake bls" + seed).digest())[:48]

    def sign(self, message: bytes) -> bytes:
        return fake_bls_signature(self.public_key, message)

    def proof_of_possession(self) -> bytes:
        return fake_bls_signature(self.public_key, b"possession")


def fake_bls_signature(public_key: bytes, message: bytes) -> bytes:
    """96 bytes."""
    return hashlib.shake_128(b"fake signature" + public_key + message).digest(96)


class FakeBlsVerifier(TransparencyVerifier):
    """Real Ed25519; BLS as `FakeBlsSigner` does it."""

    def bls(self, public_key: bytes, message: bytes, signature: bytes) -> None:
        if fake_bls_signature(public_key, message) != signature:
            raise SignatureError("fake BLS signature does not verify")

    def certificate(self, committee: Committee, statement: bytes, bitmap: bytes, aggregate: bytes) -> None:
        signers = decode_bitmap(bitmap, size=len(committee.members))
        if len(signers) < committee.quorum:
            raise CertificateError("too few members signed")
        signatures = [fake_bls_signature(committee.members[i].bls_key, statement) for i in signers]
        if fake_aggregate(signatures) != aggregate:
            raise CertificateError("fake aggregate does not verify")


def fake_aggregate(signatures: Sequence[bytes]) -> bytes:
    """96 bytes."""
    return hashlib.shake_128(b"fake aggregate" + b"".join(signatures)).digest(96)


def ed25519(name: str) -> Ed25519Signer:
    """The fixed key of whoever is called ``name``."""
    return Ed25519Signer(fake_digest("ed25519", name))


@lru_cache(maxsize=64)
def real_validator(index: int) -> BlsSigner:
    """The fixed BLS key of validator ``index``."""
    return BlsSigner(key_from_seed(fake_digest("bls", index)))


@lru_cache(maxsize=64)
def _member(index: int, is_real: bool) -> Member:
    signer = validator(index, is_real=is_real)
    return Member(
        bls_key=signer.public_key,
        proof_of_possession=signer.proof_of_possession(),
        audit_key=fake_digest("audit key", index),
    )


def validator(index: int, *, is_real: bool) -> Certifier:
    """Validator ``index``, with a real or a fake key."""
    return real_validator(index) if is_real else FakeBlsSigner(fake_digest("bls", index))


def pool_parameters(
    *, members: int = 1, quorum: int | None = None, real_bls: bool = True, **changes: object
) -> Parameters:
    """Parameters of a pool whose committee are validators 0.. in order; ``changes`` replace fields."""
    base = Parameters(
        sequence=0,
        rule_set=1,
        committee=tuple(_member(index, real_bls) for index in range(members)),
        quorum=members if quorum is None else quorum,
        admission=Admission.OPEN,
        transfers_allowed=1,
        levy_ppm=10_000,
        levy_use=LevyUse.BURN,
        check_floor_ppm=20_000,
        probation_micro=10**15,
        always_check_micro=0,
        vesting_rounds=1,
        vesting_ms=0,
        vesting_micro=0,
        grace_ms=60_000,
        clock_tolerance_ms=5_000,
        models=(MODEL,),
        hardware=HARDWARE,
        profiles=(),
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def pool_genesis(parameters: Parameters, *, operator: Ed25519Signer | None = None) -> Genesis:
    """The genesis of the fake pool."""
    return Genesis(
        origin="pool.example/fake",
        operator=(operator or ed25519("operator")).public_key,
        created_unix_ms=START_MS,
        parameters=parameters,
    )


@dataclass(kw_only=True)
class Papers:
    """Signs every kind of record for one ledger. Each method returns a valid `Submission`."""

    genesis: Genesis
    operator: Ed25519Signer = field(default_factory=lambda: ed25519("operator"))
    real_bls: bool = True

    @property
    def ledger_id(self) -> bytes:
        return self.genesis.ledger_id

    def signed(self, signer: Ed25519Signer | Certifier, record: Record, *bodies: bytes) -> Submission:
        """``record`` under ``signer``'s signature of its signing bytes."""
        signature = signer.sign(record.signing_bytes(self.ledger_id))
        return Submission(record=record, signature=signature, bodies=bodies)

    def founding(self) -> Submission:
        return self.signed(self.operator, self.genesis)

    def registration(
        self, signer: Ed25519Signer, name: str, role: Role, *, admitted: bool = False
    ) -> Submission:
        message = admission_bytes(signer.public_key, self.ledger_id)
        record = Registration(
            account=signer.public_key,
            role=role,
            name=name,
            next_key=ZERO_DIGEST,
            admission=self.operator.sign(message) if admitted else b"",
        )
        return self.signed(signer, record)

    def grant(self, account: bytes, amount_micro: int, *, id: bytes | None = None) -> Submission:
        grant_id = id or fake_id("grant", account, amount_micro)
        record = Grant(id=grant_id, account=account, amount_micro=amount_micro, reason="allocation")
        return self.signed(self.operator, record)

    def credit_line(self, account: bytes, limit_micro: int, *, id: bytes | None = None) -> Submission:
        line_id = id or fake_id("line", account, limit_micro)
        return self.signed(self.operator, CreditLine(id=line_id, account=account, limit_micro=limit_micro))

    def slash(self, node: bytes, amount_micro: int, *, id: bytes | None = None) -> Submission:
        record = Slash(
            id=id or fake_id("slash", node, amount_micro),
            node=node,
            amount_micro=amount_micro,
            reason="fraud",
        )
        return self.signed(self.operator, record)

    def parameters(self, parameters: Parameters, *profiles: bytes) -> Submission:
        return self.signed(self.operator, parameters, *profiles)

    def transfer(
        self, payer: Ed25519Signer, payee: bytes, amount_micro: int, *, id: bytes | None = None
    ) -> Submission:
        record = Transfer(
            id=id or fake_id("transfer", payer.public_key, payee, amount_micro),
            payer=payer.public_key,
            payee=payee,
            amount_micro=amount_micro,
        )
        return self.signed(payer, record)

    def job(
        self,
        client: Ed25519Signer,
        nodes: Sequence[bytes],
        *,
        parameters: bytes,
        tag: object = 0,
        max_positions: int = 1024,
        max_price_micro: int = 1_000_000,
        expires_unix_ms: int = START_MS + HOUR_MS,
        layers: int = MODEL.layers,
        **changes: object,
    ) -> Submission:
        """An order of `MODEL`, its layers split evenly among ``nodes`` in order."""
        share = layers // len(nodes)
        plan = tuple(
            PlanSpan(layer_start=i * share, layer_stop=(i + 1) * share, node=node)
            for i, node in enumerate(nodes)
        )
        record = Job(
            id=fake_id("job", tag),
            client=client.public_key,
            model=MODEL.model,
            plan=plan,
            max_positions=max_positions,
            max_price_micro=max_price_micro,
            hold_id=fake_id("hold of job", tag),
            parameters=parameters,
            expires_unix_ms=expires_unix_ms,
        )
        return self.signed(client, replace(record, **changes))  # type: ignore[arg-type]

    def job_hold(self, client: Ed25519Signer, job: Job, **changes: object) -> Submission:
        """The hold that covers ``job``."""
        record = Hold(
            id=job.hold_id,
            holder=job.client,
            amount_micro=job.max_price_micro,
            job=job.digest(self.ledger_id),
            queue=ZERO_DIGEST,
            hardware="job",
            gpus=0,
            duration_ms=0,
            micro_per_gpu_second=0,
            expires_unix_ms=job.expires_unix_ms,
        )
        return self.signed(client, replace(record, **changes))  # type: ignore[arg-type]

    def voucher_hold(
        self,
        holder: Ed25519Signer,
        queue: bytes,
        *,
        tag: object = 0,
        gpus: int = 1,
        duration_ms: int = 10_000,
        hardware: HardwarePrice = HARDWARE[0],
        expires_unix_ms: int = START_MS + HOUR_MS,
        **changes: object,
    ) -> Submission:
        """A hold for GPU time at ``queue``, at the tariff's price."""
        record = Hold(
            id=fake_id("voucher", tag),
            holder=holder.public_key,
            amount_micro=tariff.gpu_price(
                gpus=gpus, duration_ms=duration_ms, micro_per_gpu_second=hardware.micro_per_gpu_second
            ),
            job=ZERO_DIGEST,
            queue=queue,
            hardware=hardware.name,
            gpus=gpus,
            duration_ms=duration_ms,
            micro_per_gpu_second=hardware.micro_per_gpu_second,
            expires_unix_ms=expires_unix_ms,
        )
        return self.signed(holder, replace(record, **changes))  # type: ignore[arg-type]

    def capture(
        self, queue: Ed25519Signer, hold: Hold, gpu_ms: int, *, tag: object = 0, **changes: object
    ) -> Submission:
        record = Capture(
            id=fake_id("capture", tag, hold.id),
            hold=hold.digest(self.ledger_id),
            queue=queue.public_key,
            gpu_ms=gpu_ms,
            amount_micro=tariff.gpu_price(
                gpus=1, duration_ms=gpu_ms, micro_per_gpu_second=hold.micro_per_gpu_second
            ),
        )
        return self.signed(queue, replace(record, **changes))  # type: ignore[arg-type]

    def release(self, queue: Ed25519Signer, hold: bytes, *, tag: object = 0) -> Submission:
        record = Release(
            id=fake_id("release", tag, hold), hold=hold, queue=queue.public_key, reason="finished"
        )
        return self.signed(queue, record)

    def expire(self, hold: bytes) -> Submission:
        return self.signed(self.operator, Expire(hold=hold))

    def receipts(
        self,
        job: Job,
        span: PlanSpan,
        positions: int,
        *,
        first_position: int = 0,
        previous: bytes = ZERO_DIGEST,
        tag: object = 0,
    ) -> list[Receipt]:
        """A chain of receipts of one span from ``first_position`` on, ``positions`` in all."""
        chain: list[Receipt] = []
        end = first_position + positions
        for start in range(first_position, end, 256):
            receipt = Receipt(
                job=job.digest(self.ledger_id),
                node=span.node,
                layer_start=span.layer_start,
                layer_stop=span.layer_stop,
                window_start=start,
                positions=min(256, end - start),
                input_root=fake_digest("rows", tag, job.id, span.layer_start, start),
                output_root=fake_digest("rows", tag, job.id, span.layer_stop, start),
                sketch=fake_digest("sketch", tag, job.id, span.layer_stop, start),
                previous=previous,
                model=job.model,
                numerics=BF16_NUMERICS,
                output_kind=OutputKind.ACTIVATIONS,
                sampler=ZERO_DIGEST,
                started_unix_ms=START_MS,
                duration_ms=5,
            )
            previous = receipt.digest(self.ledger_id)
            chain.append(receipt)
        return chain

    def batch(
        self, node: Ed25519Signer, receipts: Sequence[Receipt], *, sealed: bytes | None = None
    ) -> Submission:
        """One batch. With ``sealed``, that body follows the receipts, as a `Ledger` takes it."""
        bodies = [receipt.encode() for receipt in receipts]
        record = Batch(
            node=node.public_key,
            root=root_from_leaf_hashes(leaf_hash(body) for body in bodies),
            count=len(bodies),
            sealed=ZERO_DIGEST if sealed is None else hashlib.sha256(sealed).digest(),
            audit_epoch=0,
        )
        return self.signed(node, record, *bodies, *(() if sealed is None else (sealed,)))

    def delivery(
        self, client: Ed25519Signer, receipts: Sequence[Receipt], *, closes: bool = True
    ) -> Submission:
        """The client accepts everything up to each of ``receipts``: one per span, in layer order."""
        heads = tuple(
            ChainHead(
                node=receipt.node,
                layer_start=receipt.layer_start,
                receipt=receipt.digest(self.ledger_id),
                positions=receipt.window_start + receipt.positions,
            )
            for receipt in receipts
        )
        record = Delivery(client=client.public_key, job=receipts[0].job, heads=heads, closes=int(closes))
        return self.signed(client, record)

    def round(self, record: Round) -> Submission:
        return self.signed(self.operator, record)

    def attestation(self, member: int, record: Round, parameters: Parameters) -> Submission:
        """Validator ``member``'s word for a round under ``parameters``' committee."""
        committee, digest = committee_of(parameters), record.digest(self.ledger_id)
        signer = validator(member, is_real=self.real_bls)
        return Submission(
            record=Attestation(round=digest, committee=committee.digest, member=member),
            signature=signer.sign(round_statement(digest, committee.digest, self.ledger_id)),
        )

    def certificate(
        self, record: Round, parameters: Parameters, signatures: Mapping[int, bytes]
    ) -> Submission:
        """The certificate from the members' attestation signatures."""
        committee, digest = committee_of(parameters), record.digest(self.ledger_id)
        statement = round_statement(digest, committee.digest, self.ledger_id)
        if self.real_bls:
            bitmap, aggregate = make_certificate(signatures, committee=committee, statement=statement)
        else:
            bitmap = encode_bitmap(frozenset(signatures), size=len(committee.members))
            aggregate = fake_aggregate([signatures[member] for member in sorted(signatures)])
        certificate = Certificate(round=digest, committee=committee.digest, signers=bitmap)
        return Submission(record=certificate, signature=aggregate)

    def verdicts(
        self,
        round_number: int,
        member: int,
        receipts: Sequence[bytes],
        *,
        outcomes: Mapping[bytes, Outcome] | None = None,
        reason: Reason = Reason.MATCH,
        step_micro: int = 0,
    ) -> list[Verdict]:
        """One verdict for each receipt digest: upheld unless ``outcomes`` says otherwise."""
        return [
            Verdict(
                round=round_number,
                member=member,
                receipt=receipt,
                outcome=(outcomes or {}).get(receipt, Outcome.UPHELD),
                reason=reason,
                cusum_step_biased=CUSUM_STEP_BIAS + step_micro,
                evidence=fake_digest("evidence", member, receipt),
            )
            for receipt in sorted(receipts)
        ]

    def commit(self, member: int, verdicts: Sequence[Verdict]) -> Submission:
        signer = validator(member, is_real=self.real_bls)
        root = root_from_leaf_hashes(leaf_hash(verdict.encode()) for verdict in verdicts)
        commitment = verdict_commitment(member_key=signer.public_key, root=root, salt=self._salt(member))
        record = Commit(round=verdicts[0].round, member=member, count=len(verdicts), commitment=commitment)
        return self.signed(signer, record)

    def reveal(self, member: int, verdicts: Sequence[Verdict]) -> Submission:
        bodies = [verdict.encode() for verdict in verdicts]
        record = Reveal(
            round=verdicts[0].round,
            member=member,
            count=len(verdicts),
            root=root_from_leaf_hashes(leaf_hash(body) for body in bodies),
            salt=self._salt(member),
        )
        return self.signed(validator(member, is_real=self.real_bls), record, *bodies)

    def _salt(self, member: int) -> bytes:
        return fake_digest("salt", member)
