"""The vectors of specs/credits.md, each recomputed."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from creditledger.credits import reading, tariff
from creditledger.credits.account import check_invariant
from creditledger.credits.duty import draw_threshold, drawn_members
from creditledger.credits.fold import propose_settlement
from creditledger.records.parameters import ModelTerms
from creditledger.records.round import draw_seed
from creditledger.records.verdict import Outcome, Reason
from fakes.cast import fake_id
from fakes.pool import Pool

FOLDER = Path(__file__).parents[2] / "vectors" / "credits"


def cases(name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((FOLDER / name).read_text())["cases"]
    return found


@pytest.mark.parametrize("case", cases("tariff.json"), ids=lambda case: case["name"])
def test_tariff(case: dict[str, Any]) -> None:
    if "gpus" in case:
        found = tariff.gpu_price(
            gpus=case["gpus"],
            duration_ms=case["duration_ms"],
            micro_per_gpu_second=case["micro_per_gpu_second"],
        )
        assert found == case["price_micro"]
        assert tariff.levy(found, case["levy_ppm"]) == case["levy_micro"]
        return
    terms = ModelTerms(model=bytes(32), name="vector", **case["terms"])
    flops = tariff.span_flops(terms, case["layers"], case["first_position"], case["positions"])
    assert (flops, tariff.span_price(terms, flops)) == (case["flops"], case["price_micro"])


@pytest.mark.parametrize("case", cases("draw.json"), ids=lambda case: case["name"])
def test_draw(case: dict[str, Any]) -> None:
    """The seeds come from signatures that a reader makes as stated in the file."""
    signatures = {m: hashlib.shake_128(f"signature {m}".encode()).digest(96) for m in case["signers"]}
    seeds = {member: draw_seed(signature) for member, signature in signatures.items()}
    assert {str(member): seed.hex() for member, seed in seeds.items()} == case["seeds"]
    assert draw_threshold(rate=case["rate_ppm"], members=case["members"]) == int(case["threshold"])
    receipts = [hashlib.sha256(f"receipt {n}".encode()).digest() for n in range(len(case["drawn"]))]
    drawn = [drawn_members(seeds, r, rate=case["rate_ppm"], members=case["members"]) for r in receipts]
    assert drawn == case["drawn"]


def settled_pool(case: dict[str, Any]) -> tuple[Pool, dict[str, Any]]:
    """Run a vector's job from order to settlement; the pool, and the settlement's figures."""
    pool = Pool(members=1, levy_ppm=case["levy_ppm"])
    pool.submit(pool.papers.grant(pool.client.public_key, case["grant_micro"], id=fake_id("vector")))
    pool.run_round()
    job = pool.order(pool.node, pool.other_node, max_price_micro=case["max_price_micro"])
    chains = pool.work(job, case["positions"])
    pool.deliver(chains)
    number = pool.run_round().number
    digests = {
        receipt.digest(pool.ledger_id): case["outcomes"][span][window]
        for span, chain in enumerate(chains)
        for window, receipt in enumerate(chain)
    }
    verdicts = []
    for receipt in reading.duties_of(pool.view, 0, number):
        outcome = digests[receipt]
        reason = Reason.NO_DATA if outcome == "no-data" else Reason.MATCH
        code = Outcome.INCONCLUSIVE if outcome == "no-data" else Outcome[outcome.upper()]
        verdicts += pool.papers.verdicts(number, 0, [receipt], outcomes={receipt: code}, reason=reason)
    pool.submit(pool.papers.commit(0, verdicts))
    pool.submit(pool.papers.reveal(0, verdicts))
    found = propose_settlement(pool.view, job.digest(pool.ledger_id), pool.ledger_id)
    pool.settle(job)
    return pool, {
        "payments": [
            [payment.layer_start, payment.positions, payment.amount_micro, payment.levy_micro]
            for payment in found.payments
        ],
        "burned_micro": found.burned_micro,
        "released_micro": found.released_micro,
    }


@pytest.mark.parametrize("case", cases("settlement.json"), ids=lambda case: case["name"])
def test_settlement(case: dict[str, Any]) -> None:
    pool, figures = settled_pool(case)
    assert figures == {name: case[name] for name in figures}
    assert sums(pool) == case["totals"]


def sums(pool: Pool) -> dict[str, int]:
    totals = check_invariant(pool.view)
    names = ("granted", "burned", "available", "overdrawn", "held", "unvested")
    return {name: getattr(totals, f"{name}_micro") for name in names}


def test_invariant() -> None:
    """After each command of the list the totals are the listed ones."""
    pool = Pool(levy_ppm=50_000)
    hold = None
    for case in cases("invariant.json"):
        match case["command"]:
            case "grant":
                pool.submit(pool.papers.grant(pool.client.public_key, case["amount_micro"]))
            case "credit-line":
                pool.submit(pool.papers.credit_line(pool.node.public_key, case["amount_micro"]))
            case "round":
                pool.run_round()
            case "transfer":
                pool.submit(pool.papers.transfer(pool.client, pool.node.public_key, case["amount_micro"]))
            case "hold":
                paper = pool.papers.voucher_hold(
                    pool.node, pool.queue.public_key, duration_ms=case["duration_ms"]
                )
                pool.submit(paper)
                hold = paper.record
            case "capture":
                pool.submit(pool.papers.capture(pool.queue, hold, case["gpu_ms"]))
            case "release":
                pool.submit(pool.papers.release(pool.queue, hold.digest(pool.ledger_id)))
        assert sums(pool) == case["totals"], case["name"]
