"""Kubernetes quantities (apimachinery pkg/api/resource): "24Gi", "1500m", "2e3", 25769803776.

Values and spellings are the API server's own: what we render must equal what it stores, or it would
look like drift for ever. `kubernetes.utils.quantity` is not used: this package may not import the
client, which also rounds at 28 digits and knows no canonical form.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction
from math import ceil
from typing import Annotated

from pydantic import BeforeValidator, WithJsonSchema

# apimachinery's own pattern for quantities in OpenAPI (pkg/api/resource/quantity.go), without the
# sign that no size of ours may have.
PATTERN = (
    r"^\+?([0-9]{1,18}(\.[0-9]{0,9})?|\.[0-9]{1,9})(([KMGTPE]i)|[numkMGTPE]|([eE][0-9]{1,2}))?$"
)
_MAX_LENGTH = 64


def _check(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise ValueError("must be a quantity, such as 24Gi")
    if isinstance(value, str) and not re.fullmatch(PATTERN, value):
        raise ValueError("must be a quantity of zero or more, such as 24Gi")
    if isinstance(value, int) and value < 0:
        raise ValueError("must be a quantity of zero or more, such as 24Gi")
    return value


Quantity = Annotated[
    int | str,
    BeforeValidator(_check),
    WithJsonSchema(
        {"x-kubernetes-int-or-string": True, "pattern": PATTERN, "maxLength": _MAX_LENGTH}
    ),
]

_TEXT = re.compile(
    r"(?P<number>[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+))"
    r"(?:(?P<suffix>[KMGTPE]i|[numkMGTPE])|[eE](?P<exponent>[+-]?[0-9]{1,2}))?"
)
_BINARY = ("", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei")
_DECIMAL = ("n", "u", "m", "", "k", "M", "G", "T", "P", "E")
# From a nano up to the longest number with the largest exponent that `_TEXT` reads.
_EXPONENTS = tuple(f"e{power}" if power else "" for power in range(-9, _MAX_LENGTH + 99, 3))
_NANO = 10**9
_MOST_BINARY = Fraction(2**63 - 1)  # quantity.go: maxAllowed, which caps binary suffixes alone


def parse_quantity(value: int | str) -> Fraction:
    """The value that the API server reads: exact, but at least a nano and, with a binary suffix,
    at most 2^63 − 1. Raises ValueError for what is no quantity.
    """
    return _read(value)[0]


def quantity_bytes(value: int | str) -> int:
    """Bytes, rounded up as Kubernetes does. Raises ValueError for what is no quantity."""
    return ceil(parse_quantity(value))


def canonical_quantity(value: int | str) -> str:
    """The spelling that the API server stores (CanonicalizeBytes): `1024Mi` → `1Gi`, `1000m` → `1`.

    From 1000E on the server itself loses the suffix; here the value is kept. Raises ValueError for
    what is no quantity.
    """
    exact, suffixes = _read(value)
    if suffixes is _BINARY:
        if exact.denominator == 1 and abs(exact) >= 1024:
            return _shorten(int(exact), 1024, _BINARY)
        suffixes = _DECIMAL
    return _shorten(int(exact * _NANO), 1000, suffixes)


def format_bytes(count: int) -> str:
    """A number of bytes as the API server stores it: `25769803776` → `24Gi`."""
    return canonical_quantity(count if count % 1024 else f"{count // 1024}Ki")


def _read(value: int | str) -> tuple[Fraction, Sequence[str]]:
    """The value, and the suffixes of its notation."""
    text = str(value)
    match = _TEXT.fullmatch(text) if len(text) <= _MAX_LENGTH else None
    if match is None:
        raise ValueError(f"not a quantity: {text[:_MAX_LENGTH]!r}")
    number, suffix, exponent = Fraction(match["number"]), match["suffix"] or "", match["exponent"]
    if exponent is not None:
        return _round_up(number * Fraction(10) ** int(exponent)), _EXPONENTS
    if suffix not in _DECIMAL:
        exact = _round_up(number * 1024 ** _BINARY.index(suffix))
        return max(-_MOST_BINARY, min(exact, _MOST_BINARY)), _BINARY
    return _round_up(number * Fraction(1000) ** _DECIMAL.index(suffix) / _NANO), _DECIMAL


def _round_up(value: Fraction) -> Fraction:
    """Nothing is finer than a nano; the server rounds away from zero."""
    nanos = ceil(abs(value) * _NANO)
    return Fraction(nanos if value > 0 else -nanos, _NANO)


def _shorten(count: int, base: int, suffixes: Sequence[str]) -> str:
    """`count` of the first suffix's unit, with the largest suffix that leaves a whole number."""
    if not count:
        return "0"
    power = 0
    while count % base == 0 and power < len(suffixes) - 1:
        count, power = count // base, power + 1
    return f"{count}{suffixes[power]}"
