"""`demo`: the main job on a real model, end to end. Source: specs/cli.md §14."""

import tempfile
from pathlib import Path

import click

from creditledger.cli.options import json_option
from creditledger.cli.output import emit
from creditledger.cli.progress import bars

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
@json_option
def demo(
    folder: Path | None, cheat: str | None, seed: int | None, model_path: Path | None, as_json: bool
) -> None:
    """Three nodes serve a real model, are checked and paid; one of them spends what it earned."""
    from creditledger.cli.demonstration.report import report, show
    from creditledger.cli.demonstration.story import Story, stopwatch
    from creditledger.ledger.clock import system_clock

    target = folder or Path(tempfile.mkdtemp(prefix="creditledger-")) / "pool"
    with stopwatch() as elapsed, bars(quiet=as_json) as progress:
        story = Story(target, seed, cheat, system_clock, progress, model_path)
        with story.held_open:
            story.tell()
            told = report(story, seconds=elapsed())
    if as_json:
        emit(told, as_json=True)
    else:
        show(story, told)
