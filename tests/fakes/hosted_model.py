"""The tiny model behind a tiny OpenAI-compatible server: every token is one letter."""

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from creditledger.activations.bf16 import to_bf16_bits
from creditledger.adapters.hosted_work import HostedWork, current_work
from fakes.working_pool import WorkingModel

LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,"
Draw = Callable[[HostedWork, np.ndarray, int], int]


def honest_draw(work: HostedWork, scores: np.ndarray, position: int) -> int:
    return work.sampler.pick(scores, position)


class TinyReader:
    """What a client knows: letters and embeddings."""

    def __init__(self, model: WorkingModel) -> None:
        self._model = model.model

    def text(self, tokens: Sequence[int]) -> str:
        return "".join(LETTERS[token] for token in tokens)

    def prompt(self, request: Mapping[str, Any]) -> Sequence[int] | None:
        return [LETTERS.index(letter) for letter in prompt_of(request)]

    def rows(self, tokens: Sequence[int]) -> np.ndarray | None:
        return to_bf16_bits(self._model.embedding(list(tokens)))


def prompt_of(request: Mapping[str, Any]) -> str:
    return request["prompt"] if "prompt" in request else request["messages"][-1]["content"]


class TinyServer:
    """An ASGI application that answers as OpenAI's, knowing nothing of credits but `current_work`."""

    def __init__(self, model: WorkingModel, *, draw: Draw = honest_draw) -> None:
        self._model = model
        self.reader = TinyReader(model)
        self.draw = draw
        self.heard: Callable[[str], str] = lambda prompt: prompt
        """What the model is really given of a prompt."""
        self.said: Callable[[list[int]], str] = self.reader.text
        """What the client is told of the tokens drawn."""
        self.seen: list[str] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.seen.append(scope["path"])
        if scope["method"] != "POST":
            await self._send(send, {"object": "list", "data": []})
            return
        request = json.loads((await receive())["body"])
        try:
            text = await asyncio.to_thread(self.generate, request)
        except Exception as error:
            await self._send(send, {"error": {"message": str(error)}}, status=500)
            return
        is_chat = scope["path"].endswith("/chat/completions")
        if request.get("stream"):
            await self._stream(send, text, is_chat=is_chat)
            return
        said = {"message": {"role": "assistant", "content": text}} if is_chat else {"text": text}
        choice = {"index": 0, "finish_reason": "length", **said}
        kind = "chat.completion" if is_chat else "text_completion"
        answer = {"id": "1", "object": kind, "created": 1, "model": "tiny", "choices": [choice]}
        await self._send(send, answer)

    def generate(self, request: Mapping[str, Any]) -> str:
        work = current_work()
        assert work is not None
        tokens = list(self.reader.prompt({"prompt": self.heard(prompt_of(request))}) or ())
        work.require_fits(len(tokens))
        most = min(request.get("max_tokens") or 4, work.positions_max - len(tokens) + 1)
        drawn: list[int] = []
        with work.running() as session:
            known = 0
            while len(drawn) < most:
                rows = self._model.model.embedding(tokens)
                outputs = self._model.honest(rows, 0, 4)
                positions = range(known, len(tokens))
                session.record(inputs=rows[known:], outputs=outputs[known:], positions=positions)
                known = len(tokens)
                drawn.append(self.draw(work, self._model.model.logits(outputs[-1:])[0], known - 1))
                session.drew(drawn[-1:])
                tokens.append(drawn[-1])
        return self.said(drawn)

    async def _send(self, send: Any, answer: Any, *, status: int = 200) -> None:
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": json.dumps(answer).encode()})

    async def _stream(self, send: Any, text: str, *, is_chat: bool) -> None:
        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for letter in text:
            said = {"delta": {"content": letter}} if is_chat else {"text": letter}
            kind = "chat.completion.chunk" if is_chat else "text_completion"
            choices = [{"index": 0, **said}]
            chunk = {"id": "1", "object": kind, "created": 1, "model": "tiny", "choices": choices}
            event = f"data: {json.dumps(chunk)}\n\n".encode()
            await send({"type": "http.response.body", "body": event, "more_body": True})
        await send({"type": "http.response.body", "body": b"data: [DONE]\n\n"})
