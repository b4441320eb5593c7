"""Values, records and proofs, damaged in every place: the page's verifier takes what the package takes."""

import json
import random
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from browser_reader import BrowserReader, agree_on, browser_reader, damaged, takes
from creditledger.records import canonical
from creditledger.records.job import Job
from creditledger.records.receipt import Batch, Delivery, Receipt
from creditledger.records.record import Record
from creditledger.records.round import Round
from creditledger.records.state import AccountState, HoldState, KeyState, LotState, ReceiptState
from creditledger.records.transfer import DelegatedHold, Hold
from creditledger.records.verdict import Reveal, Verdict
from creditledger.transparency.bundle import decode_bundle
from creditledger.transparency.bundle_shape import require_shape
from creditledger.transparency.merkle import verify_inclusion
from creditledger.transparency.sparse_merkle import verify_map_proof
from fakes.shown_pool import shown

pytestmark = pytest.mark.chromium

VECTORS = Path(__file__).parents[1] / "vectors"
RECORDS: dict[str, type[Record]] = {
    kind.KIND.name.lower(): kind
    for kind in (
        Job,
        Receipt,
        Batch,
        Delivery,
        Round,
        Reveal,
        Verdict,
        Hold,
        DelegatedHold,
        AccountState,
        HoldState,
        KeyState,
        ReceiptState,
        LotState,
    )
}
EDGES = (
    0,
    1,
    2,
    3,
    4,
    10,
    11,
    127,
    128,
    255,
    256,
    1_023,
    1_024,
    4_096,
    4_097,
    65_535,
    65_536,
    12_000_000,
    12_000_001,
)
OTHERS: Sequence[Any] = (
    *EDGES,
    2**32 - 1,
    2**32,
    2**63 - 1,
    b"",
    b"a",
    b"A",
    b"a" * 64,
    b"a" * 65,
    bytes(16),
    bytes(31),
    bytes(32),
    bytes(33),
    bytes([1]) * 32,
    bytes(64),
    bytes(96),
    [],
    [[]],
    [0],
)


@pytest.fixture(scope="module")
def reader() -> Iterator[BrowserReader]:
    with browser_reader() as started:
        yield started


def values(chance: random.Random, depth: int = 0) -> Any:
    """Any value that has an encoding, near the edges of its forms."""
    drawn = chance.random()
    if drawn < 0.4:
        return chance.choice([*EDGES, 2**32, 2**63 - 1, chance.randrange(2**63)])
    if drawn < 0.7 or depth > 9:
        return chance.randbytes(chance.choice([0, 1, 2, 31, 32, 255, 256, 300]))
    return [values(chance, depth + 3) for _ in range(chance.choice([0, 1, 2, 3, 15, 16]))]


LONGER = (
    "cc00",
    "cc7f",
    "cc80",
    "cd00ff",
    "cd0100",
    "ce0000ffff",
    "ce00010000",
    "cf00000000ffffffff",
    "cf0000000100000000",
    "cf7fffffffffffffff",
    "cf8000000000000000",
    "d000",
    "e0",
    "c0",
    "c2",
    "c3",
    "ca00000000",
    "a0",
    "80",
    "c1",
    "d900",
    "c400",
    "c50000",
    "c500ff" + "00" * 255,
    "c50100" + "00" * 256,
    "c600000100" + "00" * 256,
    "c60000ffff" + "00" * 65_535,
    "90",
    "dc0000",
    "dc000f" + "00" * 15,
    "dc0010" + "00" * 16,
    "dd00000010" + "00" * 16,
    "c7000000",
    "d40000",
    "0000",
    "",
    "91" * 7 + "90",
    "91" * 8 + "90",
    "91" * 7 + "00",
    "91" * 8 + "00",
    "c5fffc" + "00" * 65_532,
    "c5fffd" + "00" * 65_533,
)


def test_values_in_every_form(reader: BrowserReader) -> None:
    chance = random.Random(40)
    written = [canonical.encode(value) for value in (values(chance, 2) for _ in range(300))]
    asked = [*written, *(damaged(one, chance) for one in written * 4), *map(bytes.fromhex, LONGER)]
    expected = [takes(canonical.decode, one) for one in asked]
    call = "async (one) => { const value = decode(bytes(one)); encode(value); return hex(encode(value)); }"
    assert agree_on(reader, call, [one.hex() for one in asked], expected) > 300
    told = reader.ask(call, [one.hex() for one in written])
    assert told == [one.hex() for one in written]


def changed(value: Any) -> Iterator[Any]:
    """``value`` with another one in one place, and with one item more or fewer."""
    if isinstance(value, list):
        yield 0
        yield b""
        yield [*value, 0]
        yield value[:-1]
        yield value * 2
        yield value[::-1]
        for at, item in enumerate(value):
            yield from ([*value[:at], other, *value[at + 1 :]] for other in changed(item))
        return
    yield from OTHERS


@pytest.mark.parametrize("name", list(RECORDS))
def test_records_with_another_value_in_one_place(reader: BrowserReader, name: str) -> None:
    """Every field beyond its limits and at them, and every rule between fields."""
    vector = json.loads((VECTORS / "records" / f"{name}.json").read_text())
    record = RECORDS[name].decode(bytes.fromhex(vector["encoded"]))
    asked = [canonical.encode(other) for other in changed(list(canonical.decode(record.encode())))]
    expected = [takes(RECORDS[name].decode, one) for one in asked]
    call = f"async (one) => decodeRecord(bytes(one), '{name}').kind"
    assert 0 < agree_on(reader, call, [one.hex() for one in asked], expected) < len(asked)


def test_bundles_with_another_value_in_one_place(reader: BrowserReader) -> None:
    """Their parts, by what they are about; the checkpoint apart, which is read later."""
    asked = []
    for name in ("vested", "hold open", "account", "batch", "signed"):
        whole = canonical.decode(shown()[name])
        kept = whole[CHECKPOINT]
        others = [one for one in changed(whole) if isinstance(one, list) and one[CHECKPOINT:][:1] == [kept]]
        asked += random.Random(44).sample(others, 300)

    def read(encoded: bytes) -> None:
        require_shape(decode_bundle(encoded))

    encoded = [canonical.encode(one) for one in asked if takes(canonical.encode, one)]
    expected = [takes(read, one) for one in encoded]
    call = "async (one) => openBundle(bytes(one)).subject"
    assert 100 < agree_on(reader, call, [one.hex() for one in encoded], expected) < 1_400


CHECKPOINT = 9
"""Where it stands among a bundle's values."""


def test_places_beyond_the_tree(reader: BrowserReader) -> None:
    """An index is below the size, and both fix how long a path is."""
    asked = [
        (index, size, count)
        for size in (0, 1, 2, 3, 5, 8, 2**63 - 1)
        for index in (0, 1, 2, 4, 7, 8, size, size - 1, size + 1)
        for count in (0, 1, 2, 3, 63)
        if index >= 0
    ]
    leaf, call = (
        bytes(32),
        """async ([index, size, count, root]) => {
      const path = Array.from({ length: count }, () => new Uint8Array(32));
      return verifyInclusion(new Uint8Array(32), BigInt(index), BigInt(size), bytes(root), path);
    }""",
    )

    def root_of(index: int, size: int, count: int) -> bytes:
        carried, inner = leaf, (index ^ (size - 1)).bit_length() if size else 0
        for level in range(count):
            zeros = bytes(32)
            is_right = level >= inner or index >> level & 1
            carried = sha256(b"\1" + (zeros + carried if is_right else carried + zeros)).digest()
        return carried

    def read(one: tuple[int, int, int]) -> None:
        index, size, count = one
        verify_inclusion(leaf=leaf, index=index, size=size, proof=[bytes(32)] * count, root=root_of(*one))

    questions = [
        [str(index), str(size), count, root_of(index, size, count).hex()] for index, size, count in asked
    ]
    assert agree_on(reader, call, questions, [takes(read, one) for one in asked]) > 10


def test_map_proofs_of_every_shape(reader: BrowserReader) -> None:
    """Each leads to its root, were it let: what is wrong is its form, or what it is said to prove."""
    chance = random.Random(43)
    asked = []
    for _ in range(1_500):
        key, value = chance.choice([b"a", b"b", b"key"]), chance.choice([None, None, b"", b"value"])
        kind, depth = chance.choice([0, 1, 2, 3]), chance.choice([0, 1, 2, 3, 8, 9, 256, 257, 300])
        proof, root = _proof(key, value, kind, depth, chance)
        asked.append((root, key, value, proof))
    call = """async ([root, key, value, proof]) =>
      verifyMap(bytes(root), bytes(key), value === null ? null : bytes(value), bytes(proof))"""
    questions = [
        [root.hex(), key.hex(), None if value is None else value.hex(), proof.hex()]
        for root, key, value, proof in asked
    ]

    def read(one: tuple[bytes, bytes, bytes | None, bytes]) -> None:
        root, key, value, proof = one
        verify_map_proof(root=root, key=key, value=value, proof=proof)

    assert 40 < agree_on(reader, call, questions, [takes(read, one) for one in asked]) < 700


def _proof(
    key: bytes, value: bytes | None, kind: int, depth: int, chance: random.Random
) -> tuple[bytes, bytes]:
    """A proof of that form, and the root that hashing it upward gives."""
    path = sha256(key).digest()
    bits = chance.randrange(2**depth) | chance.choice([0, 1, 1, 1]) if depth else 0
    spare = chance.choice([0] * 5 + [1 << depth]) if depth % 8 else 0
    shared = int.from_bytes(path, "big") ^ 1 << chance.choice([0, 8, 200, 250, 254, 255])
    other = chance.choice([path, shared.to_bytes(32, "big")]) + bytes([7]) * 32 if kind == 2 else b""
    siblings = [bytes([9]) * 32 if bits >> at & 1 else bytes(32) for at in range(depth)]
    if chance.random() < 0.1 and depth:
        siblings[chance.randrange(depth)] = bytes(32)
    node = bytes(32) if value is None else sha256(b"\0" + path + sha256(value).digest()).digest()
    node = sha256(b"\0" + other).digest() if other else node
    for level, sibling in enumerate(siblings):
        at = depth - 1 - level
        is_right = at < 256 and path[at >> 3] >> (7 - (at & 7)) & 1
        node = sha256(b"\1" + (sibling + node if is_right else node + sibling)).digest()
    shown = b"".join(sibling for at, sibling in enumerate(siblings) if bits >> at & 1)
    bitmap = (bits | spare).to_bytes((depth + 7) // 8, "little")
    return bytes([kind]) + depth.to_bytes(2, "big") + bitmap + other + shown + chance.choice(
        [b""] * 9 + [b"\0"]
    ), node
