"""Threat D9: a dictionary of prompts against everything a ledger publishes. Source: specs/threats.md §4."""

import base64
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Final, get_args, get_origin, get_type_hints

import numpy as np
import pytest

from creditledger.activations.delivered import boundary_key
from creditledger.activations.model import ModelShape
from creditledger.ledger.stored_log import body_names
from creditledger.minting.sealed_evidence import open_sketches
from creditledger.records import canonical
from creditledger.records.entry import LOGGED
from creditledger.records.receipt import Batch, Receipt
from creditledger.records.record import Fields
from creditledger.records.verdict import Outcome, Verdict
from creditledger.validation.journal import JournaledVerdict
from fakes.committee import fake_digest
from fakes.working_pool import WorkingModel, WorkingPool, audit_key
from tests.dictionary_attack import Attack, Guesses, Published, runs

GUESSES: Final = int(os.environ.get("CREDITLEDGER_GUESSES", "20000"))
SHORTLIST: Final = 20
"""So many guesses, the true prompt among them, are tried with every published value as a key or salt."""
SHAPE: Final = ModelShape(layers=2, hidden=32, ff=64, heads=2, kv_heads=1, head_dim=16, vocab=64)
SPANS: Final = ((0, 1), (1, 2))
POSITIONS: Final = 32
TRUE: Final = 4_321
NEAR: Final = 25
VOCABULARY: Final = [f"{first}{second}" for first in "bdfgklmn" for second in "aeiouyrs"]


@lru_cache(maxsize=1)
def dictionary() -> Guesses:
    """Known prompts, all different: the client's stands at `TRUE`."""
    return np.random.default_rng(9).integers(0, SHAPE.vocab, (GUESSES, POSITIONS), dtype=np.uint8)


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A pool that has done its work, as an attacker finds it, and the secrets that it never sees."""

    attack: Attack
    contents: list[bytes]
    """Everything that can be read, and every field of it by itself."""
    keys: dict[str, bytes]
    """Secret: by the name of what the key opens."""


def fused(model: WorkingModel) -> Any:
    """An honest kernel that the attacker has as well, to the bit."""

    def run(inputs: np.ndarray, layer_start: int, layer_stop: int) -> np.ndarray:
        rows = inputs[np.newaxis]
        for layer in range(layer_start, layer_stop):
            rows = runs(model.model, rows, layer)
        return rows[0]

    return run


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """Two jobs on one known prompt: one upheld and paid, of the other the second span refuted."""
    folder = tmp_path_factory.mktemp("dictionary")
    model = WorkingModel(folder / "weights", shape=SHAPE, spans=SPANS)
    pool = WorkingPool(folder, model)
    rows = model.model.embedding(dictionary()[TRUE].tolist())
    kernel, secrets = fused(model), {}
    for tag, second in (("honest", kernel), ("cheat", model.noise)):
        job = pool.order(tag=tag, positions=POSITIONS)
        receipts = pool.run(job, inputs=rows, kernels={0: kernel, 1: second})
        pool.deliver(receipts)
        pool.check()
        outcomes = [pool.receipt_state(chain[0]).outcome for chain in receipts.values()]
        assert outcomes == [Outcome.UPHELD, Outcome.UPHELD if tag == "honest" else Outcome.REFUTED]
        secrets[tag] = fake_digest("secret", job.id)
    assert len(pool.ledger.settle_due()) == 2
    pool.certify()
    pool.ledger.publish()
    yield _scene(pool, secrets["honest"])
    pool.close()


def _scene(pool: WorkingPool, secret: bytes) -> Scene:
    contents, receipts, salts = list(_files(pool.ledger.path)), [], []
    for index in range(pool.ledger.size):
        entry = pool.ledger.entry(index)
        contents += _values(canonical.decode(entry.encode()))
        for body in pool.ledger.bodies(entry.record):
            contents += [body, *_values(canonical.decode(body))]
        if isinstance(entry.record, Batch):
            receipts += [Receipt.decode(body) for body in pool.ledger.bodies(entry.record)]
            salts += [salt for salt, _ in _openings(pool, entry.record)]
        contents += [name for name, _ in body_names(entry.record)]
    verdicts = list(_journaled(pool))
    keys = {f"tree before layer {layer}": boundary_key(secret, layer) for layer in range(3)}
    attack = Attack(
        model=pool.model.model,
        published=Published(contents),
        receipts=receipts,
        exponents={stop: profile.exponents for stop, profile in pool.model.profiles.items()},
        vocabulary=VOCABULARY,
        candidates=sorted({value for value in contents if len(value) in (16, 32)}),
        statistics=[verdict.statistics for verdict in verdicts],
        shortlist=frozenset(range(TRUE - SHORTLIST // 2, TRUE + SHORTLIST // 2)),
    )
    keys |= {"commitment 0": salts[0], "evidence": verdicts[0].salt}
    return Scene(attack=attack, contents=contents, keys=keys)


def _files(ledger: Path) -> Iterator[bytes]:
    """The published tree, the sealed boxes, the evidence and the policy, and what their base64 hides."""
    for folder in ("public", "sealed", "evidence"):
        found = [path for path in sorted((ledger / folder).rglob("*")) if path.is_file()]
        assert found
        yield from (path.read_bytes() for path in found)
    texts = [ledger / "policy", ledger / "public" / "checkpoint"]
    for path in texts:
        yield path.read_bytes()
        for word in path.read_text().replace("+", " +").split():
            try:
                yield base64.b64decode(word.split(":")[-1], validate=True)
                yield bytes.fromhex(word)
            except ValueError:
                continue


def _values(value: object) -> Iterator[bytes]:
    if isinstance(value, bytes):
        yield value
    elif isinstance(value, list):
        for part in value:
            yield from _values(part)


def _openings(pool: WorkingPool, batch: Batch) -> list[tuple[bytes, bytes]]:
    box = (pool.ledger.directory.sealed / batch.sealed.hex()).read_bytes()
    return open_sketches(box, audit_key(0), ledger_id=pool.ledger.id, batch_root=batch.root)


def _journaled(pool: WorkingPool) -> Iterator[JournaledVerdict]:
    journal = pool._validators[0]._opened_journal()
    for number in range(1, 20):
        bound = journal.verdicts(number)
        yield from () if bound is None else bound.verdicts


def near(scene: Scene, **changes: object) -> set[str]:
    """What an attack on the true prompt and its neighbours in the dictionary finds of the true one."""
    guesses = dictionary()[TRUE - NEAR : TRUE + NEAR]
    attack = replace(scene.attack, shortlist=frozenset({NEAR}), **changes)
    return {name for index, name in attack.matches(guesses) if index == NEAR}


def test_a_dictionary_with_the_true_prompt_matches_nothing(scene: Scene) -> None:
    """D9: whoever knows the prompt, the model, the kernel to the bit and all that is published cannot tell
    that it was this prompt: every salt is missing."""
    assert len(scene.attack.candidates) > 50
    assert len(scene.attack.receipts) == 4
    assert scene.attack.matches(dictionary()) == set()


@pytest.mark.parametrize(
    "name",
    ["tree before layer 0", "tree before layer 1", "tree before layer 2", "commitment 0", "evidence"],
)
def test_the_same_attack_finds_the_prompt_once_a_key_is_known(scene: Scene, name: str) -> None:
    """The control: what is derived is what the pool derived, to the byte, but for the key."""
    found = near(scene, candidates=[scene.keys[name]])
    assert name in found
    assert {part.rsplit(" ", 1)[0] for part in found} == {name.rsplit(" ", 1)[0]}


def test_the_same_attack_finds_whatever_else_would_be_published(scene: Scene) -> None:
    """The control of every other derived value: published amid other bytes, cut to 16, it is a match."""
    leaks = scene.attack.leaks(dictionary()[TRUE])
    assert len(leaks) > 30
    for name, value in leaks.items():
        leaked = Published([*scene.contents[:3], b"\1\2\3" + value[:16] + b"\4"])
        assert name in near(scene, published=leaked, candidates=()), name


def _limits(hint: Any, name: str) -> Iterator[tuple[str, int]]:
    """The longest bytes that each field of a record may hold, nested ones by their path."""
    if get_origin(hint) is Annotated and getattr(get_args(hint)[1], "max_length", None):
        yield name, get_args(hint)[1].max_length
    elif get_origin(hint) is tuple:
        yield from _limits(get_args(hint)[0], name)
    elif isinstance(hint, type) and issubclass(hint, Fields):
        for part, inner in get_type_hints(hint, include_extras=True).items():
            if get_origin(inner) is not None or isinstance(inner, type):
                yield from _limits(inner, f"{name}.{part}")


OF_TENSORS: Final = {
    "Receipt.input_root", "Receipt.output_root", "Receipt.sketch", "Batch.root", "Batch.sealed",
    "Verdict.evidence", "Reveal.root", "Commit.commitment",
}  # fmt: skip
"""Fields in which rows take part, each behind a salt or a seal. Integers of the kind are a verdict's outcome,
reason and CUSUM step; an honest node's step is nearly always the clipped one, which all have in common."""


def test_no_published_field_of_tensor_origin_is_longer_than_64_bytes() -> None:
    """D9: what is longer are proofs of possession, signatures, and who signed."""
    limits = dict(
        part for record in (*LOGGED.values(), Receipt, Verdict) for part in _limits(record, record.__name__)
    )
    assert limits.keys() >= OF_TENSORS
    assert {limits[name] for name in OF_TENSORS} == {32}
    longer = {name.rsplit(".", 1)[-1] for name, most in limits.items() if most > 64}
    assert longer == {"proof_of_possession", "signers"}
