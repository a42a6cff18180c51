"""How many examples a law gets: never a number of its own in the `long` profile."""

from __future__ import annotations

from typing import Any

from hypothesis import settings


def examples(number: int, **others: Any) -> settings:
    """For laws that the default number does not suit: `number` examples in the profile `ci`, and
    what the profile says in every other (2,000 in `long`, see `tests/conftest.py`)."""
    if settings.get_current_profile_name() != "ci":
        number = settings.default.max_examples
    return settings(max_examples=number, **others)
