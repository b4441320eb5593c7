"""Evidence bundles: what an accused or a confirmer is sent."""

from collections.abc import Sequence

from creditledger.errors import CreditLedgerError, VerificationError
from creditledger.transparency.bundle import decode_bundle
from creditledger.validation.bound_evidence import bind_evidence
from creditledger.validation.evidence_bundle import MAGIC, EvidenceBundle, EvidenceParts
from fuzz.record_targets import HEADS, bundle_seeds, shown_bundles
from fuzz.target import Target, is_inverse, stored


def feed_evidence(data: bytes) -> bool:
    """Read as itself; none of these holds together, so binding refuses it with an error of ours."""
    if not is_inverse(EvidenceBundle.decode, EvidenceBundle.encode, data):
        return False
    policy, _ = shown_bundles()
    try:
        bind_evidence(data, policy)
    except VerificationError:
        return True
    raise AssertionError("a forged evidence bundle")


def evidence_seeds() -> Sequence[bytes]:
    """One for each stored bundle that shows a verdict, around records that belong to others."""
    job, parameters, receipt = (
        bytes.fromhex(next(stored(f"records/{name}.json"))["encoded"])
        for name in ("job", "parameters", "receipt")
    )
    seeds = []
    for proof in bundle_seeds():
        try:
            verdicts = decode_bundle(proof).verdicts
        except CreditLedgerError:
            continue
        for chain in ((), (receipt,)) if verdicts else ():
            parts = EvidenceParts(
                ledger=bytes(32),
                proof=proof,
                job=job,
                parameters=parameters,
                chain=chain,
                sketches=b"cl/skp1\0",
                slot_key=b"",
                profile=b"",
                handover=b"",
                verdict=verdicts[0],
                salt=bytes(32),
                statistics=b"\x90",
            )
            seeds.append(EvidenceBundle(parts=parts, inputs=(b"cl/inp1\0",) * (len(chain) + 1)).encode())
    return seeds


EVIDENCE_TARGETS = {"evidence": Target(feed=feed_evidence, seeds=evidence_seeds, words=[MAGIC, *HEADS])}
