"""What can be ordered of an OpenAI-compatible server, and how answers are read.

Source: specs/service.md §8."""

import json

import pytest

from creditledger.activations.sampler import Sampler
from creditledger.adapters.answer_text import text_of
from creditledger.adapters.openai_interface import sampler_of
from creditledger.errors import RefusedError, VerificationError

SEED = bytes(range(32))


@pytest.mark.parametrize(
    ("request_", "sampler"),
    [
        ({"temperature": 0}, Sampler.greedy()),
        ({"temperature": 0.0, "seed": 7, "max_tokens": 3, "stop": ["x"]}, Sampler.greedy()),
        ({}, Sampler.seeded(SEED, temperature_milli=1000)),
        (
            {"temperature": 0.7, "top_p": 1.0, "n": 1, "tools": []},
            Sampler.seeded(SEED, temperature_milli=700),
        ),
        ({"temperature": 1.999, "logit_bias": {}}, Sampler.seeded(SEED, temperature_milli=1999)),
    ],
)
def test_the_body_names_the_sampler(request_: dict, sampler: Sampler) -> None:
    assert sampler_of(request_, SEED) == sampler


@pytest.mark.parametrize(
    "settings",
    [
        {"top_p": 0.9},
        {"n": 2},
        {"frequency_penalty": 0.1},
        {"logit_bias": {"5": 1}},
        {"generation_config": "{}"},
        {"response_format": {"type": "json_object"}},
        {"tools": [{"type": "function"}]},
        {"temperature": 0.0005},
        {"temperature": -1},
        {"temperature": 101},
        {"temperature": "0"},
        {"temperature": float("nan")},
        {"temperature": float("inf")},
    ],
    ids=str,
)
def test_settings_that_no_receipt_can_name_are_refused(settings: dict) -> None:
    with pytest.raises(RefusedError):
        sampler_of(settings, SEED)


def chunk(**said: object) -> bytes:
    return b"data: " + json.dumps({"choices": [{"index": 0, **said}]}).encode() + b"\n\n"


def test_whole_and_streamed_answers_say_the_same() -> None:
    message = {"choices": [{"index": 0, "message": {"role": "assistant", "content": "ab"}}]}
    assert text_of(json.dumps(message).encode(), "application/json") == "ab"
    plain = {"choices": [{"index": 0, "text": "ab", "logprobs": None}]}
    assert text_of(json.dumps(plain).encode(), "application/json; charset=utf-8") == "ab"
    events = chunk(delta={"role": "assistant"}) + b": note\n\n" + chunk(delta={"content": "a"})
    events += chunk(text="b").replace(b"\n", b"\r\n") + b'data: {"choices": []}\n\ndata: [DONE]\n\n'
    assert text_of(events, "text/event-stream; charset=utf-8") == "ab"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"7",
        b'{"choices": [7]}',
        b'{"choices": [{"index": 1, "text": "a"}]}',
        b'{"choices": [{"text": 7}]}',
        b'{"error": "the model broke off", "choices": []}',
        b"\xff",
        b"[" * 100_000,
    ],
)
def test_an_answer_of_another_shape_has_no_text(body: bytes) -> None:
    with pytest.raises(VerificationError):
        text_of(body, "application/json")
    with pytest.raises(VerificationError):
        text_of(b"data: " + (body or b"x") + b"\n\n", "text/event-stream")
