"""Reads numbers out of a config.json that may hold anything."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

LIMIT = 2**31 - 1
_SHOWN = 40


class FactsError(ValueError):
    """A config.json field that can't be used: `field`, `value` and what to do."""

    def __init__(self, field: str, value: object, problem: str) -> None:
        self.field = field
        self.value = "" if value is None else repr(value)[:_SHOWN]
        self.problem = problem
        shown = f" {self.value}" if self.value else ""
        super().__init__(f"{field}{shown} {problem}")


class Fields:
    """A config.json's fields, with checks that name the field."""

    def __init__(self, values: Mapping[str, Any], where: str) -> None:
        self._values = values
        self._where = where

    def get(self, name: str) -> Any:
        """The raw value, None where it is missing."""
        return self._values.get(name)

    def names(self) -> tuple[str, ...]:
        """All names that are there and are text."""
        return tuple(n for n in self._values if isinstance(n, str))

    def mapping(self, name: str) -> Mapping[str, Any]:
        """A nested object; empty where there is none."""
        value = self._values.get(name)
        return value if isinstance(value, Mapping) else {}

    def flag(self, name: str) -> bool:
        """A boolean; a missing one is False."""
        return self._values.get(name) is True

    def count(self, name: str, high: int = LIMIT) -> int:
        """A number of at least 1. Raises FactsError."""
        value = self._values.get(name)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            raise FactsError(name, value, f"must be a whole number in {self._where}")
        if not 1 <= value <= high:
            raise FactsError(name, value, f"must be between 1 and {high} in {self._where}")
        return value

    def optional(self, name: str) -> int:
        """A number of at least 1, or 0 where it is missing or zero. Raises FactsError."""
        value = self._values.get(name)
        if value is None or value == 0 or value is False:
            return 0
        return self.count(name)

    def first(self, *names: str) -> int:
        """The first of several names that is there, else 0. Raises FactsError."""
        for name in names:
            if value := self.optional(name):
                return value
        return 0
