"""What the story came to: one JSON object, or tables and the next commands to try.

Source: specs/cli.md §14."""

import contextlib
import time
from pathlib import Path
from typing import Any, Final

import click

from creditledger.cli.demonstration.scene import spans_of
from creditledger.cli.demonstration.story import Story
from creditledger.cli.output import emit_rows
from creditledger.credits import reading
from creditledger.redemption.amount import format_amount

LOOK_SECONDS: Final = 0.5


def report(story: Story, *, seconds: float) -> dict[str, Any]:
    """The frozen shape of ``demo --json``."""
    job, audit, folder = story.job, story.audit, story.scene.folder
    told: dict[str, Any] = {
        "ledger": str(folder),
        "policy": str(folder / "policy"),
        "model": story.model.description.digest.hex(),
        "accounts": [
            {
                "name": party.name,
                "role": party.role.value,
                "id": party.account.hex(),
                "key_file": str(party.file),
            }
            for party in story.cast.parties
        ],
        "bundles": story.bundles,
        "nodes": _nodes(story),
        "job": None
        if job is None
        else {
            "exit_code": job["exit_code"],
            "gpu_ms": job["gpu_ms"],
            "held_micro": story.held_micro,
            "captured_micro": job["captured_micro"],
            "released_micro": job["released_micro"],
        },
        "audit": None if audit is None else {"entries": audit.entries, "ok": audit.ok},
        "seconds": round(seconds, 1),
    }
    return told if story.stage.url is None else told | {"url": story.stage.url}


def show(story: Story, told: dict[str, Any]) -> None:
    """For a person: who earned what, what the owner bought, and what to try next."""
    rows = [
        {
            "name": node["name"],
            "layers": "{}-{}".format(*node["span"]),
            "runs": node["profile"],
            "checks": node["checks"],
            "upheld": node["upheld"],
            "refuted": node["refuted"],
            "earned": _credits(node),
        }
        for node in told["nodes"]
    ]
    emit_rows(rows, as_json=False, title="Nodes")
    job = told["job"]
    spent, back = (format_amount(job[name]) for name in ("captured_micro", "released_micro"))
    click.echo(
        f"\nnode-1's owner bought {job['gpu_ms']} ms of queue time for {spent}; {back} came back. It ran:"
    )
    if story.job is not None:
        click.echo(f"  {Path(story.job['stdout']).read_text(errors='replace').strip()[:400]}")
    click.echo(
        f"\naudit of {told['audit']['entries']} entries: {'ok' if told['audit']['ok'] else 'FAILED'}"
        f" ({told['seconds']} s in all)\n\nTry next:"
    )
    for command in _next_commands(told):
        click.echo(f"  {command}")


def stay(story: Story, seconds: int | None, *, quiet: bool) -> None:
    """Say where the page is, and leave everything running for ``seconds``; None: until Ctrl-C.

    Raises BusyError if a party ends meanwhile."""
    if not quiet:
        click.echo(f"\nThe pool's page: {story.stage.url}/ (it stays open until Ctrl-C)")
    until = None if seconds is None else time.monotonic() + seconds
    with contextlib.suppress(KeyboardInterrupt):
        while until is None or time.monotonic() < until:
            story.stage.require_alive()
            time.sleep(LOOK_SECONDS)


def _nodes(story: Story) -> list[dict[str, Any]]:
    spans = spans_of(story.model.description.shape.layers)
    with story.stage.ledger.read() as state:
        return [
            {
                "name": party.name,
                "span": list(span),
                "profile": profile,
                "receipts": story.receipts_of(state, party.account),
                "checks": standing.checks,
                "upheld": standing.upheld,
                "refuted": standing.refuted,
                "inconclusive": standing.inconclusive,
                "credits_micro": account.verified_micro,
            }
            for party, span, profile in zip(story.cast.nodes, spans, story.stage.profiles, strict=True)
            for standing in [reading.node_standing(state, party.account)]
            if (account := reading.account_state(state, party.account)) is not None
        ]


def _credits(node: dict[str, Any]) -> str:
    return format_amount(node["credits_micro"])


def _next_commands(told: dict[str, Any]) -> list[str]:
    ledger, policy = told["ledger"], told["policy"]
    receipt = told["bundles"][0]["path"]
    return [
        f"creditledger verify {receipt} --policy {policy} --require vested",
        f"creditledger status {ledger}",
        f"creditledger balance {ledger} node-1",
        f"creditledger statement {ledger} client",
        f"creditledger audit {ledger}",
    ]
