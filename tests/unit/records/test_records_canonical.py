"""One value, one encoding, within bounds. Source: specs/records.md §1."""

import gc
import json
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from creditledger.errors import MalformedRecordError
from creditledger.records import canonical
from creditledger.records.canonical import DEPTH_MAX, FRAME_BYTES_MAX, ITEMS_MAX, RECORD_BYTES_MAX
from published_vectors import Tally

SHORTEST = [
    (0, "00"), (127, "7f"), (128, "cc80"), (255, "ccff"), (256, "cd0100"), (2**16 - 1, "cdffff"),
    (2**16, "ce00010000"), (2**31, "ce80000000"), (2**32 - 1, "ceffffffff"), (2**32, "cf0000000100000000"),
    (2**53, "cf0020000000000000"), (2**63 - 1, "cf7fffffffffffffff"), (b"", "c400"), (b"\x80", "c40180"),
    (bytes(255), "c4ff" + "00" * 255), (bytes(256), "c50100" + "00" * 256), ([], "90"),
    ([0] * 15, "9f" + "00" * 15), ([0] * 16, "dc0010" + "00" * 16), ([[b"a", 1], []], "9292c401610190"),
]  # fmt: skip

REFUSED = {
    "no bytes": "",
    "uint8 of 127": "cc7f",
    "uint16 of 255": "cd00ff",
    "uint32 of 65535": "ce0000ffff",
    "uint64 of 2^32-1": "cf00000000ffffffff",
    "uint64 of 2^63": "cf8000000000000000",
    "uint64 of 2^64-1": "cfffffffffffffffff",
    "int8 of 1": "d001",
    "int64 of 1": "d30000000000000001",
    "-1": "ff",
    "int8 of -33": "d0df",
    "bin16 of 1": "c5000100",
    "bin32 of 1": "c60000000100",
    "array16 of 1": "dc000100",
    "array32 of 1": "dd0000000100",
    "array32 of 16": "dd00000010" + "00" * 16,
    "float32": "ca3f800000",
    "float64": "cb3ff0000000000000",
    "float64 not a number": "cb7ff8000000000000",
    "float64 minus zero": "cb8000000000000000",
    "nil": "c0",
    "never used": "c1",
    "false": "c2",
    "true": "c3",
    "empty map": "80",
    "map": "810001",
    "map with one key twice": "82a16101a16102",
    "empty text": "a0",
    "text": "a161",
    "text8": "d90161",
    "fixext1": "d40100",
    "timestamp": "d6ff5a4af6a5",
    "ext8 of no bytes": "c70001",
    "item after the end": "0000",
    "array without its item": "91",
    "array with an item too many": "910000",
    "bin without its bytes": "c402ff",
    "bin16 without its length": "c500",
    "uint64 without its end": "cf00",
    "nil inside": "9101" + "9201c0",
}
REFUSED |= {f"{name}, in an array": "91" + encoded for name, encoded in REFUSED.items() if encoded}


@pytest.mark.parametrize(("value", "encoded"), SHORTEST, ids=[encoded[:20] for _, encoded in SHORTEST])
def test_the_shortest_form_is_the_encoding(value: Any, encoded: str) -> None:
    assert canonical.encode(value).hex() == encoded
    assert canonical.decode(bytes.fromhex(encoded)) == value


@pytest.mark.parametrize("name", REFUSED)
def test_every_other_form_is_refused(name: str) -> None:
    """K7: more than thirty classes of bytes that other decoders take, each at the top and in an array."""
    with pytest.raises(MalformedRecordError):
        canonical.decode(bytes.fromhex(REFUSED[name]))


def suite_cases(vectors: Path) -> Iterator[tuple[str, Any, list[bytes]]]:
    """Of every value in the public msgpack suite: its type, itself, and all its encodings."""
    suite = json.loads((vectors / "msgpack-test-suite" / "msgpack-test-suite.json").read_text())
    for cases in suite.values():
        for case in cases:
            if "bignum" in case:
                case = {"number": int(case["bignum"]), "msgpack": case["msgpack"]}
            kind, value = next(item for item in case.items() if item[0] != "msgpack")
            yield kind, value, [bytes.fromhex(form.replace("-", "")) for form in case["msgpack"]]


def plain_of(kind: str, value: Any) -> Any:
    """The suite's value as a record may hold it; None if no record may."""
    if kind == "number" and isinstance(value, int) and 0 <= value < 2**63:
        return value
    if kind == "binary":
        return bytes.fromhex(value.replace("-", ""))
    return value if kind == "array" and is_plain(value) else None


def is_plain(value: Any) -> bool:
    """Whether a JSON value is made of unsigned integers and arrays alone."""
    if isinstance(value, list):
        return all(is_plain(item) for item in value)
    return type(value) is int and value >= 0


def test_of_the_public_suite_only_canonical_forms_are_accepted(vectors: Path, ran: Tally) -> None:
    """Of an unsigned integer, a byte string or an array of them, one form; of all else, none."""
    accepted = refused = 0
    for kind, value, forms in suite_cases(vectors):
        plain = plain_of(kind, value)
        shortest = None if plain is None else canonical.encode(plain)
        assert plain is None or shortest in forms
        for form in forms:
            if form == shortest:
                assert canonical.decode(form) == plain
                accepted += 1
                continue
            with pytest.raises(MalformedRecordError):
                canonical.decode(form)
            refused += 1
    ran("msgpack-test-suite", accepted + refused, f"{accepted} shortest forms read, all others refused")


@pytest.mark.parametrize(
    "value",
    [-1, 2**63, 2**64, 10**5000, True, False, None, 1.0, "a", bytearray(b"a"), {}, {1: 2}, {1}, [[None]], 1j],
    ids=lambda value: f"{type(value).__name__} {str(value)[:12] if value != 10**5000 else 'huge'}",
)
def test_other_values_are_not_encoded(value: Any) -> None:
    for nested in (value, [value], (1, [value])):
        with pytest.raises(MalformedRecordError):
            canonical.encode(nested)


def test_numpy_integers_are_not_encoded() -> None:
    numpy = pytest.importorskip("numpy")
    for value in (numpy.int64(1), numpy.uint64(2**63), numpy.bool_(True), numpy.float64(1.0)):
        with pytest.raises(MalformedRecordError):
            canonical.encode([value])


@pytest.mark.parametrize("encoded", ["90", bytearray(b"\x90"), memoryview(b"\x90"), None, 144, [b"\x90"]])
def test_only_bytes_are_decoded(encoded: Any) -> None:
    with pytest.raises(MalformedRecordError):
        canonical.decode(encoded)


def nested(depth: int) -> Any:
    value: Any = []
    for _ in range(depth - 1):
        value = [value]
    return value


def test_arrays_nest_eight_deep_and_no_deeper() -> None:
    deepest = b"\x91" * (DEPTH_MAX - 1) + b"\x90"
    assert canonical.decode(deepest) == nested(DEPTH_MAX)
    assert canonical.encode(nested(DEPTH_MAX)) == deepest
    with pytest.raises(MalformedRecordError, match="deep"):
        canonical.decode(b"\x91" + deepest)
    with pytest.raises(MalformedRecordError, match="deep"):
        canonical.encode(nested(DEPTH_MAX + 1))


def test_scalars_at_the_deepest_level_are_accepted() -> None:
    encoded = b"\x91" * DEPTH_MAX + b"\x01"
    assert canonical.encode(canonical.decode(encoded)) == encoded


def test_an_array_that_holds_itself_is_refused() -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(MalformedRecordError, match="deep"):
        canonical.encode(loop)


def test_a_record_has_at_most_65535_bytes() -> None:
    longest = bytes(RECORD_BYTES_MAX - 3)
    encoded = canonical.encode(longest)
    assert len(encoded) == RECORD_BYTES_MAX
    assert canonical.decode(encoded) == longest
    with pytest.raises(MalformedRecordError, match="long"):
        canonical.encode(longest + b"\0")
    with pytest.raises(MalformedRecordError, match="long"):
        canonical.decode(b"\xc5\xff\xfd" + longest + b"\0")


def test_a_frame_has_at_most_4_mebibytes() -> None:
    longest = bytes(FRAME_BYTES_MAX - 5)
    encoded = canonical.encode(longest, most=FRAME_BYTES_MAX)
    assert canonical.decode(encoded, most=FRAME_BYTES_MAX) == longest
    with pytest.raises(MalformedRecordError, match="long"):
        canonical.encode(longest + b"\0", most=FRAME_BYTES_MAX)


def test_arrays_have_at_most_65535_items_in_all() -> None:
    """Counted over all arrays of a value: a frame of empty arrays would cost 60 times its size."""
    half = [0] * (ITEMS_MAX // 2)
    fits = [half, half[:-1]]
    encoded = canonical.encode(fits, most=FRAME_BYTES_MAX)
    assert canonical.decode(encoded, most=FRAME_BYTES_MAX) == fits
    with pytest.raises(MalformedRecordError, match="items"):
        canonical.encode([half, [*half, 0]], most=FRAME_BYTES_MAX)
    with pytest.raises(MalformedRecordError, match="items"):
        canonical.decode(b"\x92" + 2 * (b"\xdc\x7f\xff" + bytes(2**15 - 1)), most=FRAME_BYTES_MAX)


KIB_64 = RECORD_BYTES_MAX


def filled(head: bytes, item: bytes, size: int = KIB_64) -> bytes:
    """An array32 or array16 that fills ``size`` bytes with one item over and over."""
    count = (size - len(head) - 4) // len(item)
    width = 2 if head == b"\xdc" else 4
    return head + count.to_bytes(width, "big") + item * count


BOMBS: dict[str, bytes] = {
    "empty arrays": filled(b"\xdc", b"\x90"),
    "arrays of one empty array": filled(b"\xdc", b"\x91\x90"),
    "empty bytes": filled(b"\xdc", b"\xc4\x00"),
    "ones": filled(b"\xdc", b"\x01"),
    "two-byte strings": filled(b"\xdc", b"\xc4\x02ab"),
    "uint64": filled(b"\xdc", b"\xcf\x7f" + b"\xff" * 7),
    "empty maps": filled(b"\xdc", b"\x80"),
    "empty texts": filled(b"\xdc", b"\xa0"),
    "extensions": filled(b"\xdc", b"\xd4\x05\x00"),
    "array16 in array16": b"\xdc\xff\xff" * (KIB_64 // 3),
    "array32 in array32": b"\xdd\x00\x00\xff\xff" * (KIB_64 // 5),
    "array32 of 2^32-1": b"\xdd\xff\xff\xff\xff" + bytes(100),
    "map32 of 2^32-1": b"\xdf\xff\xff\xff\xff" + bytes(100),
    "bin32 of 2^32-1": b"\xc6\xff\xff\xff\xff" + bytes(100),
    "array1 in array1": b"\x91" * KIB_64,
    "array2 in array2, item first": b"\x92\x01" * (KIB_64 // 2),
    "map1 in map1": b"\x81\x01" * (KIB_64 // 2),
    "depth late": b"\xdc\x80\x00" + b"\x01" * 2**14 + b"\x91" * 2**15,
}


def cost_of(decode: Callable[[], object]) -> tuple[float, int]:
    """Processor seconds (the best of five) and peak bytes of one call, whatever lives in this process."""
    gc.collect()
    gc.freeze()
    seconds = []
    for _ in range(5):
        start = time.process_time()
        decode()
        seconds.append(time.process_time() - start)
    gc.unfreeze()
    tracemalloc.start()
    try:
        decode()
        return min(seconds), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def accept_or_refuse(encoded: bytes, most: int) -> None:
    try:
        canonical.decode(encoded, most=most)
    except MalformedRecordError:
        return


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_of_64_kib_costs_little_time_and_memory(name: str) -> None:
    """K8: at most 50 ms and 16 MiB, whatever the input."""
    assert len(BOMBS[name]) <= KIB_64
    seconds, peak = cost_of(lambda: accept_or_refuse(BOMBS[name], KIB_64))
    assert seconds <= 0.050
    assert peak <= 16 * 2**20


@pytest.mark.parametrize(
    "encoded",
    [
        filled(b"\xdd", b"\x90", FRAME_BYTES_MAX),
        b"\xdd\x00\x3f\xff\x00" * (FRAME_BYTES_MAX // 5),
        filled(b"\xdc", b"\xc4\x3c" + bytes(60), FRAME_BYTES_MAX // 2),
    ],
    ids=["empty arrays", "array32 in array32", "short strings"],
)
def test_a_bomb_of_4_mib_costs_little_more_than_its_size(encoded: bytes) -> None:
    _, peak = cost_of(lambda: accept_or_refuse(encoded, FRAME_BYTES_MAX))
    assert peak <= 16 * 2**20


def test_an_error_shows_no_more_than_a_bound_of_what_it_found() -> None:
    """Decoded input never gets into a message: neither huge integers nor deep arrays."""
    for value in (10**5000, [nested(7)] * 5000, b"x" * 10**6, "y" * 10**6):
        assert len(canonical.shown(value)) <= 60
    assert canonical.shown(2**64).startswith("18446744073709551616")
