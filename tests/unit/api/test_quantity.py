"""Quantities, as apimachinery reads them."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xpullm.api import parse_quantity, quantity_bytes


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("24Gi", 25_769_803_776),
        ("25769803776", 25_769_803_776),
        (25_769_803_776, 25_769_803_776),
        ("0.5", 1),
        ("1.5Gi", 1_610_612_736),
        ("1500m", 2),
        ("1k", 1000),
        ("1Ki", 1024),
        ("12E", 12 * 10**18),
        ("12e6", 12_000_000),
        ("1E3", 1000),
        ("+5M", 5_000_000),
        (".5Mi", 524_288),
        ("7.", 7),
        ("100n", 1),
        ("0", 0),
    ],
)
def test_bytes_round_up(text: int | str, expected: int) -> None:
    assert quantity_bytes(text) == expected


@pytest.mark.parametrize(
    "text", ["", "-1Gi", "1 Gi", "1gb", "1GiB", "Gi", "1.2.3", "0x10", "1K", "1e", "e5", "1_000"]
)
def test_what_is_no_quantity(text: str) -> None:
    with pytest.raises(ValueError, match="not a quantity"):
        parse_quantity(text)


SCALES: dict[str, Fraction | int] = {
    "": 1,
    "k": 10**3,
    "M": 10**6,
    "Ki": 2**10,
    "Mi": 2**20,
    "Gi": 2**30,
    "m": Fraction(1, 1000),
}


@given(st.integers(0, 10**15), st.sampled_from(sorted(SCALES)))
def test_value_is_exact(number: int, suffix: str) -> None:
    assert parse_quantity(f"{number}{suffix}") == number * SCALES[suffix]
