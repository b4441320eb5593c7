"""vLLM: a voucher gate before the server, and how its blocks' rows are read. Source: specs/minting.md §8.

vLLM needs a GPU and is installed by none of our tests: nothing here was ever run inside it. What stands
here does not import it, and is tested by itself:

- `VoucherGate` is an ASGI middleware: ``vllm serve --middleware creditledger.adapters.vllm.VoucherGate``,
  configured by the environment. It lets paid GPU time in; receipts for the model's work it makes none, since
  vLLM runs its model in another process than its server;
- `entering` and `leaving` read the stream of blocks that pass ``(hidden, residual)`` on, and `packed_rows`
  divides a packed batch by its ``query_start_loc``: what a ``worker_cls`` that overrides ``load_model``
  needs to call `attach_hooks` with. Such a class is not part of this package. It has to run eagerly
  (``enforce_eager``: a replayed CUDA graph calls no hook) and without tensor parallelism."""

import json
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Final, TypeVar

from creditledger.adapters.asgi import App, Receive, Scope, Send, header, send_bytes
from creditledger.adapters.voucher_desk import VoucherDesk
from creditledger.errors import ActivationError

HEADER: Final = "creditledger-voucher"
GATED_PATHS: Final = "/v1/"

Key = TypeVar("Key")


class VoucherGate:
    """Lets requests below ``/v1/`` pass that show a good voucher, and answers 402 to the others.

    The voucher is the header ``Creditledger-Voucher``, in base64. A new one is being proved while it is
    answered 402 with ``Retry-After: 1``."""

    def __init__(self, app: App, *, desk: VoucherDesk | None = None) -> None:
        """``desk``: None is that of the environment, see `VoucherDesk.from_environment`."""
        self._app = app
        self._desk = VoucherDesk.from_environment() if desk is None else desk

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_gated = scope["type"] == "http" and str(scope.get("path", "")).startswith(GATED_PATHS)
        if not is_gated or self._desk.admitted(_shown(scope)) is not None:
            await self._app(scope, receive, send)
            return
        problem = {"type": "about:blank", "title": "A voucher for this queue is needed", "status": 402}
        headers = (b"content-type", b"application/problem+json"), (b"retry-after", b"1")
        await send_bytes(send, 402, json.dumps(problem).encode(), *headers)


def entering(args: tuple[Any, ...], named: Mapping[str, Any]) -> Any:
    """The stream that enters a block called as ``block(positions, hidden_states, residual)``.

    Raises ActivationError for another call."""
    hidden = named["hidden_states"] if "hidden_states" in named else args[1] if len(args) > 1 else None
    residual = named["residual"] if "residual" in named else args[2] if len(args) > 2 else None
    if hidden is None:
        raise ActivationError("a block was called without its stream", expected="hidden_states")
    return hidden if residual is None else hidden + residual


def leaving(output: Any) -> Any:
    """The stream that leaves such a block: the sum of ``(hidden, residual)``, or what is there alone."""
    if isinstance(output, tuple | list):
        return output[0] if len(output) == 1 or output[1] is None else output[0] + output[1]
    return output


def packed_rows(query_start_loc: Sequence[int], keys: Sequence[Key | None]) -> dict[Key, slice]:
    """Which rows of a packed ``(positions, hidden)`` stream are whose, for `Minter.rows`.

    ``query_start_loc``: where each request's rows begin, and the end; ``keys``: one a request, None for
    those that nobody mints for. Raises ActivationError if they do not fit."""
    bounds = [int(bound) for bound in query_start_loc]
    if len(bounds) != len(keys) + 1 or bounds != sorted(bounds):
        raise ActivationError("requests do not fit their bounds", expected=f"{len(keys) + 1} ascending")
    spans = zip(keys, pairwise(bounds), strict=True)
    return {key: slice(start, stop) for key, (start, stop) in spans if key is not None and stop > start}


def _shown(scope: Scope) -> bytes | None:
    shown = header(scope, HEADER)
    try:
        return None if shown is None else b64decode(shown, validate=True)
    except (Base64Error, ValueError):
        return None
