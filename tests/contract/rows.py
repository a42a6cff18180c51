"""A table of the API's rules: each row has one accepted and one rejected value and the message.

The figures are written out here and not taken from the schema: two independent statements.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

PATTERN = "should match"
TOO_LONG = "may not be more than {} bytes"
Json = Any


@dataclass(frozen=True, slots=True)
class Row:
    """`path` and `rule` as in `schema_walk`; values are put at `at` (default: `path`).

    `before` makes it a transition: it is stored first, then the values are applied over it.
    """

    path: str
    rule: str
    accepted: Json
    rejected: Json
    message: str
    at: str = ""
    before: Json = None

    @property
    def where(self) -> str:
        return self.at or self.path

    def __str__(self) -> str:
        return f"{self.path}-{self.rule[:60]}"


ABSENT = object()  # the value that leaves a field out


def text(path: str, good: str, bad: str, longest: int, filler: str = "a") -> list[Row]:
    """A string with a pattern and a maximal length."""
    return [Row(path, "pattern", good, bad, PATTERN), *length(path, longest, filler)]


def length(path: str, longest: int, filler: str = "a") -> list[Row]:
    too_long = TOO_LONG.format(longest)
    return [Row(path, "maxLength", filler * longest, filler * (longest + 1), too_long)]


def not_empty(path: str) -> list[Row]:
    return [Row(path, "minLength", "a", "", "should be at least 1 chars long")]


def number(path: str, low: int, high: int) -> list[Row]:
    return [
        Row(path, "minimum", low, low - 1, f"should be greater than or equal to {low}"),
        Row(path, "maximum", high, high + 1, "should be less than or equal to"),
    ]


def choice(path: str, *values: str) -> list[Row]:
    """An enum: every value is accepted (one row each), the lower-case spelling is not."""
    wrong = values[0].lower() + "-"
    return [Row(path, f"enum:{value}", value, wrong, "Unsupported value") for value in values]


def required(path: str, value: Json) -> list[Row]:
    return [Row(path, "required", value, ABSENT, "Required value")]


def at_most(path: str, limit: int, items: Iterable[Json]) -> list[Row]:
    values = list(items)
    assert len(values) == limit + 1
    message = f"must have at most {limit} items"
    return [Row(path, "maxItems", values[:-1], values, message)]


def unique(path: str, one: Json, other: Json) -> list[Row]:
    return [Row(path, "unique", [one, other], [one, one], "Duplicate value")]


def named(path: str, limit: int, **more: Json) -> list[Row]:
    """A list-map by name."""
    items = [{"name": f"n{i}", **more} for i in range(limit + 1)]
    return [
        *at_most(path, limit, items),
        *unique(path, items[0], items[1]),
        *required(f"{path}[].name", "n"),
    ]


def mapping(path: str, limit: int, value: Json) -> list[Row]:
    full = {f"k{i}": value for i in range(limit)}
    return [Row(path, "maxProperties", full, {**full, "one-more": value}, f"at most {limit} items")]


def cel(path: str, message: str, accepted: Json, rejected: Json, before: Json = None) -> list[Row]:
    return [Row(path, f"cel:{message}", accepted, rejected, message, before=before)]


def object_name(path: str) -> list[Row]:
    return text(path, "my-object.v1", "my..object", 253)


def data_key(path: str) -> list[Row]:
    return text(path, ".dockerconfigjson", "..", 253)


def key_ref(path: str) -> list[Row]:
    """A reference to one key of a Secret or ConfigMap."""
    return [
        *required(f"{path}.name", "n"),
        *required(f"{path}.key", "k"),
        *object_name(f"{path}.name"),
        *data_key(f"{path}.key"),
    ]


def timestamp(path: str) -> list[Row]:
    good = "2026-11-23T02:29:22Z"
    return [
        Row(path, "format", good, "yesterday", "must be of type date-time"),
        Row(path, "minLength", good, "", "should be at least 1 chars long"),
        Row(path, "maxLength", good, "2026-11-23T02:29:22." + "0" * 44 + "Z", "more than 64 bytes"),
    ]
