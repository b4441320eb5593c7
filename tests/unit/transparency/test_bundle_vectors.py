"""Bundles written once, byte for byte: every later version reads them the same way.

``CREDITLEDGER_WRITE_VECTORS=1`` writes files that are missing; one that is there is never changed."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from creditledger import errors
from creditledger.transparency.bundle import Bundle
from creditledger.transparency.trust_policy import TrustPolicy
from creditledger.transparency.verification import Verified, verify_bundle
from fakes.shown_pool import elsewhere, shown

FOLDER = Path(__file__).resolve().parents[2] / "vectors" / "bundle"
CASES = {
    "receipt-signed": "signed",
    "receipt-logged": "logged",
    "receipt-certified": "certified",
    "receipt-upheld": "upheld",
    "receipt-refuted": "refuted",
    "receipt-inconclusive": "inconclusive",
    "receipt-vested": "vested",
    "batch": "batch",
    "hold-open": "hold open",
    "hold-released": "hold released",
    "account": "account",
    "key": "key",
    "absent": "absent",
}
REFUSED = {
    "leaf-index-plus-one": "InclusionProofError",
    "other-ledger": "PolicyError",
    "without-its-certificate": "CertificateError",
    "without-its-verdict": "MalformedBundleError",
    "lines-reversed": "MalformedBundleError",
}


def result(found: Verified) -> dict[str, Any]:
    return {
        "subject": found.subject.name.lower(),
        "reached": list(found.reached),
        "work": found.work,
        "size": found.size,
        "time_unix_ms": found.time_unix_ms,
        "round": None if found.round is None else found.round.number,
        "delivered": found.delivered,
        "state": None if found.state is None else found.state.encode().hex(),
    }


def _refused(name: str) -> bytes:
    bundle = Bundle.decode(shown()["upheld"])
    if name == "leaf-index-plus-one":
        return bundle.replace(leaf=(bundle.leaf[0].replace(index=bundle.leaf[0].index + 1),)).encode()
    if name == "without-its-certificate":
        return Bundle.decode(shown()["account"]).replace(certified=(), states=()).encode()
    if name == "without-its-verdict":
        return bundle.replace(verdicts=()).encode()
    if name == "lines-reversed":
        text, lines = bundle.checkpoint.split(b"\n\n")
        ordered = lines.splitlines(keepends=True)
        return bundle.replace(checkpoint=text + b"\n\n" + b"".join(ordered[::-1])).encode()
    return elsewhere()["undrawn vested"]


def _write() -> None:
    policy = shown().policy.serialize().decode()
    FOLDER.mkdir(parents=True, exist_ok=True)
    for file, name in CASES.items():
        found = result(verify_bundle(shown()[name], shown().policy, require="signed"))
        vector = {"policy": policy, "bundle": shown()[name].hex(), "verified": found}
        _put(file, {"title": f"what `{name}` proves"} | vector)
    for file, error in REFUSED.items():
        vector = {"policy": policy, "bundle": _refused(file).hex(), "error": error}
        _put(f"refused-{file}", {"title": f"refused: {file}"} | vector)


def _put(file: str, vector: dict[str, Any]) -> None:
    path = FOLDER / f"{file}.json"
    if not path.exists():
        path.write_text(json.dumps(vector, indent=1) + "\n")


if os.environ.get("CREDITLEDGER_WRITE_VECTORS"):
    _write()

VECTORS = {path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))}


def test_no_vector_is_missing() -> None:
    assert set(VECTORS) == {*CASES, *(f"refused-{file}" for file in REFUSED)}


@pytest.mark.parametrize("name", list(VECTORS))
def test_a_vector_reads_as_it_always_did(name: str) -> None:
    vector = VECTORS[name]
    encoded, policy = bytes.fromhex(vector["bundle"]), TrustPolicy.parse(vector["policy"].encode())
    assert Bundle.decode(encoded).encode() == encoded
    if "error" in vector:
        with pytest.raises(errors.VerificationError) as caught:
            verify_bundle(encoded, policy, require="signed")
        assert caught.type is getattr(errors, vector["error"])
        return
    assert result(verify_bundle(encoded, policy, require="signed")) == vector["verified"]


@pytest.mark.parametrize("name", list(CASES))
def test_the_prover_still_writes_that_form(name: str) -> None:
    """The same parts, whatever the pool that these are taken from has become."""
    then, now = Bundle.decode(bytes.fromhex(VECTORS[name]["bundle"])), Bundle.decode(shown()[CASES[name]])
    assert then.subject == now.subject
    for part in ("leaf", "entry", "job", "delivery", "certified", "states", "verdicts"):
        assert len(getattr(then, part)) == len(getattr(now, part)), part
