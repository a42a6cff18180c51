"""Kubernetes quantities (apimachinery pkg/api/resource): "24Gi", "1500m", 25769803776."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Annotated

from pydantic import BeforeValidator, WithJsonSchema

# apimachinery's own pattern for quantities in OpenAPI (pkg/api/resource/quantity.go), without the
# sign that no size of ours may have.
PATTERN = (
    r"^\+?([0-9]{1,18}(\.[0-9]{0,9})?|\.[0-9]{1,9})(([KMGTPE]i)|[numkMGTPE]|([eE][0-9]{1,2}))?$"
)


def _check(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise ValueError("must be a quantity, such as 24Gi")
    if isinstance(value, str) and not re.match(PATTERN, value):
        raise ValueError("must be a quantity of zero or more, such as 24Gi")
    if isinstance(value, int) and value < 0:
        raise ValueError("must be a quantity of zero or more, such as 24Gi")
    return value


Quantity = Annotated[
    int | str,
    BeforeValidator(_check),
    WithJsonSchema({"x-kubernetes-int-or-string": True, "pattern": PATTERN, "maxLength": 64}),
]

_BINARY = {f"{unit}i": Fraction(1024) ** power for power, unit in enumerate("KMGTPE", start=1)}
_DECIMAL = {unit: Fraction(1000) ** power for power, unit in enumerate("kMGTPE", start=1)}
_SMALL = {"m": Fraction(1, 10**3), "u": Fraction(1, 10**6), "n": Fraction(1, 10**9)}
_SUFFIX = _BINARY | _DECIMAL | _SMALL | {"": Fraction(1)}
_PARTS = re.compile(r"^\+?([0-9.]+)([eE][0-9]+|[A-Za-z]*)$")


def parse_quantity(value: int | str) -> Fraction:
    """The exact value. Raises ValueError for what is no quantity."""
    if isinstance(value, int):
        return Fraction(value)
    if not re.match(PATTERN, value):
        raise ValueError(f"not a quantity: {value[:64]!r}")
    parts = _PARTS.match(value)
    assert parts is not None  # noqa: S101 - PATTERN is stricter
    number, suffix = parts.groups()
    if suffix[:1] in ("e", "E") and suffix[1:].isdigit():
        return Fraction(number) * Fraction(10) ** int(suffix[1:])
    return Fraction(number) * _SUFFIX[suffix]


def quantity_bytes(value: int | str) -> int:
    """Bytes, rounded up as Kubernetes does. Raises ValueError for what is no quantity."""
    exact = parse_quantity(value)
    return -(-exact.numerator // exact.denominator)
