"""Everything one decision may look at, and what a lever answers: a proposal or why not. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from xpullm.healing.types import PastStep, Policy
from xpullm.planner.types import Arguments, HostMemory, Ledger, Plan
from xpullm_runtime.diagnosis.types import Diagnosis

MIB = 1 << 20
GIB = 1 << 30
UTILIZATION_FLOOR = 0.50  # below that a card is the wrong card (design: a floor no step crosses)
UTILIZATION_CEILING = 0.95  # vLLM reports above that fail in allocations outside the profile
# Fragmentation: 0.25 GiB beyond the sum held 17 of 17, 0.08 GiB died 13 of 13 (measured by us,
# vLLM 0.25).
MARGIN_BYTES = 256 * MIB
# Failures without figures (Level Zero codes print none): utilization -0.05, vLLM users' usual step.
BLIND_SHARE = 0.05
TOKENS_FLOOR = 1024  # batched tokens below that only slow prefill down


class Pool(StrEnum):
    """How the engine sizes its KV pool; decides which levers can help."""

    LEFTOVER = "leftover"
    OUTSIDE = "outside"
    PINNED = "pinned"


@dataclass(frozen=True, slots=True)
class Wish:
    """What was asked for, and what no step may go below."""

    context: int | None
    min_context: int
    concurrency: int | None
    min_concurrency: int


@dataclass(frozen=True, slots=True)
class Proposal:
    """One lever's next position. `relief_bytes` of device memory, `enough` against this failure."""

    lever: str
    before: str
    after: str
    plan: Plan
    text: str
    direction: int = 0
    enough: bool = True
    relief_bytes: int = 0


class Why(StrEnum):
    """Why a lever stays where it is."""

    NOT_APPLICABLE = "not applicable"
    FLOOR = "floor"
    USER = "set by the user"
    NOT_ALLOWED = "not allowed by healing.mayChange"
    REVERSED = "direction already reversed once"
    NO_EFFECT = "had no effect"
    USED_UP = "used up"
    USELESS = "would free nothing"
    UNPLANNABLE = "does not fit"


@dataclass(frozen=True, slots=True)
class Rejection:
    """A lever that does not move, and why; `way_out` is what a person could change."""

    lever: str
    why: Why
    text: str


class Replan(Protocol):
    """Render the current plan anew with one thing changed."""

    def __call__(
        self,
        arguments: Arguments,
        *,
        host: HostMemory | None = None,
        env: Mapping[str, str] | None = None,
        avoid_nodes: tuple[str, ...] | None = None,
        startup_deadline_seconds: int | None = None,
    ) -> Plan: ...


@dataclass(frozen=True, slots=True)
class Situation:
    """One failure of one plan. `replan` renders a plan with other arguments; `remake` plans for
    another quantization or GPU count (None where that cannot be). `failures` counts how often this
    plan failed this way."""

    plan: Plan
    diagnosis: Diagnosis
    history: tuple[PastStep, ...]
    policy: Policy
    pool: Pool
    wish: Wish
    replan: Replan
    remake: Callable[[str], tuple[str, str, Plan] | None]
    chunked_prefill: bool = True
    kv_cache_dtypes: tuple[str, ...] = ("auto",)
    user_env: frozenset[str] = frozenset()
    failures: int = 1
    node: str = ""

    @property
    def arguments(self) -> Arguments:
        return self.plan.arguments

    def figure(self, name: str) -> int | None:
        """A positive figure that the engine printed, else None."""
        value = self.diagnosis.figures.get(name)
        return value if value is not None and value > 0 else None

    def may(self, what: str) -> bool:
        return what in self.policy.may_change

    def owned_by_user(self, lever: str) -> bool:
        """True where the user's own value forbids moving this lever."""
        if self.may("UserArguments"):
            return False
        return lever in self.arguments.user

    def times(self, lever: str) -> int:
        return sum(1 for step in self.history if step.lever == lever)


def budget_lever(arguments: Arguments) -> str:
    """The flag that sets the KV pool's size."""
    if arguments.num_gpu_blocks_override is not None:
        return "num-gpu-blocks-override"
    if arguments.kv_cache_memory_bytes is not None:
        return "kv-cache-memory-bytes"
    return "gpu-memory-utilization"


def peak_bytes(ledger: Ledger, phase: str) -> int:
    """Predicted device memory of one rank at its highest in a phase, bytes."""
    held = ledger.context_bytes + ledger.weights_bytes + ledger.non_torch_bytes
    if phase == "weights":
        return held
    held += ledger.activation_bytes
    if phase == "profile":
        return held
    held += ledger.graph_bytes + ledger.kv_cache_bytes
    return held if phase == "kv_alloc" else held + ledger.outside_bytes


def torch_peak_bytes(ledger: Ledger, phase: str) -> int:
    """The part of the peak that the engine's allocator counts as its own."""
    return peak_bytes(ledger, phase) - ledger.context_bytes - ledger.non_torch_bytes
