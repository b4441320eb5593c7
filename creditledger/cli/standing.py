"""`standing`: what is known of each node and validator. Source: specs/cli.md §6."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from creditledger.cli.opening import account_id, reading
from creditledger.cli.options import json_option, ledger_argument
from creditledger.cli.output import emit, emit_rows

if TYPE_CHECKING:
    from creditledger.validation.standing import NodeStanding, ValidatorStanding

_NODE_COLUMNS: Final = (
    "name", "checks", "upheld", "refuted", "inconclusive", "rate_ppm", "probation_left_micro",
    "unvested_micro", "alarmed", "suspended",
)  # fmt: skip
_VALIDATOR_COLUMNS: Final = (
    "member", "checks", "missed", "outvoted", "canaries", "canaries_missed", "faults",
)  # fmt: skip


@click.command()
@ledger_argument
@click.argument("node", required=False)
@json_option
def standing(ledger: Path, node: str | None, as_json: bool) -> None:
    """Show how each node's work was judged, how often it is checked, and how its validators do.

    With NODE, a hex id or registered name: that node alone."""
    from creditledger.validation.standing import all_standings, node_standing, validator_standings

    with reading(ledger) as opened, opened.read() as state:
        if node is not None:
            emit(node_row(node_standing(state, account_id(state, node))), as_json=as_json)
            return
        nodes = [node_row(found) for found in all_standings(state)]
        validators = [validator_row(found) for found in validator_standings(state)]
    if as_json:
        emit({"nodes": nodes, "validators": validators}, as_json=True)
        return
    emit_rows([_shown(row, _NODE_COLUMNS) for row in nodes], as_json=False, title="nodes")
    emit_rows([_shown(row, _VALIDATOR_COLUMNS) for row in validators], as_json=False, title="validators")


def node_row(found: "NodeStanding") -> dict[str, Any]:
    """One node, as specs/cli.md §6 lists it."""
    return {
        "node": found.node,
        "name": found.name,
        "checks": found.checks,
        "upheld": found.upheld,
        "refuted": found.refuted,
        "inconclusive": found.inconclusive,
        "mismatches": found.mismatches,
        "confirmed_failures": found.confirmed_failures,
        "rate_ppm": found.rate_ppm,
        "cusum_micro": found.cusum_micro,
        "alarmed": found.is_alarmed,
        "suspended": found.is_suspended,
        "settled_micro": found.settled_micro,
        "probation_left_micro": found.probation_left_micro,
        "unvested_micro": found.unvested_micro,
        "last_seen_unix_ms": found.last_seen_unix_ms,
    }


def validator_row(found: "ValidatorStanding") -> dict[str, Any]:
    """One validator, as specs/cli.md §6 lists it."""
    return {
        "member": found.member,
        "bls_key": found.bls_key,
        "checks": found.checks,
        "missed": found.missed,
        "outvoted": found.outvoted,
        "canaries": found.canaries,
        "canaries_missed": found.canaries_missed,
        "faults": [fault.value for fault in found.faults],
    }


def _shown(row: dict[str, Any], columns: tuple[str, ...]) -> dict[str, Any]:
    return {name: ", ".join(row[name]) if name == "faults" else row[name] for name in columns}
