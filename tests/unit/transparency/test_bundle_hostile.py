"""Whatever bytes are sent as a bundle, the answer is a VerificationError, and it comes at once."""

import gc
import random
from collections.abc import Iterator
from time import process_time

import pytest

from creditledger.errors import (
    CertificateError,
    InclusionProofError,
    MalformedBundleError,
    MalformedRecordError,
    SignatureError,
    VerificationError,
)
from creditledger.records import canonical
from creditledger.transparency.bls import PyEccBackend, default_backend
from creditledger.transparency.bundle import BUNDLE_BYTES_MAX, Bundle
from creditledger.transparency.verification import verify_bundle
from fakes.shown_pool import shown

LIMIT_S = 0.05


@pytest.fixture(autouse=True, scope="module")
def only_our_own_heap() -> Iterator[None]:
    """The collector's walks over what other tests keep alive are not what refusing costs."""
    shown()
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def refuse(encoded: bytes) -> tuple[VerificationError, float]:
    """The error and the CPU seconds it took, the best of five runs."""
    spent = []
    for _ in range(5):
        start = process_time()
        with pytest.raises(VerificationError) as caught:
            verify_bundle(encoded, shown().policy, require="signed")
        spent.append(process_time() - start)
        if spent[-1] < LIMIT_S:
            break
    return caught.value, min(spent)


def _hostile() -> Iterator[tuple[str, bytes]]:
    digest, small = b"\xc4\x20" + bytes(32), b"\xdc\xff\xff"
    yield "nothing", b""
    yield "one byte", b"\x00"
    yield "nested arrays", b"\x91" * BUNDLE_BYTES_MAX
    yield "nested long arrays", b"\xdc\x00\x01" * (BUNDLE_BYTES_MAX // 3)
    yield "nested maps", b"\x81" * BUNDLE_BYTES_MAX
    yield "wide arrays at each depth", small * (BUNDLE_BYTES_MAX // 3)
    yield "an array of zeros", b"\xdc\xff\xfc" + bytes(65_532)
    yield "an array of empty arrays", b"\xdc\xff\xfc" + b"\x90" * 65_532
    yield "an array of empty bytes", b"\xdc\x7f\xfe" + b"\xc4\x00" * 32_766
    yield "an array of digests", b"\xdc\x07\x86" + digest * 1_926
    yield "an array cut short", b"\xdd\xff\xff\xff\xff"
    yield "a byte string cut short", b"\xc6\xff\xff\xff\xff"
    yield "floats", b"\xcb" + b"\x7f" * 65_000
    yield "too long by a byte", bytes(BUNDLE_BYTES_MAX + 1)
    yield "sixteen mebibytes", bytes(2**24)
    for field, value in (
        ("states", [[b"x", b"\0"]] * 2_000),
        ("verdicts", [[]] * 9),
        ("leaf", [[0, []]] * 2),
    ):
        yield f"many {field}", canonical.encode(_with(field, value))
    yield "bytes for every field", canonical.encode([96, 1, *[b""] * 11])
    yield "arrays for every field", canonical.encode([96, 1, *[[]] * 11])
    yield "integers for every field", canonical.encode([96, 1, *[0] * 11])


def _with(field: str, value: object) -> list:
    names = list(Bundle.__struct_fields__)
    values = Bundle.decode(shown()["upheld"]).to_values()
    values[2 + names.index(field)] = value  # type: ignore[call-overload]
    return values


@pytest.mark.parametrize(("what", "encoded"), list(_hostile()), ids=lambda v: v if isinstance(v, str) else "")
def test_hostile_bytes_are_malformed_and_cheap(what: str, encoded: bytes) -> None:
    error, spent = refuse(encoded)
    assert type(error) is MalformedBundleError, what
    assert spent < LIMIT_S, what


def test_a_path_is_as_long_as_its_tree_asks_for() -> None:
    error, spent = refuse(canonical.encode(_with("leaf", [[0, [bytes(32)] * 1_500]])))
    assert type(error) is InclusionProofError
    assert spent < LIMIT_S


def test_random_bytes_are_malformed_and_cheap() -> None:
    chance = random.Random(20)
    for size in [*range(64), 100, 1_000, 10_000, 65_535] * 4:
        error, spent = refuse(chance.randbytes(size))
        assert type(error) is MalformedBundleError
        assert spent < LIMIT_S


@pytest.mark.parametrize("name", ["upheld", "absent", "batch"])
def test_every_truncation_is_malformed_and_cheap(name: str) -> None:
    whole = shown()[name]
    for length in range(len(whole)):
        error, spent = refuse(whole[:length])
        assert type(error) is MalformedBundleError
        assert spent < LIMIT_S
    error, _ = refuse(whole + b"\0")
    assert type(error) is MalformedBundleError


def test_scrambled_parts_raise_nothing_else() -> None:
    """Random values in the right places reach the code behind the decoder."""
    chance = random.Random(21)
    originals = [Bundle.decode(encoded).to_values() for encoded in shown().bundles.values()]
    for _ in range(3_000):
        values = _mutated(chance.choice(originals), chance)
        try:
            encoded = canonical.encode(values)
        except MalformedRecordError:
            continue
        if encoded not in shown().bundles.values():
            _, spent = refuse(encoded) if not _is_weaker_option(encoded) else (None, 0.0)
            assert spent < LIMIT_S


def _is_weaker_option(encoded: bytes) -> bool:
    """Whether a mutation only left out the delivery, the lot or both of the client's papers."""
    try:
        verify_bundle(encoded, shown().policy, require="signed")
    except VerificationError:
        return False
    bundle = Bundle.decode(encoded)
    return not bundle.delivery or len(bundle.states) == 1


def _mutated(value: object, chance: random.Random) -> object:
    if isinstance(value, list | tuple) and value and chance.random() < 0.97:
        values, at = list(value), chance.randrange(len(value))
        values[at] = _mutated(values[at], chance)
        return values
    if isinstance(value, bytes) and chance.random() < 0.8:
        return chance.choice(
            [b"", value[:-1], value + b"\0", chance.randbytes(len(value)), bytes(len(value))]
        )
    if isinstance(value, int) and chance.random() < 0.8:
        return chance.choice([0, 1, value + 1, 127, 2**16, 2**32, 2**63 - 1])
    return chance.choice([b"", 0, [], [[]], 2**63 - 1, bytes(32)])


@pytest.mark.skipif(default_backend() == PyEccBackend(), reason="the reference takes 0.3 s a pairing")
def test_a_flood_of_bad_signatures_is_cheap() -> None:
    """Everything holds up to the last check: the dearest refusal there is."""
    bundle = Bundle.decode(shown()["vested"])
    certified, shown_verdict = bundle.certified[0], bundle.verdicts[0]
    verify_bundle(shown()["vested"], shown().policy)  # proofs of possession are checked once
    other = Bundle.decode(shown()["certified"]).certified[0].aggregate
    wrong_certificate = bundle.replace(certified=(certified.replace(aggregate=other),))
    reveal = shown_verdict.reveal.replace(signature=other)
    wrong_reveal = bundle.replace(verdicts=(shown_verdict.replace(reveal=reveal),))
    for changed, kind in ((wrong_certificate, CertificateError), (wrong_reveal, SignatureError)):
        error, spent = refuse(changed.encode())
        assert type(error) is kind
        assert spent < LIMIT_S


class NoPairing(PyEccBackend):
    """Fails the test that asks it for a pairing."""

    def verify(self, *arguments: object) -> bool:
        raise AssertionError("a pairing was computed")

    fast_aggregate_verify = verify_possession = verify


def test_pairings_come_last() -> None:
    """A bundle that is wrong in anything else costs no pairing."""

    bundle = Bundle.decode(shown()["vested"])
    for changed in (
        bundle.replace(states=bundle.states[::-1]),
        bundle.replace(delivery=bundle.job),
        bundle.replace(entry=(bundle.entry[0].replace(signature=bytes(64)),)),
        bundle.replace(verdicts=Bundle.decode(shown()["refuted"]).verdicts),
    ):
        with pytest.raises(VerificationError):
            verify_bundle(changed.encode(), shown().policy, backend=NoPairing())
    with pytest.raises(AssertionError):
        verify_bundle(bundle.encode(), shown().policy, backend=NoPairing())
