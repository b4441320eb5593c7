"""Plain books: what every account must come to, from what the parties say that they did.

Knows nothing of the fold's code, not even the tariff."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from creditledger.records.parameters import ModelTerms
from soak.soak_scene import CLIENTS, GRANT_MICRO, LEVY_PPM, PAYERS, roles


@dataclass(slots=True)
class Purse:
    """One account, in micro-credits."""

    spendable: int = 0
    held: int = 0
    verified: int = 0
    metered: int = 0


def fair_price(terms: ModelTerms, *, layers: int, positions: int) -> int:
    """What ``layers`` layers over positions 0.. are worth: every multiplication and addition, counted."""
    matrices = (
        2 * terms.hidden * terms.heads * terms.head_dim
        + 2 * terms.hidden * terms.kv_heads * terms.head_dim
        + 3 * terms.hidden * terms.ff
    )
    operations = 0
    for position in range(positions):
        operations += 2 * matrices + 4 * terms.heads * terms.head_dim * (position + 1)
    return layers * operations * terms.micro_per_tflop // 10**12


def purses(lines: Iterable[dict[str, Any]]) -> tuple[dict[str, Purse], int]:
    """What everybody must have in the end, and what was burned."""
    found = {name: Purse() for name in roles()}
    for name in (*CLIENTS, *PAYERS):
        found[name].spendable = GRANT_MICRO
    burned = 0
    for line in lines:
        match line.get("effect"):
            case "transfer":
                found[line["payer"]].spendable -= line["amount"]
                found[line["payee"]].spendable += line["amount"]
            case "hold" | "order":
                found[line["holder"]].spendable -= line["amount"]
                found[line["holder"]].held += line["amount"]
            case "redeemed":
                kept, share = line["captured"], line["captured"] * LEVY_PPM // 1_000_000
                found[line["holder"]].held -= line["held"]
                found[line["holder"]].spendable += line["held"] - kept
                found[line["queue"]].spendable += kept - share
                found[line["queue"]].metered += kept - share
                burned += share
            case "job":
                burned += _settle(found, line)
    return found, burned


def _settle(found: dict[str, Purse], line: dict[str, Any]) -> int:
    holder, burned = found[line["holder"]], 0
    holder.held -= line["held"]
    holder.spendable += line["held"]
    for node, amount in line["pays"]:
        share = amount * LEVY_PPM // 1_000_000
        holder.spendable -= amount
        found[node].verified += amount - share
        burned += share
    return burned


def differences(expected: Purse, shown: dict[str, Any]) -> dict[str, tuple[int, int]]:
    """Where an account of `GET /v1/accounts` is another: (expected, found) by name."""
    if expected.verified:  # a node's pay is unvested first and its own later
        shown_spendable = expected.spendable
        unearned = shown["available_micro"] + shown["unvested_micro"] - shown["verified_micro"]
    else:
        shown_spendable, unearned = shown["available_micro"] - shown["overdrawn_micro"], 0
    found = asdict(
        Purse(
            spendable=shown_spendable + unearned,
            held=shown["held_micro"],
            verified=shown["verified_micro"],
            metered=shown["metered_micro"],
        )
    )
    wanted = asdict(expected)
    return {name: (wanted[name], found[name]) for name in wanted if wanted[name] != found[name]}
