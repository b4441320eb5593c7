"""BLS: published vectors through our checks, on each backend; the reference on a sample."""

import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from creditledger.errors import KeyFormatError, SignatureError
from creditledger.transparency import bls
from creditledger.transparency.bls import (
    GROUP_ORDER,
    ArkworksBackend,
    BlsBackend,
    BlsSigner,
    PyEccBackend,
    aggregate_bls,
    default_backend,
    key_from_seed,
    require_bls_public_key,
    verify_bls,
    verify_bls_aggregate,
    verify_possession,
)
from published_vectors import Tally

HAS_NATIVE = find_spec("py_arkworks_bls12381") is not None
needs_native = pytest.mark.skipif(not HAS_NATIVE, reason="the native backend is not installed")
INFINITE_KEY = b"\xc0" + bytes(47)
INFINITE_SIGNATURE = b"\xc0" + bytes(95)
GENERATOR = bytes.fromhex(
    "97f1d3a73197d7942695638c4fa9ac0fc3688c4f9774b905a14e3a3f171bac586c55e83ff97a1aeffb3af00adb22c6bb"
)
STRAY_KEY = b"\x80" + bytes(47)
"""On the curve (x = 0, y = 2), outside the subgroup."""
GOOD_SIGNATURE = bytes.fromhex(
    "b97c335f20db08e91c53aecbabf17e0c0880d2d3f17fa9d9f4f2bb7caae0c05c201db70fd56d044ed05b6cb2968dbb7d"
    "15d20c32159aace6759a783461fd9e3c5ea985d29a7a466bc11c0ad3e5923bfee7e335057028e7c7c4db7df243baee61"
)
"""Of ``m``, by the secret 1, whose key is GENERATOR."""
STRAY_SIGNATURE = b"\x80" + bytes(94) + b"\x02"
"""On the curve (x = 2), outside the subgroup."""
BAD_KEYS = (
    INFINITE_KEY,
    b"\xff" * 48,
    b"\xe0" + bytes(47),
    b"\xc0" + bytes(46) + b"\x01",
    bytes(48),
    STRAY_KEY,
    b"\x80" + bytes(46) + b"\x01",
    b"\x9f" + b"\xff" * 47,
)
"""Infinity in five spellings, outside the subgroup, off the curve, out of the field."""
BAD_SIGNATURES = (
    INFINITE_SIGNATURE,
    b"\xff" * 96,
    b"\xe0" + bytes(95),
    b"\xc0" + bytes(94) + b"\x01",
    bytes(96),
    STRAY_SIGNATURE,
    b"\x80" + bytes(95),
    b"\x9f" + b"\xff" * 95,
)


@pytest.fixture(
    params=[
        pytest.param(PyEccBackend(), id="reference"),
        pytest.param(ArkworksBackend(), id="native", marks=needs_native),
    ]
)
def backend(request: pytest.FixtureRequest) -> BlsBackend:
    return request.param  # type: ignore[no-any-return]


def test_the_native_backend_is_used_where_it_is_installed() -> None:
    assert default_backend() == (ArkworksBackend() if HAS_NATIVE else PyEccBackend())


def test_importing_the_layer_loads_no_curve_and_no_arrays() -> None:
    """Offline verification starts fast: the heavy modules load when a pairing is asked for."""
    program = (
        "import sys\n"
        "import creditledger.transparency.trust_policy, creditledger.transparency.witness\n"
        "import creditledger.transparency.sparse_merkle, creditledger.transparency.tile\n"
        "heavy = {'numpy', 'py_ecc', 'py_arkworks_bls12381', 'msgpack'} & set(sys.modules)\n"
        "sys.exit(repr(heavy) if heavy else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_sign_and_verify(backend: BlsBackend) -> None:
    signer = BlsSigner(key_from_seed(b"\x01" * 32), backend=backend)
    signature = signer.sign(b"round 7")
    verify_bls(public_key=signer.public_key, message=b"round 7", signature=signature, backend=backend)
    with pytest.raises(SignatureError):
        verify_bls(public_key=signer.public_key, message=b"round 8", signature=signature, backend=backend)


@pytest.mark.parametrize("missing", [None, SimpleNamespace(), SimpleNamespace(G2Point=object)])
def test_the_reference_stands_in_where_the_native_backend_cannot_serve(
    missing: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not installed, another module of that name, and a version that cannot hash to the curve."""
    monkeypatch.setitem(sys.modules, "py_arkworks_bls12381", missing)
    default_backend.cache_clear()
    try:
        assert default_backend() == PyEccBackend()
    finally:
        default_backend.cache_clear()


@needs_native
@pytest.mark.parametrize("message", [b"", b"round 7", bytes(range(256)) * 5])
def test_backends_agree_byte_for_byte(message: bytes) -> None:
    """Keys, signatures, proofs of possession, aggregates, and what each says of the other's."""
    reference, native = PyEccBackend(), ArkworksBackend()
    secret, other = key_from_seed(message + b"\x02" * 32), (GROUP_ORDER - 1).to_bytes(32, "big")
    key, signature = reference.public_key(secret), reference.sign(secret, message)
    proof = reference.prove_possession(secret)
    assert native.public_key(secret) == key
    assert native.sign(secret, message) == signature
    assert native.prove_possession(secret) == proof
    pair = [signature, native.sign(other, message)]
    keys = [key, native.public_key(other)]
    total = native.aggregate(pair)
    assert reference.aggregate(pair) == total
    assert native.verify(key, message, signature)
    assert native.verify_possession(key, proof)
    assert native.fast_aggregate_verify(keys, message, total)
    assert reference.fast_aggregate_verify(keys, message, total)


@pytest.mark.parametrize("index", range(len(BAD_KEYS)))
def test_no_backend_takes_a_bad_key(backend: BlsBackend, index: int) -> None:
    """Asked directly, without the checks around it: False, and nothing raised."""
    bad = BAD_KEYS[index]
    assert not backend.is_valid_key(bad)
    for signature in (GOOD_SIGNATURE, INFINITE_SIGNATURE):
        assert not backend.verify(bad, b"m", signature)
        assert not backend.fast_aggregate_verify([bad], b"m", signature)
        assert not backend.verify_possession(bad, signature)


@pytest.mark.parametrize("index", range(len(BAD_SIGNATURES)))
def test_no_backend_takes_a_bad_signature(backend: BlsBackend, index: int) -> None:
    bad = BAD_SIGNATURES[index]
    assert backend.is_valid_key(GENERATOR)
    assert not backend.verify(GENERATOR, b"m", bad)
    if backend != PyEccBackend():
        assert not backend.fast_aggregate_verify([GENERATOR], b"m", bad)
        assert not backend.verify_possession(GENERATOR, bad)
        assert backend.verify(GENERATOR, b"m", GOOD_SIGNATURE)
        assert backend.aggregate([GOOD_SIGNATURE]) == GOOD_SIGNATURE
        with pytest.raises(ValueError, match=r"\w"):
            backend.aggregate([GOOD_SIGNATURE, bad])


@needs_native
def test_the_native_backend_refuses_no_keys_no_signatures_and_lengths() -> None:
    native, secret = ArkworksBackend(), b"\0" * 31 + b"\x05"
    key, signature = native.public_key(secret), native.sign(secret, b"m")
    assert native.fast_aggregate_verify([key], b"m", signature)
    assert not native.fast_aggregate_verify([], b"m", signature)
    assert not native.fast_aggregate_verify([], b"m", INFINITE_SIGNATURE)
    for short in (b"", key[:47], key + b"\0", signature):
        assert not native.is_valid_key(short)
        assert not native.fast_aggregate_verify([key, short], b"m", signature)
    for short in (b"", signature[:95], signature + b"\0", key):
        assert not native.verify(key, b"m", short)
    with pytest.raises(ValueError, match="no signature"):
        native.aggregate([])
    with pytest.raises(ValueError, match="zero"):
        native.public_key(bytes(32))
    with pytest.raises(ValueError, match="zero"):
        native.sign(bytes(32), b"m")


@needs_native
def test_a_point_has_one_spelling_whatever_the_parser_takes() -> None:
    """A signature is a seed too, so bytes that merely parse to the same point are refused."""
    from py_arkworks_bls12381 import G1Point

    lenient = SimpleNamespace(identity=G1Point.identity, from_compressed_bytes=lambda raw: G1Point())
    assert bls._point(lenient, GENERATOR) == G1Point()
    with pytest.raises(ValueError, match="spelling"):
        bls._point(lenient, b"\x80" + GENERATOR[1:])


@needs_native
def test_the_native_backend_parses_a_key_once(monkeypatch: pytest.MonkeyPatch) -> None:
    native, secret = ArkworksBackend(), key_from_seed(b"parsed once" * 3)
    key, signature = native.public_key(secret), native.sign(secret, b"m")
    parsed, parse = [], bls._point

    def counting(group: Any, raw: bytes) -> Any:
        parsed.append(raw)
        return parse(group, raw)

    monkeypatch.setattr(bls, "_point", counting)
    for _ in range(3):
        assert native.verify(key, b"m", signature)
        assert not native.is_valid_key(STRAY_KEY)
    assert (parsed.count(key), parsed.count(STRAY_KEY)) == (1, 3)


@needs_native
def test_the_native_backend_serves_threads() -> None:
    native, secrets = ArkworksBackend(), [key_from_seed(bytes([number]) * 32) for number in range(8)]

    def check(number: int) -> bool:
        secret, message = secrets[number % 8], bytes([number])
        key, signature = native.public_key(secret), native.sign(secret, message)
        return native.verify(key, message, signature) and not native.verify(key, b"other", signature)

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(check, range(24)))


def test_key_derivation_is_the_ciphersuites() -> None:
    from py_ecc.bls import G2ProofOfPossession  # type: ignore[attr-defined]

    for seed in (bytes(32), b"\xff" * 40):
        expected = G2ProofOfPossession.KeyGen(seed)
        assert int.from_bytes(key_from_seed(seed), "big") == expected
    with pytest.raises(KeyFormatError):
        key_from_seed(bytes(31))


@pytest.mark.parametrize("secret", [0, GROUP_ORDER, GROUP_ORDER + 1, 2**256 - 1])
def test_secrets_out_of_range_are_refused(secret: int) -> None:
    BlsSigner((1).to_bytes(32, "big"))
    with pytest.raises(KeyFormatError):
        BlsSigner(secret.to_bytes(32, "big"))
    with pytest.raises(KeyFormatError):
        BlsSigner(bytes(31))


def test_text_form_shows_no_secret() -> None:
    secret = key_from_seed(b"\x01" * 32)
    assert secret.hex() not in repr(BlsSigner(secret))
    assert "redacted" in repr(BlsSigner(secret))


def test_possession_is_not_a_signature(backend: BlsBackend) -> None:
    """Source: the proof has its own domain, so nobody signs one by signing a message."""
    signer = BlsSigner(key_from_seed(b"\x04" * 32), backend=backend)
    proof = signer.proof_of_possession()
    verify_possession(public_key=signer.public_key, proof=proof, backend=backend)
    with pytest.raises(SignatureError):
        verify_possession(public_key=signer.public_key, proof=signer.sign(signer.public_key), backend=backend)
    with pytest.raises(SignatureError):
        verify_bls(
            public_key=signer.public_key,
            message=signer.public_key,
            signature=proof,
            backend=backend,
        )


def test_a_proof_that_held_is_remembered_and_one_that_failed_is_not() -> None:
    class Counting:
        calls = 0

        def is_valid_key(self, public_key: bytes) -> bool:
            return True

        def verify_possession(self, public_key: bytes, proof: bytes) -> bool:
            self.calls += 1
            return proof[1] == 0

    counting: Any = Counting()
    key, good, bad = b"\x80" + bytes(47), b"\x80" + bytes(95), b"\x80\x01" + bytes(94)
    for _ in range(3):
        verify_possession(public_key=key, proof=good, backend=counting)
    assert counting.calls == 1
    for _ in range(3):
        with pytest.raises(SignatureError):
            verify_possession(public_key=key, proof=bad, backend=counting)
    assert counting.calls == 4


class TrustingBackend(PyEccBackend):
    """Says yes to everything: what is refused with it, our own checks refuse."""

    def is_valid_key(self, public_key: bytes) -> bool:
        return True

    def verify(self, public_key: bytes, message: bytes, signature: bytes) -> bool:
        return True

    def fast_aggregate_verify(self, public_keys: Any, message: bytes, signature: bytes) -> bool:
        return True

    def verify_possession(self, public_key: bytes, proof: bytes) -> bool:
        return True

    def aggregate(self, signatures: Any) -> bytes:
        return INFINITE_SIGNATURE if len(signatures) == 3 else bytes(signatures[0])


def test_no_backend_is_trusted_with_infinity_repeats_or_nothing() -> None:
    trusting = TrustingBackend()
    key, other = b"\x80" + bytes(47), b"\xa0" + bytes(47)
    signature = b"\x80" + bytes(95)
    keys = [key, other]
    verify_bls_aggregate(public_keys=keys, message=b"", signature=signature, backend=trusting)
    aggregate_bls([signature], backend=trusting)
    for bad_keys in ([], [key, key], [key, INFINITE_KEY], [key, bytes(48)], [key, key[:47]]):
        with pytest.raises(SignatureError):
            verify_bls_aggregate(public_keys=bad_keys, message=b"", signature=signature, backend=trusting)
    for bad in (INFINITE_SIGNATURE, bytes(96), signature[:95], b"", signature + b"\0"):
        with pytest.raises(SignatureError):
            verify_bls_aggregate(public_keys=keys, message=b"", signature=bad, backend=trusting)
        with pytest.raises(SignatureError):
            verify_bls(public_key=key, message=b"", signature=bad, backend=trusting)
        with pytest.raises(SignatureError):
            verify_possession(public_key=key, proof=bad, backend=trusting)
        with pytest.raises(SignatureError):
            aggregate_bls([signature, bad], backend=trusting)
    for bad_key in (INFINITE_KEY, b"\xe0" + bytes(47), bytes(48), b""):
        with pytest.raises(SignatureError):
            verify_bls(public_key=bad_key, message=b"", signature=signature, backend=trusting)
        with pytest.raises(KeyFormatError):
            require_bls_public_key(bad_key, backend=trusting)
    three = [bytes([0x80, value]) + bytes(94) for value in range(3)]
    for bad_set in ([], [signature, signature], three):
        with pytest.raises(SignatureError):
            aggregate_bls(bad_set, backend=trusting)


def test_keys_that_cancel_out_certify_nothing(backend: BlsBackend) -> None:
    """x and -x: the sum of their signatures is infinity, which "verifies" for any message."""
    one = BlsSigner(b"\0" * 31 + b"\x09", backend=backend)
    other = BlsSigner((GROUP_ORDER - 9).to_bytes(32, "big"), backend=backend)
    with pytest.raises(SignatureError):
        aggregate_bls([one.sign(b"m"), other.sign(b"m")], backend=backend)
    with pytest.raises(SignatureError):
        verify_bls_aggregate(
            public_keys=[one.public_key, other.public_key],
            message=b"anything",
            signature=INFINITE_SIGNATURE,
            backend=backend,
        )
    keys = [one.public_key, other.public_key]
    assert not backend.fast_aggregate_verify(keys, b"anything", INFINITE_SIGNATURE)


def pop_cases(vectors: Path) -> Iterator[tuple[bytes, dict[str, str]]]:
    text = (vectors / "wycheproof/bls_sig_g2_pop_verify_test.json").read_text()
    for group in json.loads(text)["testGroups"]:
        for case in group["tests"]:
            yield bytes.fromhex(group["publicKey"]["pk"]), case


def check_pop_case(key: bytes, case: dict[str, str], backend: BlsBackend) -> None:
    message, signature = bytes.fromhex(case["msg"]), bytes.fromhex(case["sig"])
    if case["result"] == "valid":
        verify_bls(public_key=key, message=message, signature=signature, backend=backend)
    else:
        with pytest.raises(SignatureError):
            verify_bls(public_key=key, message=message, signature=signature, backend=backend)


@needs_native
def test_wycheproof_native(vectors: Path, ran: Tally) -> None:
    cases = list(pop_cases(vectors))
    for key, case in cases:
        check_pop_case(key, case, ArkworksBackend())
    ran("wycheproof bls g2 pop verify", len(cases), "as published: our ciphersuite")


@needs_native
def test_wycheproof_of_another_ciphersuite(vectors: Path, ran: Tally) -> None:
    """Basic signatures are of another domain: the valid ones are refused with the others."""
    text = (vectors / "wycheproof/bls_sig_g2_basic_verify_test.json").read_text()
    seen = 0
    for group in json.loads(text)["testGroups"]:
        for case in group["tests"]:
            with pytest.raises(SignatureError):
                verify_bls(
                    public_key=bytes.fromhex(group["publicKey"]["pk"]),
                    message=bytes.fromhex(case["msg"]),
                    signature=bytes.fromhex(case["sig"]),
                    backend=ArkworksBackend(),
                )
            seen += 1
    ran("wycheproof bls g2 basic verify", seen, "all refused: another domain; keys as published")
    text = (vectors / "wycheproof/bls_sig_g2_aggregate_verify_test.json").read_text()
    cases = [case for group in json.loads(text)["testGroups"] for case in group["tests"]]
    for case in cases:
        with pytest.raises(SignatureError):
            verify_bls_aggregate(
                public_keys=list(map(bytes.fromhex, case["pubkeys"])),
                message=bytes.fromhex(case["messages"][0]) if case["messages"] else b"",
                signature=bytes.fromhex(case["sig"]),
                backend=ArkworksBackend(),
            )
    ran("wycheproof bls g2 basic aggregate verify", len(cases), "all refused: another domain")


@needs_native
def test_published_points_hashed_to_the_curve(vectors: Path, ran: Tally) -> None:
    """The primitive below both backends, under the domain that the vectors name."""
    from py_arkworks_bls12381 import G2Point
    from py_ecc.bls.hash_to_curve import hash_to_G2
    from py_ecc.bls.point_compression import compress_G2

    text = (vectors / "wycheproof/bls_hash_to_g2_test.json").read_text()
    seen = 0
    for group in json.loads(text)["testGroups"]:
        domain = group["dst"].encode()
        for case in group["tests"]:
            message = bytes.fromhex(case["msg"])
            native = bytes(G2Point.hash_to_curve(message, domain).to_compressed_bytes())
            assert native.hex() == case["expected"], case["tcId"]
            seen += 1
    ran("wycheproof bls hash to g2", seen, "as published, native backend")
    domain = b"QUUX-V01-CS02-with-BLS12381G2_XMD:SHA-256_SSWU_RO_"
    cases = release(vectors, "hash_to_G2", count=4)
    for name, given, expected in cases:
        message = given["msg"].encode()
        point = bytes(G2Point.hash_to_curve(message, domain).to_xy_bytes_be())
        coordinates = [hexed(part) for part in (expected["x"] + "," + expected["y"]).split(",")]
        as_published = [coordinates[1], coordinates[0], coordinates[3], coordinates[2]]
        assert point in (b"".join(coordinates), b"".join(as_published)), name
        first, second = compress_G2(hash_to_G2(message, domain, sha256))
        reference = int(first).to_bytes(48, "big") + int(second).to_bytes(48, "big")
        assert reference == bytes(G2Point.hash_to_curve(message, domain).to_compressed_bytes())
    ran("bls12-381-tests hash_to_G2", len(cases), "as published, both backends alike")


def test_wycheproof_reference_sample(vectors: Path) -> None:
    """One valid case, and those a curve must refuse: off the curve, off the subgroup, bad flags."""
    for key, case in pop_cases(vectors):
        if int(case["tcId"]) in (1, 8, 19, 20, 21, 22):
            check_pop_case(key, case, PyEccBackend())


def test_wycheproof_public_keys(vectors: Path, backend: BlsBackend) -> None:
    """Keys at infinity, off the curve, off the subgroup or in another spelling."""
    text = (vectors / "wycheproof/bls_sig_g2_basic_verify_test.json").read_text()
    refused = 0
    for group in json.loads(text)["testGroups"]:
        key = bytes.fromhex(group["publicKey"]["pk"])
        if any(case["result"] == "valid" for case in group["tests"]):
            require_bls_public_key(key, backend=backend)
        elif any(int(case["tcId"]) in range(72, 89) for case in group["tests"]):
            with pytest.raises(KeyFormatError):
                require_bls_public_key(key, backend=backend)
            refused += 1
    assert refused == 17


def hexed(value: str) -> bytes:
    return bytes.fromhex(value.removeprefix("0x"))


def release(vectors: Path, kind: str, *, count: int) -> list[tuple[str, Any, Any]]:
    files = sorted((vectors / "bls12-381-tests-v0.1.1" / kind).glob("*.json"))
    assert len(files) == count
    read = [(file.stem, json.loads(file.read_text())) for file in files]
    return [(name, case["input"], case["output"]) for name, case in read]


def sample(backend: BlsBackend, cases: list[Any], count: int) -> list[Any]:
    """All for the native backend; the reference takes a third of a second each."""
    return cases[:count] if backend == PyEccBackend() else cases


def say(ran: Tally, backend: BlsBackend, suite: str, vectors: int, remark: str = "as published") -> None:
    """Count what the native backend ran: the reference runs samples of some suites."""
    if backend != PyEccBackend():
        ran(f"bls12-381-tests {suite}", vectors, remark)


def test_release_sign(vectors: Path, backend: BlsBackend, ran: Tally) -> None:
    cases = sample(backend, release(vectors, "sign", count=10), 3)
    for _, given, expected in cases:
        if expected is None:
            with pytest.raises(KeyFormatError):
                BlsSigner(hexed(given["privkey"]), backend=backend)
        else:
            signer = BlsSigner(hexed(given["privkey"]), backend=backend)
            assert signer.sign(hexed(given["message"])) == hexed(expected)
    say(ran, backend, "sign", len(cases))


def test_release_verify(vectors: Path, backend: BlsBackend, ran: Tally) -> None:
    cases = sample(backend, release(vectors, "verify", count=29), 3)
    for _, given, expected in cases:
        arguments: dict[str, Any] = {
            "public_key": hexed(given["pubkey"]),
            "message": hexed(given["message"]),
            "signature": hexed(given["signature"]),
            "backend": backend,
        }
        if expected:
            verify_bls(**arguments)
        else:
            with pytest.raises(SignatureError):
                verify_bls(**arguments)
    say(ran, backend, "verify", len(cases))


@needs_native
def test_release_batch_verify(vectors: Path, ran: Tally) -> None:
    """A batch holds when each of its signatures does: so it is checked here."""
    cases = release(vectors, "batch_verify", count=2)
    for _, given, expected in cases:
        rows = zip(given["pubkeys"], given["messages"], given["signatures"], strict=True)
        held = [ArkworksBackend().verify(*map(hexed, row)) for row in rows]
        assert all(held) is expected
    ran("bls12-381-tests batch_verify", len(cases), "one by one")


def test_release_aggregate(vectors: Path, backend: BlsBackend, ran: Tally) -> None:
    refused = 0
    cases = release(vectors, "aggregate", count=6)
    for name, given, expected in cases:
        signatures = list(map(hexed, given))
        if expected is None or "infinity" in name:
            refused += 1
            with pytest.raises(SignatureError):
                aggregate_bls(signatures, backend=backend)
        else:
            assert aggregate_bls(signatures, backend=backend) == hexed(expected)
    assert refused == 2
    say(ran, backend, "aggregate", len(cases), "infinity refused as well")


def test_release_fast_aggregate_verify(vectors: Path, backend: BlsBackend, ran: Tally) -> None:
    cases = sample(backend, release(vectors, "fast_aggregate_verify", count=12), 4)
    for _, given, expected in cases:
        arguments: dict[str, Any] = {
            "public_keys": list(map(hexed, given["pubkeys"])),
            "message": hexed(given["message"]),
            "signature": hexed(given["signature"]),
            "backend": backend,
        }
        if expected:
            verify_bls_aggregate(**arguments)
        else:
            with pytest.raises(SignatureError):
                verify_bls_aggregate(**arguments)
    say(ran, backend, "fast_aggregate_verify", len(cases))


def test_release_public_keys(vectors: Path, backend: BlsBackend, ran: Tally) -> None:
    cases = release(vectors, "deserialization_G1", count=13)
    for name, given, expected in cases:
        if expected and "infinity" not in name:
            require_bls_public_key(hexed(given["pubkey"]), backend=backend)
        else:
            with pytest.raises(KeyFormatError):
                require_bls_public_key(hexed(given["pubkey"]), backend=backend)
    say(ran, backend, "deserialization_G1", len(cases), "infinity refused as well")


@needs_native
def test_release_signatures(vectors: Path, ran: Tally) -> None:
    """An aggregate of one is the signature itself, so taking it apart and back changes no byte."""
    taken = 0
    cases = release(vectors, "deserialization_G2", count=15)
    for name, given, expected in cases:
        signature = hexed(given["signature"])
        if expected and "infinity" not in name:
            taken += 1
            assert aggregate_bls([signature], backend=ArkworksBackend()) == signature
        else:
            with pytest.raises(SignatureError):
                aggregate_bls([signature], backend=ArkworksBackend())
            assert not ArkworksBackend().verify(GENERATOR, b"", signature)
    assert taken == 1
    ran("bls12-381-tests deserialization_G2", len(cases), "infinity refused as well")
