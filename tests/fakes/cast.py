"""The people of a pool, with fixed keys, and every paper they can sign. Nothing here folds anything."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from creditledger.credits import tariff
from creditledger.credits.context import committee_of
from creditledger.quantities import ZERO_DIGEST
from creditledger.records.account import Budget, Closing, Delegation, Listing
from creditledger.records.entry import Submission
from creditledger.records.job import Job, PlanSpan
from creditledger.records.parameters import (
    Genesis,
    HardwarePrice,
    Parameters,
)
from creditledger.records.receipt import BF16_NUMERICS, Batch, ChainHead, Delivery, OutputKind, Receipt
from creditledger.records.record import Record
from creditledger.records.registration import Registration, Role, Rotation, admission_bytes
from creditledger.records.round import Attestation, Certificate, Round, round_statement
from creditledger.records.transfer import (
    Capture,
    Clawback,
    CreditLine,
    DelegatedHold,
    Expire,
    Grant,
    Hold,
    Levy,
    LevyPayee,
    LevyShare,
    Refund,
    Release,
    Slash,
    Transfer,
)
from creditledger.records.verdict import (
    CUSUM_STEP_BIAS,
    Commit,
    Outcome,
    Reason,
    Reveal,
    Verdict,
    verdict_commitment,
)
from creditledger.transparency.certificate import encode_bitmap, make_certificate
from creditledger.transparency.keys import Ed25519Signer
from creditledger.transparency.merkle import leaf_hash, root_from_leaf_hashes
from fakes.committee import Certifier, fake_aggregate, fake_digest, real_validator, validator
from fakes.terms import (
    HARDWARE,
    HOUR_MS,
    MODEL,
    START_MS,
    ed25519,
    fake_id,
    pool_genesis,
    pool_parameters,
)

__all__ = [
    "HARDWARE",
    "HOUR_MS",
    "MODEL",
    "START_MS",
    "Papers",
    "Successor",
    "commitment",
    "ed25519",
    "fake_digest",
    "fake_id",
    "pool_genesis",
    "pool_parameters",
    "real_validator",
    "validator",
]


def commitment(next_key: Ed25519Signer | None) -> bytes:
    """What commits to a key; zero for none."""
    return ZERO_DIGEST if next_key is None else hashlib.sha256(next_key.public_key).digest()


class Successor:
    """Signs with a later key for the account that a first key names: what `Papers` takes for a signer."""

    def __init__(self, first: Ed25519Signer, later: Ed25519Signer) -> None:
        self.public_key = first.public_key
        self._later = later

    def sign(self, message: bytes) -> bytes:
        return self._later.sign(message)


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
        self,
        signer: Ed25519Signer,
        name: str,
        role: Role,
        *,
        admitted: bool = False,
        next_key: Ed25519Signer | None = None,
    ) -> Submission:
        message = admission_bytes(signer.public_key, self.ledger_id)
        record = Registration(
            account=signer.public_key,
            role=role,
            name=name,
            next_key=commitment(next_key),
            admission=self.operator.sign(message) if admitted else b"",
        )
        return self.signed(signer, record)

    def rotation(
        self,
        account: bytes,
        old: Ed25519Signer,
        new: Ed25519Signer,
        *,
        next_key: Ed25519Signer | None = None,
        consents: Ed25519Signer | None = None,
    ) -> Submission:
        """``account`` hands over from ``old`` to ``new``, or whoever ``consents``."""
        record = Rotation(
            account=account, new_key=new.public_key, next_key=commitment(next_key), consent=bytes(64)
        )
        consent = (consents or new).sign(record.signing_bytes(self.ledger_id))
        return self.signed(old, record.replace(consent=consent))

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
        return self.signed(client, record.replace(**changes))  # type: ignore[arg-type]

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
        return self.signed(client, record.replace(**changes))  # type: ignore[arg-type]

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
        return self.signed(holder, record.replace(**changes))  # type: ignore[arg-type]

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
        return self.signed(queue, record.replace(**changes))  # type: ignore[arg-type]

    def release(self, queue: Ed25519Signer, hold: bytes, *, tag: object = 0) -> Submission:
        record = Release(
            id=fake_id("release", tag, hold), hold=hold, queue=queue.public_key, reason="finished"
        )
        return self.signed(queue, record)

    def delegation(
        self,
        account: Ed25519Signer,
        delegate: bytes,
        queue: bytes,
        *,
        cap_micro: int = 1_000_000,
        until_unix_ms: int = START_MS + 1_000 * HOUR_MS,
    ) -> Submission:
        record = Delegation(
            account=account.public_key,
            delegate=delegate,
            cap_micro=cap_micro,
            until_unix_ms=until_unix_ms,
            queue=queue,
        )
        return self.signed(account, record)

    def delegated_hold(
        self, delegate: Ed25519Signer, holder: bytes, queue: bytes, *, tag: object = 0, **changes: object
    ) -> Submission:
        """`voucher_hold` of ``holder``'s, made by ``delegate``."""
        plain = self.voucher_hold(delegate, queue, tag=("delegated", tag), **changes)
        copied = {name: getattr(plain.record, name) for name in Hold.__struct_fields__}
        record = DelegatedHold(**copied | {"holder": holder}, delegate=delegate.public_key)
        return self.signed(delegate, record)

    def budget(
        self,
        account: Ed25519Signer,
        limit_micro: int,
        *,
        days: int = 1,
        delegate: bytes = ZERO_DIGEST,
        notice_micro: int = 0,
        tag: object = 0,
    ) -> Submission:
        record = Budget(
            id=fake_id("budget", tag, delegate, limit_micro, days),
            account=account.public_key,
            delegate=delegate,
            limit_micro=limit_micro,
            days=days,
            notice_micro=notice_micro,
        )
        return self.signed(account, record)

    def closing(self, account: Ed25519Signer) -> Submission:
        return self.signed(account, Closing(account=account.public_key))

    def listing(self, account: Ed25519Signer, *, listed: bool, tag: object = 0) -> Submission:
        record = Listing(id=fake_id("listing", tag), account=account.public_key, listed=int(listed))
        return self.signed(account, record)

    def refund(
        self, queue: Ed25519Signer, capture: bytes, amount_micro: int, *, tag: object = 0
    ) -> Submission:
        record = Refund(
            id=fake_id("refund", tag, capture),
            capture=capture,
            queue=queue.public_key,
            amount_micro=amount_micro,
            reason="node-failure",
        )
        return self.signed(queue, record)

    def clawback(
        self, job: bytes, node: bytes, amount_micro: int, *, layer_start: int = 0, tag: object = 0
    ) -> Submission:
        record = Clawback(
            id=fake_id("clawback", tag, job, layer_start),
            job=job,
            node=node,
            layer_start=layer_start,
            amount_micro=amount_micro,
            reason="wrong-output",
        )
        return self.signed(self.operator, record)

    def levy(self, round_number: int, shares: tuple[LevyShare, ...], *, tag: object = 0) -> Submission:
        record = Levy(id=fake_id("levy", tag, round_number), round=round_number, shares=shares)
        return self.signed(self.operator, record)

    def levy_payee(self, member: int, payee: bytes, *, tag: object = 0) -> Submission:
        key = validator(member, is_real=self.real_bls)
        record = LevyPayee(id=fake_id("payee", tag, member), validator=key.public_key, payee=payee)
        return self.signed(key, record)

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
