"""Logs to measure on: an ordinary one, and ones made to hurt."""

from __future__ import annotations

import random

from xpullm_runtime.diagnosis import signatures

SIZE = 2_000_000
FAILURE = (
    "(EngineCore_DP0 pid=271) ERROR 05-28 13:20:51 [core.py:710] torch.OutOfMemoryError: XPU out "
    "of memory. Tried to allocate 772.00 MiB. GPU 0 has a total capacity of 15.11 GiB of which "
    "118.00 MiB is free. Of the allocated memory 14.40 GiB is allocated by PyTorch\n"
)


def ordinary(size: int = SIZE) -> str:
    """A serving vLLM, and its end."""
    dice, out, length = random.Random(1), [], 0
    while length < size:
        out.append(
            f"(APIServer pid=1) INFO 05-28 13:{dice.randrange(60):02}:00 [loggers.py:127] "
            f"Engine 000: Avg prompt throughput: {dice.random() * 900:.1f} tokens/s, "
            f"Avg generation throughput: {dice.random() * 90:.1f} tokens/s, "
            f"Running: {dice.randrange(9)} reqs, Waiting: 0 reqs, "
            f"GPU KV cache usage: {dice.random() * 100:.1f}%, Prefix cache hit rate: 0.0%\n"
            f"(APIServer pid=1) INFO:     141.111.134.{dice.randrange(250)}:4112 - "
            '"POST /v1/chat/completions HTTP/1.1" 200 OK\n'
        )
        length += len(out[-1])
    return "".join(out) + FAILURE


def literals(size: int = SIZE) -> str:
    """Every line new, and full of what signatures look for."""
    dice, out, length = random.Random(2), [], 0
    words = [literal for one in signatures() for literal in one.literals]
    while length < size:
        pairs = (dice.choice(words) + "".join(dice.choices("abcdefgh", k=5)) for _ in range(6))
        out.append(" ".join(pairs) + "\n")
        length += len(out[-1])
    return "".join(out)


def prefixes(size: int = SIZE) -> str:
    """Lines that nearly are prefixes, again and again."""
    dice, out, length = random.Random(3), [], 0
    while length < size:
        tag = "".join(dice.choices("abcdef()[]| ", k=60))
        out.append(
            f"({tag} pid=1) {'a.b.' * 60}Error: {'Cannot allocate memory ' * 3}{' ' * 300}\n"
        )
        length += len(out[-1])
    return "".join(out)


def one_line(size: int = SIZE) -> str:
    """No newline at all."""
    text = "torch.OutOfMemoryError: XPU out of memory. Tried to allocate 1.00 GiB "
    return "A" * (size // 2) + text * (size // 2 // len(text))


def quotes(size: int = SIZE) -> str:
    line = "'\"(((( [[[[ pid= " * 40 + "Error: " + "A." * 200 + "\n"
    return line * (size // len(line))


def binary(size: int = SIZE) -> str:
    return random.Random(4).randbytes(size).decode("utf-8", "replace")


HOSTILE = {
    "literals": literals, "prefixes": prefixes, "one line": one_line, "quotes": quotes,
    "binary": binary,
}  # fmt: skip
