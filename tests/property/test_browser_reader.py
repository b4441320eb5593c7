"""The verifier of the page beside the package's: never the one's yes to what the other refuses.

Pairings apart, which browsers do not have: of them the page says so. Threats D3, L16."""

import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from browser_reader import (
    BrowserReader,
    browser_reader,
    question,
    told_by_browser,
    told_by_package,
    without_pairings,
)
from creditledger.errors import CreditLedgerError
from creditledger.records import canonical
from creditledger.records.receipt import Receipt
from creditledger.transparency.bundle import STATES_MAX, Bundle
from creditledger.transparency.trust_policy import TrustPolicy
from fakes.shown_pool import elsewhere, shown

pytestmark = pytest.mark.chromium

ROOT = Path(__file__).parents[2]
VECTORS = ROOT / "tests" / "vectors"
IS_THOROUGH = "CREDITLEDGER_THOROUGH" in os.environ
MUTANTS = 20_000 if IS_THOROUGH else 400
QUICK = "bundle_binding or bundle_policy or bundle_rotated"
"""The tests that sign what they forge."""


@pytest.fixture(scope="module")
def reader() -> Iterator[BrowserReader]:
    with browser_reader() as started:
        yield started


@pytest.fixture(autouse=True)
def _without_pairings(monkeypatch: pytest.MonkeyPatch) -> None:
    without_pairings(monkeypatch)


def agree(reader: BrowserReader, asked: list[dict[str, Any]]) -> tuple[int, int]:
    """How many both accept, as the same thing, and how many both refuse; anything else fails the test."""
    accepted = 0
    for one, answer in zip(asked, reader.bundles(asked), strict=True):
        expected, found = told_by_package(one), told_by_browser(answer)
        assert found == expected, (answer, one)
        accepted += expected is not None
    return accepted, len(asked) - accepted


def test_bundles_as_in_the_vectors(reader: BrowserReader) -> None:
    cases = [json.loads(file.read_text()) for file in sorted((VECTORS / "bundle").glob("*.json"))]
    asked = [question(bytes.fromhex(case["bundle"]), case["policy"].encode()) for case in cases]
    assert agree(reader, asked) == (
        sum("verified" in case for case in cases),
        sum("error" in case for case in cases),
    )
    for case, answer in zip(cases, reader.bundles(asked), strict=True):
        if "verified" in case:
            assert told_by_browser(answer) == (case["verified"]["reached"], case["verified"]["work"])


def test_what_rests_on_pairings_alone_is_never_proven(reader: BrowserReader) -> None:
    """A round, a verdict and a balance are told as said, not as verified."""
    for source in (shown(), elsewhere()):
        for name, encoded in source.bundles.items():
            answer = reader.bundles([question(encoded, source.policy)])[0]
            assert set(answer["proven"]) <= {"signed", "logged"}
            assert answer["verdict"] == ("open" if name in ("account", "key", "absent") else "holds")
            if "certified" in answer["claimed"]:
                assert answer["steps"]["certificate"] == "unchecked"


def rearranged(asked: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Those with states, of which one is left out, doubled or swapped with the next."""
    for one in asked:
        try:
            bundle = Bundle.decode(bytes.fromhex(one["bundle"]))
        except CreditLedgerError:
            continue
        states = bundle.states
        for at in range(len(states)):
            for order in (
                (*states[:at], *states[at + 1 :]),
                (*states[: at + 1], *states[at:]),
                (*states[:at], *states[at : at + 2][::-1], *states[at + 2 :]),
                (*states, states[at]),
            ):
                if len(order) <= STATES_MAX:
                    yield one | {"bundle": bundle.replace(states=order).encode().hex()}


def test_whatever_the_tests_of_bundles_ask(reader: BrowserReader, tmp_path: Path) -> None:
    """Every forgery that they know, each with all hashes and signatures made anew around it."""
    log = tmp_path / "questions"
    chosen = "bundle" if IS_THOROUGH else QUICK
    subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "question_log", "tests/unit/transparency", "-k", chosen],
        cwd=ROOT,
        env=os.environ | {"CREDITLEDGER_QUESTIONS": str(log), "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"},
        check=True,
        capture_output=True,
        timeout=600,
    )
    asked = [json.loads(line) for line in sorted(set(log.read_text().splitlines()))]
    accepted, refused = agree(reader, asked)
    assert accepted > 50
    assert refused > 100
    true = [one for one in asked if told_by_package(one)]
    accepted, refused = agree(reader, list(rearranged(true)))
    assert refused > accepted > 0


def leaves(value: Any, path: tuple[int, ...] = ()) -> Iterator[tuple[int, ...]]:
    """Where the integers and byte strings of a value stand."""
    if isinstance(value, list):
        for at, item in enumerate(value):
            yield from leaves(item, (*path, at))
        return
    yield path
    try:
        within = canonical.decode(value) if isinstance(value, bytes) else value
    except CreditLedgerError:
        return
    if isinstance(within, list):
        yield from leaves(within, path)


def put(value: Any, path: tuple[int, ...], chance: random.Random) -> Any:
    """``value`` with something else at ``path``, also inside a record that it carries as bytes."""
    if not path:
        return _other(value, chance)
    if isinstance(value, bytes):
        return canonical.encode(put(canonical.decode(value), path, chance))
    return [put(item, path[1:], chance) if at == path[0] else item for at, item in enumerate(value)]


def _other(value: Any, chance: random.Random) -> Any:
    if isinstance(value, int):
        return chance.choice([0, 1, value + 1, max(value - 1, 0), 127, 128, 2**32 - 1, 2**63 - 1, b"", []])
    changed = bytearray(value or b"\0")
    changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return chance.choice(
        [bytes(changed), bytes(changed), value[:-1], value + b"\0", bytes(len(value)), b"", 0, []]
    )


NAMES = ("vested", "refuted", "hold open", "account", "absent", "key", "batch", "signed")


def test_every_field_changed(reader: BrowserReader) -> None:
    """One value of a bundle, or of a record in it, at a time."""
    chance = random.Random(30)
    asked = []
    for name in NAMES:
        values = canonical.decode(shown()[name])
        places = list(leaves(values))
        for path in places if IS_THOROUGH or name == "vested" else chance.sample(places, 25):
            try:
                asked.append(question(canonical.encode(put(values, path, chance)), shown().policy))
            except CreditLedgerError:
                continue
    accepted, refused = agree(reader, asked)
    assert refused > 300
    assert accepted < refused / 10, "pairings alone tell those"


def test_every_bit_may_flip(reader: BrowserReader) -> None:
    chance = random.Random(31)
    asked = []
    for _ in range(MUTANTS):
        changed = bytearray(shown()[chance.choice(NAMES)])
        changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
        asked.append(question(bytes(changed), shown().policy))
    assert agree(reader, asked)[1] > MUTANTS * 0.95


def test_it_is_the_receipt_that_was_asked_for(reader: BrowserReader) -> None:
    """What a pool gives for another id is true, and not what the reader wants to know. Threat D3."""
    wanted = Receipt.decode(Bundle.decode(shown()["vested"]).body).digest(shown().policy.ledger_id or b"")
    given = [shown()[name] for name in ("vested", "refuted", "batch", "account")]
    asked = [question(one, shown().policy) | {"asked": wanted.hex()} for one in given]
    found = [(answer["verdict"], answer["step"]) for answer in reader.bundles(asked)]
    assert found == [("holds", None)] + [("refused", "asked")] * 3


def test_an_absence_has_no_value(reader: BrowserReader) -> None:
    bundle = Bundle.decode(shown()["absent"])
    valued = bundle.replace(states=(bundle.states[0].replace(value=b"x"),))
    asked = [question(one.encode(), shown().policy) for one in (bundle, valued)]
    assert agree(reader, asked) == (1, 1)


def test_a_bundle_about_nothing_known_is_refused(reader: BrowserReader) -> None:
    bundle = canonical.decode(shown()["account"])
    asked = [canonical.encode([*bundle[:2], subject, *bundle[3:]]) for subject in (4, 0, 7, 127)]
    assert agree(reader, [question(one, shown().policy) for one in asked]) == (1, 3)


def test_hostile_bytes_are_refused(reader: BrowserReader) -> None:
    """Whatever they promise, nothing is built of it."""
    most = 65_535
    hostile = [
        b"",
        b"\0",
        b"\x91" * most,
        b"\x81" * most,
        b"\xdc\0\x01" * (most // 3),
        b"\xdc\xff\xff" * (most // 3),
        b"\xdc\xff\xfc" + bytes(65_532),
        b"\xdd\xff\xff\xff\xff",
        b"\xc6\xff\xff\xff\xff",
        bytes(most + 1),
        b"\xcb" + b"\x7f" * 65_000,
        shown()["vested"] + b"\0",
        shown()["vested"][:-1],
    ]
    assert agree(reader, [question(encoded, shown().policy) for encoded in hostile]) == (0, len(hostile))


def test_another_policy(reader: BrowserReader) -> None:
    """Other keys, other quorums, another age, no ledger, no validators: as the package has it."""
    policy, encoded = shown().policy, shown()["vested"]
    log, witness = policy.logs[0], policy.witnesses[0]
    text = policy.serialize().decode()
    changed: list[TrustPolicy | bytes] = [
        policy,
        replace(policy, ledger_id=None),
        replace(policy, committee=None),
        replace(policy, quorum="none"),
        replace(policy, witnesses=(), quorum="none"),
        replace(policy, logs=()),
        replace(policy, max_age_ms=1),
        elsewhere().policy,
        *(text.replace(*pair).encode() for pair in _LINES),
        *(f"{text}{line}\n".encode() for line in _MORE),
        f"{text}#creditledger key {log.vkey.public_key.hex()} 0 5\n".encode(),
        f"{text}#creditledger key {log.vkey.public_key.hex()} 5 0\n".encode(),
        f"{text}#creditledger key {log.vkey.public_key.hex()} 7 7\n".encode(),
        f"{text}witness again {witness.vkey}\n".encode(),
        f"{text}log {log.vkey}\n".encode(),
        text.rstrip().encode(),
        b"",
    ]
    asked = [question(encoded, one) for one in changed]
    accepted, refused = agree(reader, asked)
    assert accepted >= 8
    assert refused >= 15
    seen = 1_800_000_900_000
    aged = replace(policy, max_age_ms=60_000)
    moments = [seen - 60_001, seen - 60_000, seen, seen + 60_000, seen + 60_001]
    assert agree(reader, [question(encoded, aged, now_unix_ms=now) for now in moments]) == (3, 2)


_LINES = [
    ("quorum local", "group g 1 local\nquorum g"),
    ("quorum local", "group g all local\nquorum g"),
    ("quorum local", "group g any local\nquorum g"),
    ("quorum local", "group g 2 local\nquorum g"),
    ("quorum local", "group g 0 local\nquorum g"),
    ("quorum local", "group g 01 local\nquorum g"),
    ("quorum local", "group g 1 local local\nquorum g"),
    ("quorum local", "group g 1 local\ngroup h 1 local\nquorum h"),
    ("quorum local", "group none 1 local\nquorum none"),
    ("quorum local", "quorum nobody"),
    ("quorum local", "quorum local\nquorum local"),
    ("quorum local", "\t quorum \t local  "),
    ("witness local", "witness none"),
    ("#creditledger quorum 2", "#creditledger quorum 4"),
    ("#creditledger quorum 2", "#creditledger quorum 0"),
    ("#creditledger quorum 2\n", ""),
    ("+b42d0602+", "+b42d0603+"),
]
_MORE = [
    "# said",
    "#creditledger",
    "#creditledgers ledger",
    "#creditledger max-age-ms 1 2",
    "said so",
    "\x7f",
    "#\xe9",
    "quorum local",
]


def test_ed25519_as_the_page_of_the_log_has_it(reader: BrowserReader) -> None:
    """Keys that anybody can sign for are refused, however well the browser would take them."""
    case = json.loads((VECTORS / "log" / "signature.json").read_text())
    call = (
        "async ([key, message, signature]) => verifySignature(bytes(key), bytes(message), bytes(signature))"
    )
    good = [case["public_key"], case["message"], case["signature"]]
    spoiled = [[*good[:2], "00" * 64], [good[0], "00", good[2]], [*good[:2], good[2][:-2]]]
    assert reader.ask(call, [good, *spoiled]) == [True, None, None, None]
    refused = json.loads((VECTORS / "log" / "refused-keys.json").read_text())["keys"]
    keys = [good[0], *refused.values()]
    assert reader.ask("async (key) => requireKey(bytes(key))", keys) == [True] + [None] * len(refused)


def test_map_proofs_as_in_the_vectors(reader: BrowserReader) -> None:
    cases = [json.loads(file.read_text()) for file in sorted((VECTORS / "log").glob("map-proof-*.json"))]
    call = """async ([root, key, value, proof]) =>
        verifyMap(bytes(root), bytes(key), value === null ? null : bytes(value), bytes(proof))"""
    asked = [[case["root"], case["key"], case.get("value"), case["proof"]] for case in cases]
    assert reader.ask(call, asked) == [True] * len(cases)
    chance = random.Random(32)
    spoiled = []
    for root, key, value, proof in asked * 20:
        changed = bytearray.fromhex(proof)
        changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
        spoiled.append([root, key, value, changed.hex()])
    assert reader.ask(call, spoiled) == [None] * len(spoiled)


def test_cctv_ed25519(reader: BrowserReader, vectors: Path) -> None:
    """The edge cases of C2SP, as the package decides them."""
    from creditledger.errors import SignatureError
    from creditledger.transparency.keys import verify_ed25519

    cases = json.loads((vectors / "c2sp-cctv-ed25519/ed25519vectors.json").read_text())
    asked = [[case["key"], case["msg"].encode().hex(), case["sig"]] for case in cases]
    call = (
        "async ([key, message, signature]) => verifySignature(bytes(key), bytes(message), bytes(signature))"
    )
    found = reader.ask(call, asked)
    assert found.count(True) == 86
    for (key, message, signature), answer in zip(asked, found, strict=True):
        try:
            verify_ed25519(
                public_key=bytes.fromhex(key),
                message=bytes.fromhex(message),
                signature=bytes.fromhex(signature),
            )
        except SignatureError:
            assert answer is None
        else:
            assert answer is True
