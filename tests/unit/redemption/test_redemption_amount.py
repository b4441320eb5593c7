"""specs/redemption.md §1: amounts as people write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from creditledger.errors import AmountError, MalformedRecordError
from creditledger.quantities import AMOUNT_MAX
from creditledger.redemption.amount import format_amount, format_credits, format_gpu_hours, parse_amount


@pytest.mark.parametrize(
    ("text", "micro"),
    [
        ("0", 0),
        ("1", 1),
        ("2500000", 2_500_000),
        ("2.5credits", 2_500_000),
        ("1credit", 1_000_000),
        ("0.000001credits", 1),
        ("0.1000000000credits", 100_000),
        ("500gpu-h", 1_800_000_000_000),
        ("0.5gpu-h", 1_800_000_000),
        ("2gpu-s", 2_000_000),
        ("0.0000000025gpu-h", 9),
        (str(AMOUNT_MAX), AMOUNT_MAX),
        ("9223372036854.775807credits", AMOUNT_MAX),
    ],
)
def test_an_amount_is_read_exactly(text: str, micro: int) -> None:
    assert parse_amount(text) == micro


@pytest.mark.parametrize(
    "text",
    [
        "-1",
        "-0",
        "-2.5credits",
        "0.0000001credits",
        "0.0000000001gpu-h",
        str(AMOUNT_MAX + 1),
        "9223372036854.775808credits",
        "3000000000gpu-h",
        "9" * 40,
    ],
)
def test_an_amount_out_of_range_or_too_fine_is_refused(text: str) -> None:
    with pytest.raises(AmountError):
        parse_amount(text)


@pytest.mark.parametrize(
    "text",
    [
        *("", "credits", "1.5", ".5credits", "1.credits", "01", "+1", "1e6", "1_000", "0x10", "nan", "inf"),
        *("1 credits", " 1", "1\n", "1,5credits", "1Credits", "1euro", "--1", "1.0.0credits"),
        *("\u0663", "\uff11", "9" * 41, "0." + "0" * 41 + "credits"),
    ],
)
def test_what_is_no_amount_is_malformed(text: str) -> None:
    with pytest.raises(MalformedRecordError):
        parse_amount(text)


@given(st.integers(0, AMOUNT_MAX))
def test_what_is_shown_reads_back(micro: int) -> None:
    assert parse_amount(format_amount(micro)) == micro == parse_amount(str(micro))


@pytest.mark.parametrize("micro", [-1, AMOUNT_MAX + 1])
def test_no_amount_outside_the_range_is_shown(micro: int) -> None:
    with pytest.raises(AmountError):
        format_amount(micro)


def test_amounts_are_shown_as_short_as_exact() -> None:
    assert [format_amount(micro) for micro in (0, 1, 2_500_000, 1_800_000_000_000)] == [
        "0credits",
        "0.000001credits",
        "2.5credits",
        "1800000credits",
    ]


@pytest.mark.parametrize(
    ("micro", "text"),
    [
        (0, "0"),
        (1, "0.000001"),
        (2_500_000, "2.5"),
        (-2_500_000, "-2.5"),
        (-1, "-0.000001"),
        (2**63, "9223372036854.775808"),
    ],
)
def test_credits_are_shown_exactly_below_zero_too(micro: int, text: str) -> None:
    assert format_credits(micro) == text


@pytest.mark.parametrize(
    ("micro", "text"),
    [
        (0, "0"),
        (3_600_000_000, "1"),
        (1_800_000_000, "0.5"),
        (-5_400_000_000, "-1.5"),
        (3_600, "0.000001"),
        (3_599, "~0"),
        (1_200_000_000, "~0.333333"),
        (-1_200_000_000, "~-0.333333"),
    ],
)
def test_gpu_hours_say_where_they_are_not_exact(micro: int, text: str) -> None:
    assert format_gpu_hours(micro) == text


@given(st.integers(0, 2**63 - 1))
def test_exact_gpu_hours_are_read_back(micro: int) -> None:
    text = format_gpu_hours(micro)
    shown = parse_amount(f"{text.removeprefix('~')}gpu-h")
    assert 0 <= micro - shown < 3_600
    assert (shown == micro) == (not text.startswith("~"))
