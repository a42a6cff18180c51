"""Figures as the bench prints and tabulates them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One figure, and what was wanted of it."""

    name: str
    value: str
    wanted: str = ""


def table(rows: Iterable[Row], title: str) -> str:
    """Markdown."""
    lines = [f"### {title}", "", "| figure | measured | wanted |", "|---|---|---|"]
    return "\n".join([*lines, *(f"| {row.name} | {row.value} | {row.wanted} |" for row in rows)])


def delays(
    since: Mapping[str, float], until: Mapping[str, float], names: Iterable[str]
) -> list[float]:
    """Seconds from one first sight to the other, for the names that have both; sorted."""
    both = set(names) & since.keys() & until.keys()
    return sorted(max(0.0, until[name] - since[name]) for name in both)


def quantiles(values: list[float]) -> str:
    """Median, 95th percentile and longest of sorted seconds."""
    if not values:
        return "never"
    if len(values) == 1:
        return f"{values[0]:.2f} s"
    shares = ((0.5, "median"), (0.95, "p95"), (1.0, "longest"))
    parts = [
        f"{name} {values[min(len(values) - 1, int(share * len(values)))]:.2f} s"
        for share, name in shares
    ]
    return ", ".join(parts)
