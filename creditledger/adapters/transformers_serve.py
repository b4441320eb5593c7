"""``transformers serve``, answering orders: its own command line and server, with hooks and the middleware.

``python -m creditledger.adapters.transformers_serve MODEL --dtype bfloat16 ...``, with the environment of
`ModelHost.from_environment`. transformers has no place to add a middleware: this module replaces, in its own
process, the function that builds the server and the method that loads a model, and lets the thread that
generates see whose request it works on. Written against transformers 5.23. Source: specs/service.md §8."""

import contextvars
import sys
from collections.abc import Callable, Sequence
from typing import Any, Final

from creditledger.activations.sampler import Sampler, SamplerKind
from creditledger.adapters.hosted_work import HostedWork, current_work
from creditledger.adapters.model_host import ModelHost
from creditledger.adapters.openai_server import CreditMiddleware
from creditledger.errors import ActivationError, RefusedError, StorageError
from creditledger.minting.session import Session

NEW_TOKENS_MAX: Final = 1_024
"""Where a request names no bound."""
_TOLD_AT_ONCE: Final = 128
"""Tokens told to the session together: it wants them before the next window but one begins."""
_KEPT: Final = ("bos_token_id", "eos_token_id", "pad_token_id", "stop_strings", "use_cache")
"""Of a request's generation settings. All others change what is drawn, or how many."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until ended. Raises what `ModelHost.from_environment` and `add_credits` raise."""
    add_credits(ModelHost.from_environment())
    from transformers.cli.transformers import app

    app(["serve", *(sys.argv[1:] if arguments is None else arguments)])


def add_credits(host: ModelHost) -> None:
    """Have the ``transformers serve`` of this process answer orders with ``host``, and nothing else.

    Raises StorageError without transformers or with one that is built otherwise."""
    try:
        from transformers.cli.serving import model_manager, server, utils

        plain_thread, plain_build = utils.InferenceThread, server.build_server
        plain_load = model_manager.ModelManager._load_model
    except (ImportError, AttributeError) as error:
        raise StorageError(
            "orders need the serving part of transformers 5: pip install 'transformers[serving]'",
            found=str(error),
        ) from error

    def load(self: Any, *args: Any, **named: Any) -> Any:
        model = plain_load(self, *args, **named)
        host_model(model, host)
        return model

    def build(*args: Any, **named: Any) -> Any:
        _require_plain(named["generation_state"])
        app = plain_build(*args, **named)
        app.add_middleware(CreditMiddleware, host=host)
        return app

    utils.InferenceThread = _carrying_context(plain_thread)
    model_manager.ModelManager._load_model = load
    server.build_server = build


def host_model(model: Any, host: ModelHost) -> None:
    """Record all blocks of a causal model of transformers, and have its ``generate`` follow orders.

    What nobody ordered runs as before, unrecorded. Raises ActivationError for a model without blocks."""
    host.attach(model, range(int(model.config.get_text_config().num_hidden_layers)))
    plain = model.generate

    def generate(*args: Any, **named: Any) -> Any:
        work = current_work()
        return plain(*args, **named) if work is None else _ordered(plain, work, named)

    model.generate = generate


class TokenDraws:
    """A logits processor: draws by the order's sampler, and tells the session which tokens were drawn."""

    def __init__(self, sampler: Sampler, session: Session, *, prompt_positions: int) -> None:
        self._sampler = sampler
        self._session = session
        self._told = prompt_positions
        """Tokens of the sequence that the session knows of, its prompt's included."""

    def __call__(self, tokens: Any, scores: Any) -> Any:
        """``tokens``: ``(1, positions)`` so far; ``scores``: ``(1, vocab)`` of the next."""
        count = int(tokens.shape[1])
        if count - self._told >= _TOLD_AT_ONCE:
            self.tell(tokens)
        if self._sampler.kind == SamplerKind.GREEDY:
            return scores
        token = self._sampler.pick(scores[0].float().cpu().numpy(), count - 1)
        only = scores.new_full(scores.shape, float("-inf"))
        only[0, token] = 0.0
        return only

    def tell(self, tokens: Any) -> None:
        """Say what was drawn since last time. ``tokens``: the whole sequence, ``(1, positions)``."""
        drawn = [int(token) for token in tokens[0, self._told :].tolist()]
        if drawn:
            self._session.drew(drawn, after=self._told - 1)
            self._told += len(drawn)


def _ordered(plain: Callable[..., Any], work: HostedWork, named: dict[str, Any]) -> Any:
    from transformers import GenerationConfig

    prompt, asked = named["input_ids"], named["generation_config"]
    if prompt.shape[0] != 1:
        raise ActivationError("an order buys one answer", expected="one sequence", found=str(prompt.shape[0]))
    positions = int(prompt.shape[1])
    work.require_fits(positions)
    # The handler reads this again, to say whether the answer was cut off.
    asked.max_new_tokens = min(asked.max_new_tokens or NEW_TOKENS_MAX, work.positions_max - positions + 1)
    kept = {name: getattr(asked, name) for name in _KEPT}
    config = GenerationConfig(do_sample=False, max_new_tokens=asked.max_new_tokens, **kept)
    with work.running() as session:
        draws = TokenDraws(work.sampler, session, prompt_positions=positions)
        sequences = plain(**named | {"generation_config": config, "logits_processor": [draws]})
        draws.tell(sequences)
    return sequences


def _carrying_context(plain: Any) -> Any:
    """The thread that generates, made to see the context of whoever hands it something to do."""

    class ContextThread(plain):  # type: ignore[misc]
        def submit(self, fn: Any, *args: Any, **named: Any) -> Any:
            return super().submit(contextvars.copy_context().run, fn, *args, **named)

        def async_submit(self, fn: Any, *args: Any, **named: Any) -> Any:
            return super().async_submit(contextvars.copy_context().run, fn, *args, **named)

    return ContextThread


def _require_plain(generation_state: Any) -> None:
    """Neither continuous batching, whose forwards carry several requests' rows, nor compiled graphs."""
    for setting in ("_continuous_batching", "_compile"):
        if getattr(generation_state, setting, False):
            raise RefusedError(
                "receipts need one request a forward, uncompiled",
                expected="neither --continuous-batching nor --compile",
                found=setting.removeprefix("_"),
            )


if __name__ == "__main__":
    main()
