"""A published log of three tiles for other people's programs to read, with a proof in text."""

import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from creditledger.ledger.prove import prover
from creditledger.transparency.cosignature import MlDsaCosignatureSigner
from creditledger.transparency.note import VerifierKey, parse_note
from creditledger.transparency.trust_policy import TrustPolicy
from ledger_pools import ORIGIN, START_MS, fill, found, seed

OLD_SIZE, SIZE, INDEX = 260, 523, 300
"""Both sizes end in a partial tile, and the entry lies in a full one."""
_KEEP: list[tempfile.TemporaryDirectory[str]] = []


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedLog:
    """What a stranger gets."""

    public: Path
    """The public directory, also published when it had `OLD_SIZE` entries."""
    old_note: bytes
    note: bytes
    policy: TrustPolicy
    proof: bytes
    """A ``.tlog-proof`` of entry `INDEX`."""
    entry: bytes

    @property
    def log_vkey(self) -> VerifierKey:
        return self.policy.logs[0].vkey

    @property
    def witness_vkey(self) -> VerifierKey:
        return self.policy.witnesses[0].vkey

    def cosigned(self, signer: MlDsaCosignatureSigner) -> bytes:
        """The published note with one more line."""
        text = parse_note(self.note).text
        return self.note + signer.cosign(text, timestamp=START_MS // 1_000).line


@cache
def published_log() -> PublishedLog:
    """The log, made once; the folder lasts as long as the process. Tests copy before they change it."""
    _KEEP.append(tempfile.TemporaryDirectory(prefix="creditledger-published-"))
    with found(Path(_KEEP[-1].name) / "pool") as ledger:
        fill(ledger, OLD_SIZE)
        old_note = ledger.publish()
        fill(ledger, SIZE)
        note = ledger.publish()
        with prover(ledger) as prove:
            return PublishedLog(
                public=ledger.directory.public,
                old_note=old_note,
                note=note,
                policy=ledger.policy(),
                proof=prove.tlog_proof(INDEX).encode(),
                entry=prove.log.entry_bytes(INDEX),
            )


def post_quantum_signer(name: str = ORIGIN) -> MlDsaCosignatureSigner:
    """An ML-DSA-44 cosigner."""
    return MlDsaCosignatureSigner(name, seed(f"ml-dsa {name}"))
