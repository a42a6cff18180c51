"""How a model is divided among cards, and numbers of cards on which it can't be."""

from __future__ import annotations

from collections.abc import Iterator

from xpullm.planner.request import Choice, PlanRequest
from xpullm.planner.types import Refusal

# What the planner tries where nobody says how many: heads of most models are divisible by these.
COUNTS = (1, 2, 4, 8)
_TENSOR, _PIPELINE = "tensor-parallel-size", "pipeline-parallel-size"


def ranks(request: PlanRequest, choice: Choice, count: int) -> Iterator[tuple[int, int]]:
    """(tensor, pipeline) sizes for so many cards: all devices, or as the user says. None where the
    heads can't be divided so, or where the user's sizes need more devices."""
    user = request.user
    devices = count * choice.gpu.devices_per_unit
    pipeline = user.pipeline_parallel_size or 1
    if user.tensor_parallel_size is not None:
        if user.tensor_parallel_size * pipeline <= devices:
            yield user.tensor_parallel_size, pipeline
        return
    if count == 1 and devices > 1 and pipeline == 1:
        yield 1, 1
    tensor = devices // pipeline
    if tensor >= 1 and request.facts.heads % tensor == 0:
        yield tensor, pipeline


def possible(request: PlanRequest) -> list[tuple[Choice, int]]:
    """Choices with the numbers of cards that they can be divided on, the fewest cards first."""
    counts = COUNTS if request.count is None else (request.count,)
    return [(c, n) for n in counts for c in request.choices if any(ranks(request, c, n))]


def indivisible(request: PlanRequest) -> Refusal | None:
    """Why the model can't be divided among the cards that were asked for, and the way out."""
    heads, tensor = request.facts.heads, request.user.tensor_parallel_size
    if tensor and heads % tensor:
        fits = ", ".join(str(n) for n in (1, 2, 4, 8, 16) if heads % n == 0)
        said = f"{heads} attention heads are not divisible by {tensor}; use one of {fits}"
        return Refusal("InvalidArgument", f"spec.engine.args[{_TENSOR}]", str(tensor), said)
    if possible(request):
        return None
    count = request.count or COUNTS[-1]
    choice = max(request.choices, key=lambda c: c.gpu.devices_per_unit)
    devices = count * choice.gpu.devices_per_unit
    pipeline = request.user.pipeline_parallel_size or 1
    if (tensor or 1) * pipeline > devices:
        said = _too_few(request, -(-(tensor or 1) * pipeline // choice.gpu.devices_per_unit))
    else:
        said = _undivided(request, choice, devices, pipeline)
    return Refusal("InvalidArgument", "spec.gpu.count", str(request.count or ""), said)


def _too_few(request: PlanRequest, needed: int) -> str:
    """The user's own parallel sizes need more cards than were asked for, or than are tried."""
    own = " and ".join(f"--{n} {v}" for n, v in request.user.flags if n in (_TENSOR, _PIPELINE))
    given = f"spec.gpu.count {request.count} is too few: " if request.count else ""
    return f"{given}{own} needs {needed} cards; set spec.gpu.count to {needed}, or lower the flag"


def _undivided(request: PlanRequest, choice: Choice, devices: int, pipeline: int) -> str:
    """Heads can't be divided by so many, but layers can be (pipeline parallelism)."""
    heads, layers = request.facts.heads, request.facts.layers
    ways = []
    if fits := [str(n) for n in COUNTS if any(ranks(request, choice, n))]:
        ways.append(f"use {' or '.join(filter(None, (', '.join(fits[:-1]), fits[-1])))}")
    if _PIPELINE in choice.engine.flags and pipeline == 1 and devices <= layers:
        ways.append(f"divide the layers instead: spec.engine.args {_PIPELINE} {devices}")
    return (
        f"spec.gpu.count {request.count}: {heads} attention heads are not divisible by"
        f" {devices // pipeline}; {', or '.join(ways)}"
    )
