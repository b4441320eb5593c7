"""Byte-exact cases of specs/validation.md."""

import hashlib
import json
from pathlib import Path
from typing import Any

import msgpack
import pytest

from creditledger.activations.distance import SpotStatistics
from creditledger.records.verdict import Outcome, Reason, Verdict
from creditledger.validation.journal import AttestedRound, Journal, JournaledVerdict, RoundVerdicts
from creditledger.validation.judgement import Judgement

VECTORS = Path(__file__).parents[2] / "vectors" / "validation"
EVIDENCE = json.loads((VECTORS / "evidence.json").read_text())["cases"]
JOURNAL = json.loads((VECTORS / "journal.json").read_text())


@pytest.mark.parametrize("case", EVIDENCE, ids=[case["name"] for case in EVIDENCE])
def test_evidence(case: dict[str, Any]) -> None:
    """Statistics as integers in 10^-6, and their salted digest."""
    names = ("ratio", "tail", "resolution", "positions", "unresolved", "worst_position")
    given = case["statistics"]
    values = None if given is None else [float("inf") if one == "inf" else one for one in given]
    stats = None if values is None else SpotStatistics(**dict(zip(names, values, strict=True)), tails_above=0)
    judgement = Judgement(
        outcome=Outcome.UPHELD, reason=Reason.MATCH, statistics=stats, threshold=case["threshold"]
    )
    encoded, salt = bytes.fromhex(case["encoded"]), bytes.fromhex(case["salt"])
    assert judgement.statistics_bytes() == encoded
    by_hand = hashlib.sha256(b"creditledger/v1/evidence\0" + salt + encoded).hexdigest()
    assert judgement.evidence_digest(salt).hex() == case["evidence"] == by_hand
    if case["name"] == "measured":
        assert msgpack.unpackb(encoded) == [912_345, 1_750_000, 111_500_000, 1_104_000, 256, 0, 17]


def test_journal(tmp_path: Path) -> None:
    """Every file, named and filled as the page says, with its checksum."""
    salt, statistics = bytes.fromhex(JOURNAL["salt"]), bytes.fromhex(JOURNAL["statistics"])
    number, digest, log_size = JOURNAL["round"]
    journal = Journal(
        tmp_path,
        ledger_id=bytes.fromhex(JOURNAL["ledger_id"]),
        public_key=bytes.fromhex(JOURNAL["bls_key"]),
    )
    journal.note_attested(AttestedRound(number=number, digest=bytes.fromhex(digest), log_size=log_size))
    verdict = Verdict.decode(bytes.fromhex(JOURNAL["verdict"]))
    entry = JournaledVerdict(verdict=verdict, salt=salt, statistics=statistics)
    commit_salt = bytes.fromhex(JOURNAL["commit_salt"])
    journal.note_verdicts(RoundVerdicts(number=number, salt=commit_salt, verdicts=(entry,)))
    journal.close()
    written = {path.name: path.read_bytes().hex() for path in tmp_path.iterdir() if path.name != "lock"}
    assert written == JOURNAL["files"]
    for content in map(bytes.fromhex, written.values()):
        assert hashlib.sha256(content[:-32]).digest() == content[-32:]
