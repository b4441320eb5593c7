"""Byte-exact cases of specs/minting.md."""

import json
from pathlib import Path
from typing import Any

from creditledger.activations.sealing import AuditKey
from creditledger.minting.handover import sign_handover, verify_handover
from creditledger.minting.sealed_evidence import open_sketches, seal_sketches
from creditledger.minting.work_order import WorkOrder
from creditledger.records.job import Job
from creditledger.records.receipt import Handover
from creditledger.transparency.keys import Ed25519Signer

VECTORS = Path(__file__).parents[2] / "vectors" / "minting"


def vector(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((VECTORS / f"{name}.json").read_text())
    return found


def octets(case: dict[str, Any], name: str) -> bytes:
    return bytes.fromhex(case[name])


def test_work_order() -> None:
    case = vector("work-order")
    order = WorkOrder(
        job=Job.decode(octets(case, "job")),
        layer_start=case["layer_start"],
        input_key=octets(case, "input_key"),
        output_key=octets(case, "output_key"),
    )
    assert order.encode() == octets(case, "encoded")
    assert octets(case, "encoded")[:12] == b"\x96\xc4\x08cl/order\x01"
    assert WorkOrder.decode(octets(case, "encoded")) == order


def test_handover() -> None:
    case = vector("handover")
    signer, ledger_id = Ed25519Signer(octets(case, "seed")), octets(case, "ledger_id")
    handover = Handover.decode(octets(case, "handover"))
    signed = sign_handover(handover, key=signer, ledger_id=ledger_id)
    assert signed == octets(case, "signed")
    by_hand = signer.sign(b"creditledger/v1/handover\0" + ledger_id + octets(case, "handover"))
    assert signed == b"\x92" + octets(case, "handover") + b"\xc4\x40" + by_hand
    assert verify_handover(signed, ledger_id=ledger_id) == handover


def test_sealed_sketches() -> None:
    """The box is bound to ledger and batch root."""
    case = vector("sealed-sketches")
    key, where = (
        AuditKey(octets(case, "audit_secret")),
        {
            "ledger_id": octets(case, "ledger_id"),
            "batch_root": octets(case, "batch_root"),
        },
    )
    opening = (octets(case, "salt"), octets(case, "sketch"))
    made = seal_sketches([opening], [key.public_key], random_bytes=lambda _: octets(case, "seed"), **where)
    assert made == octets(case, "box")
    assert open_sketches(made, key, **where) == [opening]
    associated = b"creditledger/v1/sealed-sketches\0" + where["ledger_id"] + where["batch_root"]
    assert key.open(made, associated=associated).endswith(opening[0] + opening[1])
