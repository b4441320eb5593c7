"""What a field may hold, at its limits and one beyond. Source: specs/records.md §2."""

from enum import IntEnum
from typing import Any

import pytest

from creditledger import quantities
from creditledger.errors import AmountError, MalformedRecordError
from creditledger.quantities import ZERO_DIGEST, require_amount
from creditledger.records import canonical
from creditledger.records.column import row_of
from creditledger.records.job import PlanSpan
from creditledger.records.parameters import HardwarePrice
from creditledger.records.record import Fields, FieldsType
from creditledger.records.registration import Registration
from creditledger.records.transfer import Expire, Grant, Levy, LevyShare

EDGES = [
    0, 1, 127, 128, 2**16 - 1, 2**16, 2**31 - 1, 2**31, 2**31 + 1, 2**32 - 1, 2**32, 2**53 - 1,
    2**53, 2**53 + 1, 2**63 - 1,
]  # fmt: skip
MOST = {
    "MicroCredit": 2**63 - 1, "UnixMillisecond": 2**63 - 1, "Millisecond": 2**63 - 1,
    "GpuMillisecond": 2**63 - 1, "LeafIndex": 2**63 - 1, "TreeSize": 2**63 - 1, "RoundNumber": 2**63 - 1,
    "LayerIndex": 2**16 - 1, "Position": 2**32 - 1, "PartsPerMillion": 10**6, "MemberIndex": 1023,
    "Count": 2**32 - 1, "Code": 127,
}  # fmt: skip
LENGTHS = {
    "Digest": 32, "AccountId": 32, "Ed25519PublicKey": 32, "X25519PublicKey": 32, "BlsPublicKey": 48,
    "BlsSignature": 96, "ClientId": 16, "Salt": 32,
}  # fmt: skip


def check_of(quantity: str) -> Any:
    """The check of a field of that quantity."""
    namespace = {"__annotations__": {"field": getattr(quantities, quantity)}}
    return row_of(FieldsType("Probe", (Fields,), namespace)).checks[0]


def grant(**changes: Any) -> Grant:
    fields = {"id": bytes(16), "account": ZERO_DIGEST, "amount_micro": 1, "reason": "gift"}
    return Grant(**(fields | changes))


@pytest.mark.parametrize("quantity", MOST)
def test_an_integer_may_be_as_large_as_its_quantity_says(quantity: str) -> None:
    """K9: at every boundary a value fits, or is refused with a typed error."""
    check = check_of(quantity)
    for value in {*EDGES, MOST[quantity]}:
        if value <= MOST[quantity]:
            check(value)
        else:
            with pytest.raises(MalformedRecordError, match="range"):
                check(value)
    for value in (-1, MOST[quantity] + 1, 2**63, 2**63 + 1, 2**64 - 1, 2**64, 2**64 + 1, 10**5000, -(2**63)):
        with pytest.raises(MalformedRecordError, match="range"):
            check(value)


@pytest.mark.parametrize("quantity", MOST)
@pytest.mark.parametrize("value", [True, False, 1.0, "1", b"1", None, [1], 1j])
def test_an_integer_is_no_other_type(quantity: str, value: Any) -> None:
    """K9: no boolean and no float, whatever it equals."""
    with pytest.raises(MalformedRecordError):
        check_of(quantity)(value)


def test_a_numpy_integer_is_not_an_integer() -> None:
    numpy = pytest.importorskip("numpy")
    for value in (numpy.int64(1), numpy.uint64(1), numpy.int32(1), numpy.float64(1), numpy.bool_(True)):
        with pytest.raises(MalformedRecordError):
            grant(amount_micro=value)


def test_a_code_may_be_given_by_its_name() -> None:
    class Level(IntEnum):
        LOW = 1

    assert grant(amount_micro=Level.LOW).encode() == grant(amount_micro=1).encode()


@pytest.mark.parametrize("quantity", LENGTHS)
def test_bytes_have_the_length_of_their_quantity(quantity: str) -> None:
    check, length = check_of(quantity), LENGTHS[quantity]
    check(bytes(length))
    for value in (b"", bytes(length - 1), bytes(length + 1), "a" * length, bytearray(length), None, 0):
        with pytest.raises(MalformedRecordError):
            check(value)


@pytest.mark.parametrize("name", ["a", "0", "-", ".", "_", "gpu-class.v2_x", "a" * 64])
def test_names_are_of_few_characters(name: str) -> None:
    record = grant(reason=name)
    assert Grant.decode(record.encode()).reason == name


@pytest.mark.parametrize(
    "name",
    [
        "", "A", "a b", "a\n", "\n", "a\0", "a/b", "a" * 65, "\u00e9", "e\u0301", "\u0430", "\uff41",
        "\uff11", "\u202ea", "\u200b", "a\u200d", "\ufb01", "\u0131", "\u017f", "\u212a",
        "\ufeffa", b"a", 1, None,
    ],
    ids=ascii,
)  # fmt: skip
def test_names_that_look_alike_cannot_be_made(name: Any) -> None:
    """K10: homoglyphs, combining and right-to-left marks, wide digits, NUL and line ends are refused."""
    with pytest.raises(MalformedRecordError):
        grant(reason=name)


@pytest.mark.parametrize("name", ["\u00e9", "A", "", "a\n", "a" * 65, "\u202ea"], ids=ascii)
def test_names_are_checked_when_read(name: str) -> None:
    """K10: the bytes of a record cannot bring in what a writer could not."""
    values = grant().to_values()
    values[-1] = name.encode()
    with pytest.raises(MalformedRecordError):
        Grant.decode(canonical.encode(values))


@pytest.mark.parametrize("origin", ["example.org", "example.org:8080/a/b", "a", "a/b.c_d-e", "localhost"])
def test_origins(origin: str) -> None:
    assert quantities.ORIGIN_PATTERN.fullmatch(origin)


@pytest.mark.parametrize(
    "origin", ["", "creditledger/v1", "Example.org", "a//b", "/a", "a/", "a b", "-a", "a\n", "a+b", "a" * 65]
)
def test_origins_that_are_refused(origin: str) -> None:
    """Above all one that begins like a signed record does."""
    assert not quantities.ORIGIN_PATTERN.fullmatch(origin)


def test_arrays_are_tuples_of_their_item() -> None:
    share = LevyShare(account=ZERO_DIGEST, amount_micro=1)
    assert Levy(id=bytes(16), round=1, shares=(share, share)).shares[1] == share
    price = HardwarePrice(name="cpu", micro_per_gpu_second=1)
    for shares in ([share], (price,), ((ZERO_DIGEST, 1),), share, None, (None,)):
        with pytest.raises(MalformedRecordError):
            Levy(id=bytes(16), round=1, shares=shares)  # type: ignore[arg-type]


def test_a_row_inside_a_record_is_of_exactly_its_class() -> None:
    """A subclass could carry other fields, hence another encoding."""

    class WiderShare(LevyShare):
        pass

    with pytest.raises(MalformedRecordError):
        Levy(id=bytes(16), round=1, shares=(WiderShare(account=ZERO_DIGEST, amount_micro=1),))


@pytest.mark.parametrize(
    "values",
    [
        [], [53], [53, 1], [53, 1, bytes(32), 0], [53, 1, [bytes(32)]], [53, 1, bytes(31)], [53, 1, 7],
        [53, 2, bytes(32)], [53, 0, bytes(32)], [52, 1, bytes(32)], [53, [1], bytes(32)],
        [[53], 1, bytes(32)], [b"5", 1, bytes(32)], 53, bytes(32),
    ],
)  # fmt: skip
def test_a_record_has_its_kind_version_and_fields_in_order(values: Any) -> None:
    assert Expire.decode(canonical.encode([53, 1, bytes(32)])).hold == bytes(32)
    with pytest.raises(MalformedRecordError):
        Expire.decode(canonical.encode(values))


def test_true_is_not_version_one() -> None:
    assert Expire.from_values([53, 1, bytes(32)]) == Expire(hold=bytes(32))
    with pytest.raises(MalformedRecordError):
        Expire.from_values([53, True, bytes(32)])


@pytest.mark.parametrize("values", [7, b"", [], [0, 1], [0, 1, bytes(32), 0], [[0], 1, bytes(32)]])
def test_a_row_has_its_fields_in_order(values: Any) -> None:
    assert PlanSpan.from_values([0, 1, bytes(32)]).layer_stop == 1
    with pytest.raises(MalformedRecordError):
        PlanSpan.from_values(values)


@pytest.mark.parametrize("length", [0, 64])
def test_an_admission_is_a_signature_or_nothing(length: int) -> None:
    registration = Registration(
        account=ZERO_DIGEST, role=1, name="n", next_key=ZERO_DIGEST, admission=bytes(length)
    )
    assert Registration.decode(registration.encode()) == registration


@pytest.mark.parametrize("length", [1, 63, 65])
def test_an_admission_of_another_length_is_refused(length: int) -> None:
    with pytest.raises(MalformedRecordError):
        Registration(account=ZERO_DIGEST, role=1, name="n", next_key=ZERO_DIGEST, admission=bytes(length))


def test_require_amount_takes_what_fits() -> None:
    assert [require_amount(value) for value in (0, 2**53, 2**63 - 1)] == [0, 2**53, 2**63 - 1]


@pytest.mark.parametrize("value", [-1, 2**63, 2**64, True, 1.0, "1", None])
def test_require_amount_refuses_the_rest(value: Any) -> None:
    """K9."""
    with pytest.raises(AmountError):
        require_amount(value)
