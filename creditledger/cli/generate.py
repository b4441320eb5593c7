"""A job for a queue: generate text with the pool's model. ``python -m creditledger.cli.generate PROMPT``."""

from pathlib import Path

import click

TOKENS = 24


@click.command()
@click.argument("prompt")
@click.option("--model", "model_path", type=click.Path(path_type=Path, exists=True))
@click.option("--tokens", type=click.IntRange(1, 4096), default=TOKENS, show_default=True)
def generate_text(prompt: str, model_path: Path | None, tokens: int) -> None:
    """Print PROMPT and the likeliest words after it."""
    from creditledger.activations.runners.generation import generate
    from creditledger.activations.runners.weights import load_model

    model = load_model(model_path)
    click.echo(prompt + model.decode(generate(model, model.encode(prompt), count=tokens)))


if __name__ == "__main__":
    generate_text()
