"""The evidence of a refutation in a working pool: opened, changed, held against the ledger's policy."""

from dataclasses import replace

from creditledger.activations.sealing import AuditKey
from creditledger.ledger.ledger import Ledger
from creditledger.records.receipt import Receipt
from creditledger.transparency.montgomery import x25519_secret
from creditledger.validation.bound_evidence import BoundEvidence, bind_evidence
from creditledger.validation.evidence import DirectoryEvidence
from creditledger.validation.evidence_bundle import EvidenceBundle
from creditledger.validation.judgement import Judgement
from creditledger.validation.sealed_refutation import open_evidence
from fakes.committee import fake_digest
from fakes.working_pool import WorkingPool, audit_key


def sealed_refutation(ledger: Ledger, receipt: Receipt, *, member: int = 0) -> bytes:
    """What ``member`` shipped about ``receipt``."""
    shown, digest = DirectoryEvidence(ledger.path), receipt.digest(ledger.id)
    number = next(number for number, by in shown.refutations(digest) if by == member)
    sealed = shown.refutation(digest, round_number=number, member=member)
    assert sealed is not None
    return sealed


def opened_refutation(
    ledger: Ledger, receipt: Receipt, *, member: int = 0, key: AuditKey | None = None
) -> EvidenceBundle:
    """The same, opened: by the member itself unless ``key`` is given."""
    sealed = sealed_refutation(ledger, receipt, member=member)
    opener = key or audit_key(member)
    return open_evidence(sealed, opener, ledger_id=ledger.id, receipt=receipt.digest(ledger.id))


def party_key(name: str) -> AuditKey:
    """The X25519 key of the party that `ed25519` makes of this name."""
    return AuditKey(x25519_secret(fake_digest("ed25519", name)))


def bound(pool: WorkingPool, bundle: EvidenceBundle) -> BoundEvidence:
    """``bundle`` as a stranger with the ledger's policy reads it."""
    return bind_evidence(bundle.encode(), pool.ledger.policy(), now_unix_ms=pool.clock.now)


def repeated(pool: WorkingPool, bundle: EvidenceBundle) -> Judgement:
    """Its check, done again."""
    return bound(pool, bundle).judge(pool.model.runner)


def changed(bundle: EvidenceBundle, **parts: object) -> EvidenceBundle:
    """With other parts; ``box`` and ``inputs`` are blocks."""
    blocks = {name: parts.pop(name) for name in ("box", "inputs") if name in parts}
    return replace(bundle, parts=bundle.parts.replace(**parts), **blocks)
