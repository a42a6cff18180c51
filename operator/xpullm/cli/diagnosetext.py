"""A diagnosis for people: what happened, what helps, what doesn't, what would be done."""

from __future__ import annotations

import textwrap

import typer

from xpullm.cli.seen import Act
from xpullm_runtime.diagnosis import Diagnosis, causes

WIDTH = 80
GIB = 1024**3
LABEL = 12


def render(where: str, found: Diagnosis, act: Act) -> str:
    """Text of at most WIDTH columns but for evidence, which is shown as it was printed."""
    known = causes()[found.cause]
    colour = "green" if found.cause == "sigterm" else "red"
    lines = [
        f"{where}: " + typer.style(found.cause, fg=colour, bold=True) + f" ({known['title']})",
        *row("phase", found.phase),
        *row("meaning", known["meaning"]),
        *row("helps", f"{found.helps}: {known['remedy']}"),
        *row("useless", known["useless"]),
        *row("operator", act.text),
    ]
    if found.figures:
        lines += row("figures", ", ".join(figure(*item) for item in sorted(found.figures.items())))
    if found.evidence:
        lines.append("  evidence")
        lines += [typer.style(f"    > {line}", fg="yellow") for line in found.evidence]
    return "\n".join(lines)


def acting(found: Diagnosis, move: str) -> str:
    """What the operator would do, by the first remedy for the cause alone."""
    if move.startswith("none"):
        return f"changes nothing: {move.partition(': ')[2]}"
    if found.actionable:
        return f"would {move}"
    return f"would {move}, but only once the engine is dead and the log's own word is confirmed"


def row(label: str, text: str) -> list[str]:
    indent = " " * (LABEL + 2)
    body = textwrap.wrap(text, WIDTH - len(indent), break_on_hyphens=False) or [""]
    return [f"  {label:<{LABEL}}{body[0]}", *(indent + line for line in body[1:])]


def figure(name: str, value: int) -> str:
    if name.endswith("_bytes"):
        return f"{name.removesuffix('_bytes').replace('_', ' ')} {value / GIB:.2f} GiB"
    return f"{name.replace('_', ' ')} {value}"
