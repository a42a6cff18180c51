"""A card's memory as one line of letters: readable without colour, in 80 columns."""

from __future__ import annotations

from xpullm.planner.types import Ledger

WIDTH = 64
GIB = 1024**3

# letter, what it stands for, field of the ledger
PARTS = (
    ("W", "weights", "weights_bytes"),
    ("A", "activations", "activation_bytes"),
    ("K", "KV cache", "kv_cache_bytes"),
    ("R", "runtime", "non_torch_bytes"),
    ("G", "graphs", "graph_bytes"),
    ("C", "context", "context_bytes"),
    ("O", "outside the engine's sum", "outside_bytes"),
    ("-", "reserve", "reserve_bytes"),
    (".", "free", "free_bytes"),
)


def gib(size: int) -> str:
    return f"{size / GIB:.2f} GiB"


def memory_bar(ledger: Ledger, indent: str = "  ") -> list[str]:
    """The bar and its legend. Parts that do not fit run over the end, marked by `!`."""
    sizes = [(letter, name, getattr(ledger, field)) for letter, name, field in PARTS]
    whole = max(ledger.visible_bytes, 1)
    bar, position = "", 0.0
    for letter, _, size in sizes:
        position += max(size, 0) / whole * WIDTH
        bar += letter * (min(round(position), WIDTH) - len(bar))
    over = "!" if ledger.free_bytes < 0 else ""
    lines = [f"{indent}[{bar.ljust(WIDTH, '.')}]{over}"]
    legend = [
        f"{letter} {name} {size / GIB:.2f}" if size > 0 else f"! missing {-size / GIB:.2f}"
        for letter, name, size in sizes
        if size
    ]
    return lines + wrapped(legend, indent + " ", "GiB:")


def wrapped(words: list[str], indent: str, head: str = "") -> list[str]:
    """Words joined by two spaces, broken before column 80."""
    lines, line = [], indent + head
    for word in words:
        if len(line) + 2 + len(word) > 79 and line.strip():
            lines.append(line)
            line = indent + " " * len(head)
        line += "  " + word
    return [*lines, line] if line.strip() else lines
