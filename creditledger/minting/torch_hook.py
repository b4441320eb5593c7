"""Forward hooks that hand a span's inputs and outputs over; torch is only touched if it is there.

Source: specs/minting.md §8."""

import sys
from collections.abc import Callable, Sequence
from threading import local
from typing import Any, Final

from creditledger.errors import ActivationError
from creditledger.minting.failures import FailureCount

Take = Callable[[str, Any, dict[Any, Any]], None]
"""Called with ``inputs`` and later ``outputs``, the stream there, and what is held in between."""

_STREAM_NAMES: Final = ("hidden_states", "hidden", "x", "inputs")


class Attachment:
    """The hooks on one model; `remove` takes them off again."""

    def __init__(self, handles: Sequence[Any]) -> None:
        self._handles = list(handles)

    def remove(self) -> None:
        """Take the hooks off; a second call does nothing."""
        while self._handles:
            self._handles.pop().remove()


def attach_hooks(
    model: Any,
    layers: range,
    *,
    take: Take,
    failures: FailureCount,
    entering: Callable[[tuple[Any, ...], dict[str, Any]], Any] | None = None,
    leaving: Callable[[Any], Any] | None = None,
) -> Attachment:
    """Hook the first and the last block of ``layers`` of ``model``.

    ``entering``, ``leaving``: how the stream is read from a block's call and from its output; None takes
    the first argument or a known name, and the output or its first element. What goes wrong inside a
    hook is counted and the forward goes on with its own values.
    Raises ActivationError if there are no such blocks."""
    blocks = _blocks(model)
    if layers.step != 1 or not layers or not 0 <= layers.start < layers.stop <= len(blocks):
        raise ActivationError(
            "no such span of blocks", expected=f"within 0..{len(blocks)}", found=str(layers)[:60]
        )
    held = local()
    read_call, read_output = entering or _stream_of_call, leaving or _stream_of_output

    def before(_: Any, args: tuple[Any, ...], named: dict[str, Any]) -> None:
        try:
            held.rows = {}
            take("inputs", read_call(args, named), held.rows)
        except Exception as error:
            failures.count(error)

    def after(_: Any, __: Any, output: Any) -> None:
        try:
            rows, held.rows = getattr(held, "rows", {}), {}
            take("outputs", read_output(output), rows)
        except Exception as error:
            failures.count(error)

    first, last = blocks[layers.start], blocks[layers.stop - 1]
    handles = [first.register_forward_pre_hook(_eager(before), with_kwargs=True)]
    return Attachment([*handles, last.register_forward_hook(_eager(after))])


def _eager(hook: Callable[..., None]) -> Callable[..., None]:
    """``hook``, left out of what torch compiles: it would hash and wait inside the graph."""
    torch = sys.modules.get("torch")
    return hook if torch is None else torch.compiler.disable(hook)


def _stream_of_call(args: tuple[Any, ...], named: dict[str, Any]) -> Any:
    if args:
        return args[0]
    for name in _STREAM_NAMES:
        if name in named:
            return named[name]
    raise ActivationError(
        "a block was called without its stream", expected=" or ".join(_STREAM_NAMES), found=str(list(named))
    )


def _blocks(model: Any) -> Sequence[Any]:
    if hasattr(model, "__getitem__") and hasattr(model, "__len__"):
        return list(model)
    for owner in (getattr(model, "model", None), model):
        layers = getattr(owner, "layers", None)
        if layers is not None and hasattr(layers, "__getitem__"):
            return list(layers)
    return _only_stack(model)


def _stream_of_output(output: Any) -> Any:
    return output[0] if isinstance(output, tuple | list) else output


def _only_stack(model: Any) -> Sequence[Any]:
    """The outermost list of modules of one class; the longest if several lie equally far out."""
    torch = sys.modules.get("torch")
    stacks: list[tuple[int, int, Sequence[Any]]] = []
    for name, module in model.named_modules() if hasattr(model, "named_modules") else ():
        is_list = torch is not None and isinstance(module, torch.nn.ModuleList)
        if is_list and len({type(block) for block in module}) == 1:
            stacks.append((name.count("."), -len(module), list(module)))
    stacks.sort(key=lambda found: found[:2])
    if not stacks or [found[:2] for found in stacks].count(stacks[0][:2]) > 1:
        raise ActivationError(
            "the model has no one list of blocks",
            expected="layers, model.layers, one torch.nn.ModuleList, or the list itself",
            found=f"{len(stacks)} lists",
        )
    return stacks[0][2]
