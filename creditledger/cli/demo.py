"""`demo`: the main job on a real model, end to end. Source: specs/cli.md §14."""

import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from creditledger.cli.listening import ends_on_sigterm, require_service
from creditledger.cli.options import json_option
from creditledger.cli.output import emit
from creditledger.cli.progress import bars

if TYPE_CHECKING:
    pass

if TYPE_CHECKING:
    from creditledger.cli.demonstration.stage import OpenStage

CHEATS = ("int8", "int4", "skip", "noise", "replay")


@click.command()
@click.option("--dir", "folder", type=click.Path(path_type=Path), help="Where the ledger is left.")
@click.option("--cheat", type=click.Choice(CHEATS), help="How the middle node cheats.")
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), help="Repeat a run: keys, prompts, noise.")
@click.option(
    "--model",
    "model_path",
    type=click.Path(path_type=Path, exists=True),
    help="A Llama-family GGUF file or safetensors folder; else SmolLM2-135M.",
)
@click.option("--serve", "is_served", is_flag=True, help="Every party in its own process, over HTTP.")
@click.option(
    "--for",
    "stay_seconds",
    type=click.IntRange(0, 86_400),
    metavar="SECONDS",
    help="With --serve: how long the page stays open. Default: until Ctrl-C.",
)
@json_option
def demo(
    folder: Path | None,
    cheat: str | None,
    seed: int | None,
    model_path: Path | None,
    is_served: bool,
    stay_seconds: int | None,
    as_json: bool,
) -> None:
    """Three nodes serve a real model, are checked and paid; one of them spends what it earned.

    With --serve, operator, validators, nodes, client and queue are processes of their own that talk HTTP on
    loopback, and the pool's page stays open afterwards."""
    if stay_seconds is not None and not is_served:
        raise click.UsageError("--for only goes with --serve")
    from creditledger.cli.demonstration.report import report, show, stay
    from creditledger.cli.demonstration.scene import Scene
    from creditledger.cli.demonstration.story import Story, stopwatch
    from creditledger.ledger.clock import system_clock

    target = folder or Path(tempfile.mkdtemp(prefix="creditledger-")) / "pool"
    scene = Scene(folder=target, seed=seed, cheat=cheat, model_path=model_path)
    with ExitStack() as held_open, stopwatch() as elapsed:
        if is_served:
            held_open.enter_context(ends_on_sigterm())
        with bars(quiet=as_json) as progress:
            story = Story(scene, system_clock, progress, _opener(is_served), is_alone=not is_served)
            held_open.enter_context(story.held_open)
            story.tell()
        told = report(story, seconds=elapsed())
        if as_json:
            emit(told, as_json=True)
        else:
            show(story, told)
        sys.stdout.flush()
        if is_served:
            stay(story, stay_seconds, quiet=as_json)


def _opener(is_served: bool) -> "OpenStage":
    if not is_served:
        from creditledger.cli.demonstration.stage_here import StageHere

        return StageHere
    require_service("--serve")
    from creditledger.cli.demonstration.stage_served import StageServed

    return StageServed
