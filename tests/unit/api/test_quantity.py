"""Quantities as apimachinery reads and spells them; every spelling here was printed by its own
`resource.MustParse(text).String()`, or every pass would see drift.
"""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xpullm.api import canonical_quantity, format_bytes, parse_quantity, quantity_bytes


@pytest.mark.parametrize(
    ("text", "value", "stored"),
    [
        ("24Gi", 25_769_803_776, "24Gi"),
        ("25769803776", 25_769_803_776, "25769803776"),
        (25_769_803_776, 25_769_803_776, "25769803776"),
        ("1024Mi", 2**30, "1Gi"),
        ("1536Mi", 1_610_612_736, "1536Mi"),
        ("1.5Gi", 1_610_612_736, "1536Mi"),
        (".5Gi", 2**29, "512Mi"),
        ("0.5Ki", 512, "512"),
        ("1.1Ki", Fraction(11264, 10), "1126400m"),
        ("1Ei", 2**60, "1Ei"),
        ("8Ei", 2**63 - 1, "9223372036854775807"),
        ("-8Ei", 1 - 2**63, "-9223372036854775807"),
        ("-1Gi", -(2**30), "-1Gi"),
        ("0", 0, "0"),
        ("0Gi", 0, "0"),
        ("7.", 7, "7"),
        ("1000m", 1, "1"),
        ("0.5", Fraction(1, 2), "500m"),
        ("100u", Fraction(1, 10_000), "100u"),
        ("100n", Fraction(1, 10_000_000), "100n"),
        ("0.1n", Fraction(1, 10**9), "1n"),
        ("-0.1n", Fraction(-1, 10**9), "-1n"),
        ("1000k", 10**6, "1M"),
        ("1500M", 1_500_000_000, "1500M"),
        ("12E", 12 * 10**18, "12E"),
        ("1e3", 1000, "1e3"),
        ("1E3", 1000, "1e3"),
        ("12000e3", 12_000_000, "12e6"),
        ("2e-1", Fraction(1, 5), "200e-3"),
        ("1e20", 10**20, "100e18"),
        ("1e21", 10**21, "1e21"),
    ],
)
def test_value_and_spelling_are_the_servers(
    text: int | str, value: int | Fraction, stored: str
) -> None:
    assert parse_quantity(text) == value
    assert canonical_quantity(text) == stored


@pytest.mark.parametrize(
    ("text", "expected"),
    [("0.5", 1), ("1500m", 2), ("100n", 1), ("1.1Ki", 1127), ("24Gi", 24 << 30)],
)
def test_bytes_round_up(text: str, expected: int) -> None:
    assert quantity_bytes(text) == expected


@pytest.mark.parametrize(
    ("size", "stored"),
    [
        (24 << 30, "24Gi"),
        (1 << 20, "1Mi"),
        (5 * 1024, "5Ki"),
        (1025, "1025"),
        (1000, "1k"),
        (0, "0"),
    ],
)
def test_bytes_get_the_largest_exact_unit(size: int, stored: str) -> None:
    assert format_bytes(size) == stored


@pytest.mark.parametrize(
    "text",
    ["", "--1", "1 Gi", "1Gi\n", "1gi", "1GiB", "Gi", ".", "1.2.3", "0x10", "1K", "1e", "e5",
     "1_000", "1e999", "٣", "9" * 65],
)  # fmt: skip
def test_what_is_no_quantity(text: str) -> None:
    with pytest.raises(ValueError, match="not a quantity"):
        parse_quantity(text)
    with pytest.raises(ValueError, match="not a quantity"):
        canonical_quantity(text)


SCALES = {
    "": Fraction(1),
    **{unit: Fraction(1, 1000**power) for power, unit in enumerate("mun", start=1)},
    **{unit: Fraction(1000) ** power for power, unit in enumerate("kMGTPE", start=1)},
    **{f"{unit}i": Fraction(1024) ** power for power, unit in enumerate("KMGTP", start=1)},
    "e-6": Fraction(1, 10**6),
    "E7": Fraction(10**7),
}  # fmt: skip


@given(st.integers(-(2**12), 2**12), st.integers(0, 3), st.sampled_from(sorted(SCALES)))
def test_the_spelling_keeps_the_value_to_the_nano(number: int, places: int, suffix: str) -> None:
    text = f"{Decimal(number).scaleb(-places):f}{suffix}"
    value, spelling = parse_quantity(text), canonical_quantity(text)
    written = Fraction(number, 10**places) * SCALES[suffix]
    assert 0 <= abs(value) - abs(written) < Fraction(1, 10**9)
    assert value * written >= 0
    assert parse_quantity(spelling) == value
    assert canonical_quantity(spelling) == spelling
