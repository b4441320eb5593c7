"""What a request about evidence names: parsed into digests and numbers, of which file names are made.

Source: specs/service.md §6.1."""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from creditledger.errors import MalformedRecordError
from creditledger.minting.handover import HANDOVER_BYTES_MAX, HANDOVER_SUFFIX
from creditledger.minting.kept_inputs import SEALED_INPUTS_BYTES_MAX
from creditledger.quantities import AMOUNT_MAX
from creditledger.validation.evidence import REFUTATION_SUFFIX, brought_name, refutation_name
from creditledger.validation.evidence_bundle import SEALED_EVIDENCE_BYTES_MAX

_HEX: Final = "([0-9a-f]{64})"
_NUMBER: Final = "(0|[1-9][0-9]{0,18})"
_PATH: Final = re.compile(f"/(inputs|handover|sealed|profile)/{_HEX}(?:/{_HEX})?")
_REFUTATION: Final = re.compile(f"/refutations/{_HEX}-{_NUMBER}-(0|[1-9][0-9]{{0,3}})")


class EvidenceKind(StrEnum):
    """What it is, by the first part of its path."""

    INPUTS = "inputs"
    HANDOVER = "handover"
    SEALED = "sealed"
    PROFILE = "profile"
    REFUTATION = "refutations"


BYTES_MAX: Final = {
    EvidenceKind.INPUTS: SEALED_INPUTS_BYTES_MAX,
    EvidenceKind.HANDOVER: HANDOVER_BYTES_MAX,
    EvidenceKind.REFUTATION: SEALED_EVIDENCE_BYTES_MAX,
}
"""Of what is brought; the other kinds come another way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidencePath:
    """One piece of evidence."""

    kind: EvidenceKind
    digest: bytes
    """32 bytes: an input root, or the digest of sketches, of a profile, or of the receipt refuted."""
    account: bytes | None = None
    """Who brought inputs or a handover, 32 bytes."""
    round: int = 0
    member: int = 0
    """Of the refutation."""

    @classmethod
    def parse(cls, path: str) -> "EvidencePath":
        """``path``: below where the application is mounted. Raises MalformedRecordError for any other."""
        refutation = _REFUTATION.fullmatch(path)
        if refutation is not None and int(refutation[2]) <= AMOUNT_MAX:
            return cls(
                kind=EvidenceKind.REFUTATION,
                digest=bytes.fromhex(refutation[1]),
                round=int(refutation[2]),
                member=int(refutation[3]),
            )
        found = _PATH.fullmatch(path)
        if found is None or (found[3] and found[1] in (EvidenceKind.SEALED, EvidenceKind.PROFILE)):
            raise MalformedRecordError("no path of evidence", expected="KIND/DIGEST")
        account = bytes.fromhex(found[3]) if found[3] else None
        return cls(kind=EvidenceKind(found[1]), digest=bytes.fromhex(found[2]), account=account)

    @classmethod
    def of_refutation(cls, name: str) -> "EvidencePath":
        """The path of what is called so beside a log. Raises MalformedRecordError."""
        return cls.parse(f"/refutations/{name.removesuffix(REFUTATION_SUFFIX)}")

    def __str__(self) -> str:
        """The inverse of `parse`."""
        if self.kind is EvidenceKind.REFUTATION:
            return f"/{self.kind}/{self.digest.hex()}-{self.round}-{self.member}"
        by = "" if self.account is None else f"/{self.account.hex()}"
        return f"/{self.kind}/{self.digest.hex()}{by}"

    @property
    def suffix(self) -> str:
        """Of its file's name."""
        return HANDOVER_SUFFIX if self.kind is EvidenceKind.HANDOVER else ""

    @property
    def file_names(self) -> tuple[str, ...]:
        """In a folder of evidence, the best first: what its account brought, then what has no name on."""
        if self.kind is EvidenceKind.REFUTATION:
            return (refutation_name(self.digest, round_number=self.round, member=self.member),)
        plain = self.digest.hex() + self.suffix
        if self.account is None:
            return (plain,)
        return (brought_name(self.digest, self.account, suffix=self.suffix), plain)
