"""Quantities as the API server returns them, so that what we render equals what is stored.

The server turns `1000m` and `1024Mi` into `1` and `1Gi` (k8s.io/apimachinery
pkg/api/resource/quantity.go: CanonicalizeBytes). A rendering in any other spelling would look like
drift for ever.
"""

from __future__ import annotations

import re
from decimal import ROUND_CEILING, Decimal

BINARY = ("", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei")
DECIMAL = {
    "n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18,
}  # fmt: skip
BY_EXPONENT = {exponent: suffix for suffix, exponent in DECIMAL.items()}

QUANTITY = re.compile(
    r"(?P<number>[+-]?(?:\d+\.?\d*|\.\d+))(?:(?P<suffix>[KMGTPE]i|[numkMGTPE])|[eE](?P<exp>[+-]?\d+))?"
)
MAX_DIGITS = 30  # the server's bound is 2^63 − 1; anything longer is no quantity of ours


def of_bytes(count: int) -> str:
    """Render a number of bytes: `25769803776` → `24Gi`."""
    return canonical(f"{count // 1024}Ki") if count % 1024 == 0 and count else str(count)


def canonical(text: str | int) -> str:
    """The spelling that the API server stores. Raises ValueError for what is no quantity."""
    text = str(text)
    number, suffix, exponent = _split(text)
    if suffix in BINARY and suffix:
        value = number * 1024 ** BINARY.index(suffix)
        whole = int(value.to_integral_value(ROUND_CEILING))
        return _binary(whole) if abs(whole) >= 1024 else str(whole)
    power = int(exponent) if exponent is not None else DECIMAL[suffix]
    value = _round_up(number.scaleb(power))
    return _decimal(value, exponent is not None)


def _split(text: str) -> tuple[Decimal, str, str | None]:
    match = QUANTITY.fullmatch(text)
    if match is None or len(text) > MAX_DIGITS or abs(int(match["exp"] or 0)) > MAX_DIGITS:
        raise ValueError(f"{text!r} is no Kubernetes quantity")
    return Decimal(match["number"]), match["suffix"] or "", match["exp"]


def _round_up(value: Decimal) -> Decimal:
    """Nothing is finer than a nano; the server rounds away from zero."""
    nano = Decimal(1).scaleb(-9)
    sign = -1 if value < 0 else 1
    return sign * abs(value).quantize(nano, ROUND_CEILING)


def _binary(whole: int) -> str:
    power = 0
    while whole % 1024 == 0 and whole and power < len(BINARY) - 1:
        whole //= 1024
        power += 1
    return f"{whole}{BINARY[power]}"


def _decimal(value: Decimal, with_exponent: bool) -> str:
    if value == 0:
        return "0"
    for exponent in sorted(BY_EXPONENT, reverse=True):
        scaled = value.scaleb(-exponent)
        if scaled == scaled.to_integral_value():
            if with_exponent and exponent:
                return f"{int(scaled)}e{exponent}"
            return f"{int(scaled)}{'' if with_exponent else BY_EXPONENT[exponent]}"
    raise ValueError(f"{value} is finer than a nano")  # unreachable after _round_up
