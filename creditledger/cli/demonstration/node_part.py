"""How a node of the story is made: its kernel, honest or not, and its minter."""

from importlib.util import find_spec
from typing import Any, Final

from creditledger.activations.bf16 import Float32Array
from creditledger.activations.runners.numpy_llama import NumpyLlama
from creditledger.activations.runners.weights import LoadedModel
from creditledger.cli.demonstration.cast import Party
from creditledger.cli.demonstration.chance import stream
from creditledger.cli.demonstration.cheating import Kernel, cheating_kernel, honest_kernel
from creditledger.cli.demonstration.prompts import prompt_tokens
from creditledger.cli.demonstration.scene import PROMPT_POSITIONS, Scene, spans_of
from creditledger.cli.demonstration.work import Node
from creditledger.ledger.clock import Clock
from creditledger.ledger.ledger import Ledger
from creditledger.minting.minter import Minter
from creditledger.minting.shipping import Shipping

NUMPY_KERNEL: Final = "numpy-fused"
TORCH_KERNEL: Final = "torch-sdpa"
SHIP_SECONDS: Final = 0.3
CLOSE_SECONDS: Final = 3.0
"""Less than a party is given to end."""


def profile_of(scene: Scene, number: int, *, may_use_torch: bool) -> str:
    """What node ``number`` runs: the kernel's name, or the way it cheats."""
    cheat = scene.cheat_of(number)
    is_torch = may_use_torch and number == 0 and find_spec("torch") is not None
    return cheat or (TORCH_KERNEL if is_torch else NUMPY_KERNEL)


def open_node(
    scene: Scene,
    number: int,
    party: Party,
    ledger: Ledger,
    model: LoadedModel,
    *,
    clock: Clock,
    may_use_torch: bool,
) -> Node:
    """A node that is ready to serve. Where the pool is behind a URL it keeps what it mints to itself, beside
    its own copy of the ledger, and ships it."""
    span = spans_of(model.description.shape.layers)[number]
    profile = profile_of(scene, number, may_use_torch=may_use_torch)
    cheat = scene.cheat_of(number)
    minter = Minter(
        ledger,
        key=party.file,
        model=model.description,
        clock=clock,
        random_bytes=stream(scene.seed, f"salts of {party.name}"),
        outbox=None if ledger.is_remote else scene.folder / "outbox" / party.name,
        shipping=Shipping(interval_s=SHIP_SECONDS, close_s=CLOSE_SECONDS),
    )
    blocks = _torch_blocks(model, span) if profile == TORCH_KERNEL else None
    if blocks is not None:
        minter.attach(blocks, layers=range(span[1] - span[0]))
    kernel = honest_kernel(model, span) if cheat is None else _cheating(scene, cheat, model, span)
    return Node(party=party, span=span, profile=profile, minter=minter, kernel=kernel, blocks=blocks)


def _cheating(scene: Scene, cheat: str, model: LoadedModel, span: tuple[int, int]) -> Kernel:
    draw = stream(scene.seed, "another prompt")
    other = model.embedding(prompt_tokens(model, max(PROMPT_POSITIONS), draw=draw))

    def earlier() -> Float32Array:
        return NumpyLlama(model).yardstick(other, layer_start=0, layer_stop=span[0])

    return cheating_kernel(cheat, model, span, earlier=earlier, seed=scene.seed or 0)


def _torch_blocks(model: LoadedModel, span: tuple[int, int]) -> Any:
    from creditledger.activations.runners.torch_blocks import TorchBlocks

    return TorchBlocks(model, layer_start=span[0], layer_stop=span[1], attention="sdpa")
