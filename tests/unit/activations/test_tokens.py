"""Tokens are committed to with their sampler, and must follow from the scores. Source: specs/check.md §9."""

import hashlib
import json
import math
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from creditledger.activations.commitment import DrawnTokens, commitment_bytes, open_commitment, verify_tokens
from creditledger.activations.sampler import SAMPLER_BYTES, Sampler, SamplerKind
from creditledger.activations.sealing import pack_sketches, unpack_sketches
from creditledger.activations.sketch import sketch_commitment
from creditledger.activations.token_check import NOT_SAMPLED, token_support
from creditledger.errors import ActivationError, OpeningError
from creditledger.quantities import ZERO_DIGEST
from creditledger.records.receipt import BF16_NUMERICS, OutputKind, Receipt

VECTOR = Path(__file__).parents[2] / "vectors" / "check" / "sampler.json"
SEED = bytes(range(32))
SALT = b"s" * 32
SKETCH = np.arange(6, dtype=np.float16).reshape(3, 2)
GREEDY = Sampler.greedy()
DRAWN = DrawnTokens(sampler=GREEDY, tokens=(NOT_SAMPLED, 7, 8))
SCORES = np.random.default_rng(1).standard_normal((3, 50)).astype(np.float32) * 3


def receipt(encoded: bytes, sampler: bytes = GREEDY.digest) -> Receipt:
    digests = dict.fromkeys(("job", "node", "input_root", "output_root", "model"), b"x" * 32)
    return Receipt(
        **digests,
        layer_start=0,
        layer_stop=4,
        window_start=0,
        positions=3,
        sketch=sketch_commitment(SALT, encoded),
        previous=ZERO_DIGEST,
        numerics=BF16_NUMERICS,
        output_kind=OutputKind.TOKENS,
        sampler=sampler,
        started_unix_ms=0,
        duration_ms=0,
    )


def test_an_opening_gives_sketch_tokens_and_sampler() -> None:
    encoded = commitment_bytes(SKETCH, DRAWN)
    opened = open_commitment(SALT, encoded, receipt=receipt(encoded))
    assert np.array_equal(opened.sketch, SKETCH)
    assert opened.drawn == DRAWN
    assert len(encoded) == 3 * 8 + SAMPLER_BYTES


@pytest.mark.parametrize("change", ["salt", "token", "sampler", "sketch alone", "cut"])
def test_another_opening_is_refused(change: str) -> None:
    encoded = commitment_bytes(SKETCH, DRAWN)
    said, salt, opened = receipt(encoded), SALT, encoded
    if change == "salt":
        salt = b"t" * 32
    elif change == "token":
        opened = commitment_bytes(SKETCH, replace(DRAWN, tokens=(NOT_SAMPLED, 7, 9)))
    elif change == "sampler":
        said = receipt(encoded, Sampler.free(temperature_milli=700).digest)
    else:
        opened = commitment_bytes(SKETCH) if change == "sketch alone" else encoded[:-1]
        said = receipt(opened)
    with pytest.raises(OpeningError):
        open_commitment(salt, opened, receipt=said)


@pytest.mark.parametrize("tokens", [(1, 2), (1, 2, -1), (1, 2, 2**32)])
def test_tokens_that_fit_no_window_are_not_committed_to(tokens: tuple[int, ...]) -> None:
    with pytest.raises(ActivationError):
        commitment_bytes(SKETCH, replace(DRAWN, tokens=tokens))


def test_a_client_holds_the_node_to_the_tokens_it_got() -> None:
    """Also to having drawn them: a node may not pass its own off as the prompt's."""
    encoded = commitment_bytes(SKETCH, DRAWN)
    verify_tokens(SALT, encoded, receipt=receipt(encoded), received=[None, 7, 8])
    for received in ([None, 7, 9], [3, 7, 8], [None, 7], [None, 7, None]):
        with pytest.raises(OpeningError):
            verify_tokens(SALT, encoded, receipt=receipt(encoded), received=received)


def test_openings_with_tokens_travel_beside_those_without() -> None:
    openings = [(SALT, commitment_bytes(SKETCH)), (SALT, commitment_bytes(SKETCH, DRAWN))]
    packed = pack_sketches(openings)
    assert unpack_sketches(packed) == openings
    for end in range(len(packed)):
        with pytest.raises(OpeningError):
            unpack_sketches(packed[:end])


def test_a_sampler_has_one_encoding() -> None:
    samplers = [GREEDY, Sampler.free(temperature_milli=1), Sampler.seeded(SEED, temperature_milli=900)]
    for sampler in samplers:
        assert Sampler.decode(sampler.encode()) == sampler
    assert len({sampler.digest for sampler in samplers}) == 3
    for wrong in (b"", GREEDY.encode() + b"\0", b"\x04" + GREEDY.encode()[1:], b"\x02" + GREEDY.encode()[1:]):
        with pytest.raises(OpeningError):
            Sampler.decode(wrong)


@pytest.mark.parametrize(
    "settings",
    [
        {"kind": SamplerKind.GREEDY, "temperature_milli": 1},
        {"kind": SamplerKind.FREE},
        {"kind": SamplerKind.SEEDED, "temperature_milli": 1},
        {"kind": SamplerKind.FREE, "temperature_milli": 1, "seed": SEED},
        {"kind": SamplerKind.FREE, "temperature_milli": 100_001},
        {"kind": SamplerKind.SEEDED, "temperature_milli": 1, "seed": b"short"},
    ],
)
def test_settings_that_do_not_go_together_are_refused(settings: dict) -> None:
    with pytest.raises(ActivationError):
        Sampler(**settings)


def test_seeded_draws_follow_the_temperature() -> None:
    """Over many positions each token comes as often as its probability says."""
    scores, sampler = (
        np.log(np.array([0.6, 0.3, 0.1], np.float32)),
        Sampler.seeded(SEED, temperature_milli=1000),
    )
    counts = np.bincount([sampler.pick(scores, position) for position in range(4000)], minlength=3) / 4000
    assert np.abs(counts - [0.6, 0.3, 0.1]).max() < 0.03
    assert GREEDY.pick(scores, 5) == 0
    with pytest.raises(ActivationError):
        Sampler.free(temperature_milli=1000).pick(scores, 0)


def support(tokens: list[int], sampler: Sampler, spread: float = 0.01):
    rows = np.arange(3, dtype=np.float32)[:, None]
    noise = np.random.default_rng(2).standard_normal(SCORES.shape).astype(np.float32) * spread
    return token_support(
        tokens,
        sampler=sampler,
        first_position=256,
        reference=rows,
        yardstick=rows + 100,
        scores=lambda asked: np.stack([_scored(int(row[0]), noise) for row in asked]),
    )


def _scored(row: int, noise: np.ndarray) -> np.ndarray:
    return SCORES[row] if row < 100 else SCORES[row - 100] + noise[row - 100]


@pytest.mark.parametrize("sampler", [GREEDY, Sampler.seeded(SEED, temperature_milli=800)])
def test_tokens_must_be_the_best_or_within_the_margin(sampler: Sampler) -> None:
    """Between two that score alike either may be delivered; nothing else may."""
    best = [sampler.pick(SCORES[index], 256 + index) for index in range(3)]
    assert support(best, sampler).worst == 0
    other = [*best[:2], int(np.argsort(sampler.keys(SCORES[2], 258))[-2])]
    assert not support(other, sampler).is_supported
    assert support(other, sampler, spread=5.0).is_supported
    assert not support([*best[:2], 50], sampler).is_supported
    assert support([NOT_SAMPLED] * 3, sampler).sampled == 0


def test_seeded_tokens_of_another_position_are_not_supported() -> None:
    sampler = Sampler.seeded(SEED, temperature_milli=800)
    assert not support([sampler.pick(SCORES[index], index) for index in range(3)], sampler).is_supported


def test_a_free_sampler_may_choose_among_likely_tokens_only() -> None:
    sampler = Sampler.free(temperature_milli=1000)
    best = [int(scores.argmax()) for scores in SCORES]
    assert support(best, sampler).is_supported
    assert support([int(np.argsort(scores)[-2]) for scores in SCORES], sampler).is_supported
    assert not support([int(scores.argmin()) for scores in SCORES], sampler).is_supported


def naive_draw(scores: list[float], seed: bytes, temperature: float, position: int) -> int:
    """specs/check.md §9.3 in plain Python."""
    stream = hashlib.shake_128(b"cl/draw" + seed + struct.pack("<I", position)).digest(4 * len(scores))
    words = struct.unpack(f"<{len(scores)}I", stream)
    noisy = [
        score - temperature * math.log(-math.log((word + 0.5) / 2**32))
        for score, word in zip(scores, words, strict=True)
    ]
    return noisy.index(max(noisy))


def test_the_published_sampler_vector() -> None:
    vector = json.loads(VECTOR.read_text())
    for case in vector["samplers"]:
        sampler = Sampler(
            kind=SamplerKind(case["kind"]),
            temperature_milli=case["temperature_milli"],
            seed=bytes.fromhex(case["seed"]),
        )
        assert (sampler.encode().hex(), sampler.digest.hex()) == (case["encoded"], case["digest"])
    seeded = Sampler.decode(bytes.fromhex(vector["samplers"][1]["encoded"]))
    scores, first = vector["scores"], vector["first_position"]
    for number, drawn in enumerate(vector["draws"]):
        assert seeded.pick(np.array(scores, np.float32), first + number) == drawn
        assert naive_draw(scores, seeded.seed, seeded.temperature, first + number) == drawn
