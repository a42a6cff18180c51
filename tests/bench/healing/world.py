"""A world: a card and an engine with truths that the planner does not know.

Its rules of memory are its own (measured by us on vLLM 0.25, and read from V0's code); nothing
of `xpullm` is imported here. All sizes are bytes of one card.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

MIB = 1 << 20
GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class Geometry:
    """A dense model, sharded over `cards`."""

    name: str
    layers: int
    hidden: int
    intermediate: int
    kv_heads: int
    head_dim: int
    vocab: int
    weights: int
    cards: int = 1

    @property
    def token_bytes(self) -> int:
        heads = max(1, self.kv_heads // self.cards)
        return 2 * self.layers * heads * self.head_dim * 2


@dataclass(frozen=True, slots=True)
class Truth:
    """What is hidden. `pool`: "v0" (activations outside the sum) or "v1" (what is left of u x M).

    `foreign`: held by others. `leak`: per request, ending at `leak_end` requests. `torn`: reserved
    but unusable under load. `activation`: factor on activations in profile and load,
    `surprise`: factor on the load alone, which the profile does not see. `largest`: the largest
    single allocation without the relaxed limits. `figures`: "free" (tried, free, reserved),
    "reserved" (no free figure), "all-free" (the driver calls everything free) or "none" (a code).
    """

    pool: str
    total: int
    context: int
    runtime: int
    block: int = 64
    start_gate: bool = True
    foreign: int = 0
    leak: int = 0
    leak_end: int = 0
    torn: int = 0
    activation: float = 1.08
    surprise: float = 1.0
    weights: float = 1.0
    sampler_profile: float = 1.5
    sampler_load: float = 1.03
    sampler_rows: int = 132
    warm_up: float = 3.0
    largest: int = 0
    relaxed_works: bool = True
    wide: float = 0.0
    host_peak: int = 0
    figures: str = "free"
    other: str = ""


@dataclass(frozen=True, slots=True)
class Flags:
    """What the engine was started with."""

    length: int
    seqs: int
    tokens: int
    utilization: float | None = None
    kv_bytes: int | None = None
    blocks: int | None = None
    env: frozenset[tuple[str, str]] = frozenset()


@dataclass(frozen=True, slots=True)
class Result:
    """`failure` is "" when the worst load held. Sizes as the engine's allocator sees them."""

    failure: str
    phase: str = ""
    tried: int = 0
    allocated: int = 0
    reserved: int = 0
    free: int = 0
    pool: int = 0
    available: int = 0
    needed: int = 0
    fits: int = 0


@dataclass(frozen=True, slots=True)
class _Allocation:
    """One allocation: what was held before it, and its size."""

    phase: str
    what: str
    held: int
    size: int


class World:
    """Geometry and truth; `run` starts the engine, puts the worst load on it and says what came."""

    def __init__(self, geometry: Geometry, truth: Truth) -> None:
        self.geometry = geometry
        self.truth = truth
        self.capacity = truth.total - truth.context - truth.runtime - truth.foreign
        self.weights = int(geometry.weights * truth.weights)

    # --- sizes ---------------------------------------------------------------------------------

    def activation(self, flags: Flags) -> int:
        """The forward pass in the profile run."""
        g, t = self.geometry, self.truth
        per_token = 3 * g.intermediate // g.cards + 3 * g.hidden
        mlp = t.activation * flags.tokens * per_token * 2
        sampler = t.sampler_profile * self.logits(flags) + flags.tokens * g.hidden * 2
        return int(max(mlp, sampler))

    def logits(self, flags: Flags) -> int:
        return min(flags.seqs, flags.tokens) * self.geometry.vocab * 4

    def pool(self, flags: Flags) -> int:
        """KV bytes by the engine's own accounting."""
        if flags.blocks is not None:
            return flags.blocks * self.truth.block * self.geometry.token_bytes
        if flags.kv_bytes is not None:
            return flags.kv_bytes
        budget = int((flags.utilization or 0.9) * self.truth.total)
        if self.truth.pool == "v0":
            return budget - self.weights
        return budget - self.weights - self.activation(flags) - self.truth.runtime

    def need(self, length: int) -> int:
        block = self.truth.block
        return -(-length // block) * block * self.geometry.token_bytes

    # --- the course of a start and a load --------------------------------------------------------

    def run(self, flags: Flags) -> Result:
        if self.truth.other:
            return Result(self.truth.other, "startup")
        t = self.truth
        free = t.total - t.foreign
        if t.start_gate and t.pool == "v1" and free < (flags.utilization or 0.9) * t.total:
            return Result("busy", "startup", free=free)
        pool = self.pool(flags)
        for allocation in self._start(flags):
            if failed := self._failed(allocation, flags, pool):
                return failed
        if flags.blocks is None and flags.kv_bytes is None and pool <= 0:
            return Result("no_kv", "kv_alloc", pool=pool, available=pool)
        if self.need(flags.length) > pool:
            fits = max(0, pool // (t.block * self.geometry.token_bytes)) * t.block
            return Result(
                "too_long",
                "kv_alloc",
                pool=pool,
                available=pool,
                needed=self.need(flags.length),
                fits=fits,
            )
        for allocation in self._serve(flags, pool):
            if failed := self._failed(allocation, flags, pool):
                return failed
        return Result("", pool=pool)

    def _start(self, flags: Flags) -> Iterator[_Allocation]:
        g = self.geometry
        layer = self.weights // g.layers
        for index in range(g.layers):
            yield _Allocation("weights", "load", index * layer, layer)
        yield from self._forward("profile", flags, self.weights, 1.0)

    def _serve(self, flags: Flags, pool: int) -> Iterator[_Allocation]:
        g, t = self.geometry, self.truth
        tensor = max(1, pool // g.layers)
        for index in range(g.layers):
            yield _Allocation("kv_alloc", "kv", self.weights + index * tensor, tensor)
        held = self.weights + pool
        unit = self.logits(flags)
        rows = t.sampler_rows * g.vocab * 4
        if t.pool == "v1":
            yield _Allocation("warm_up", "sampler", held + rows, int(t.warm_up * unit))
        yield from self._forward("runtime", flags, held, t.surprise)
        held += rows + 50 * MIB
        yield _Allocation("runtime", "penalties", held, int(t.sampler_load * unit))
        held += int(t.sampler_load * unit) + t.torn
        yield from self._forward("runtime", flags, held, t.surprise)
        if t.leak:
            yield from self._forward("runtime", flags, held + t.leak * t.leak_end, t.surprise)

    def _forward(self, phase: str, flags: Flags, held: int, factor: float) -> Iterator[_Allocation]:
        """Hidden states, then the two halves of the MLP, then the logits."""
        g, t = self.geometry, self.truth
        scale = t.activation * factor * flags.tokens * 2
        hidden = int(scale * 3 * g.hidden)
        gate_up = int(scale * 2 * g.intermediate / g.cards)
        act = int(scale * g.intermediate / g.cards)
        yield _Allocation(phase, "hidden", held, hidden)
        if t.wide:
            yield _Allocation(phase, "scores", held + hidden, int(t.wide * flags.tokens**2))
        yield _Allocation(phase, "gate_up", held + hidden, gate_up)
        yield _Allocation(phase, "act", held + hidden + gate_up, act)
        tail = flags.tokens * g.hidden * 2
        yield _Allocation(phase, "logits", held + tail, int(t.sampler_profile * self.logits(flags)))

    def _failed(self, allocation: _Allocation, flags: Flags, pool: int) -> Result | None:
        t = self.truth
        relaxed = t.relaxed_works and ("UR_L0_ENABLE_RELAXED_ALLOCATION_LIMITS", "1") in flags.env
        if t.largest and allocation.size > t.largest and not relaxed:
            kind = "single"
        elif allocation.held + allocation.size > self.capacity:
            kind = "oom"
        else:
            return None
        reserved = min(allocation.held, self.capacity)
        torn = t.torn if allocation.phase == "runtime" else 0
        return Result(
            kind,
            allocation.phase,
            tried=allocation.size,
            allocated=max(0, reserved - min(torn, reserved)),
            reserved=reserved,
            free=max(0, self.capacity - reserved),
            pool=pool,
        )

    # --- what only the referee may ask -----------------------------------------------------------

    def deficit(self, flags: Flags) -> int:
        """How much memory (or KV for the context) is missing at the worst moment; ≤ 0 if none."""
        pool = self.pool(flags)
        short = [self.need(flags.length) - pool]
        moments = [*self._start(flags), *self._serve(flags, max(0, pool))]
        short.extend(a.held + a.size - self.capacity for a in moments)
        if self.truth.start_gate and self.truth.pool == "v1":
            gate = int((flags.utilization or 0.9) * self.truth.total)
            short.append(gate - self.truth.total + self.truth.foreign)
        return max(short)
