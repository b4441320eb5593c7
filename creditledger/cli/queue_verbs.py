"""`queue`: queues that run for long, each kind with options of its own. Source: specs/cli.md §21 and §22."""

import importlib
from pathlib import Path
from typing import Final

import click

from creditledger.cli.options import ledger_argument

KINDS: Final = {"local": "local_queue", "slurm": "slurm_queue"}
"""Each kind of queue and the module of this package that has its verbs, called as here."""


class Kinds(click.Group):
    """The kinds of queue under one verb, imported when they are named."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All kinds."""
        return list(KINDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """What this verb is for this kind, or None for an unknown kind."""
        module = KINDS.get(cmd_name)
        if module is None or ctx.info_name is None:
            return None
        found = importlib.import_module(f"creditledger.cli.{module}")
        command: click.Command | None = getattr(found, ctx.info_name, None)
        return command


@click.group()
def queue() -> None:
    """Set up and run a queue that takes jobs for credits."""


@queue.group("install", cls=Kinds)
@ledger_argument
@click.pass_context
def install(ctx: click.Context, ledger: Path) -> None:
    """Write what a queue of this kind needs, and say what its administrator does next."""
    ctx.obj = ledger


@queue.group("run", cls=Kinds)
@ledger_argument
@click.pass_context
def run(ctx: click.Context, ledger: Path) -> None:
    """Run an installed queue until interrupted."""
    ctx.obj = ledger


@queue.group("submit", cls=Kinds)
@ledger_argument
@click.pass_context
def submit(ctx: click.Context, ledger: Path) -> None:
    """Put a job on an installed queue's waiting list and return at once."""
    ctx.obj = ledger
