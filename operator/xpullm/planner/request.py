"""What is asked of the planner: a request that was checked, with every combination that may serve
it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from xpullm.catalog import GPU, Engine, Quantization
from xpullm.planner.facts import ModelFacts
from xpullm.planner.types import EMPTY, Serving


@dataclass(frozen=True, slots=True)
class Choice:
    """One combination of card, engine and storage format."""

    gpu: GPU
    engine: Engine
    quantization: Quantization


@dataclass(frozen=True, slots=True)
class UserArguments:
    """The user's own flags, read. `flags` is every flag as written, in order; the fields hold those
    that move memory (None: not given)."""

    flags: tuple[tuple[str, str | None], ...] = ()
    max_model_len: int | None = None
    max_num_seqs: int | None = None
    max_num_batched_tokens: int | None = None
    gpu_memory_utilization: float | None = None
    kv_cache_memory_bytes: int | None = None
    num_gpu_blocks_override: int | None = None
    data_parallel_size: int | None = None
    tensor_parallel_size: int | None = None
    pipeline_parallel_size: int | None = None
    kv_cache_dtype: str | None = None
    block_size: int | None = None
    dtype: str | None = None
    enforce_eager: bool | None = None
    enable_chunked_prefill: bool | None = None
    swap_space_gib: float | None = None
    cpu_offload_gib: float | None = None
    extra: tuple[tuple[str, str | None], ...] = ()

    @property
    def names(self) -> frozenset[str]:
        """Flags that the user set; healing leaves these alone."""
        return frozenset(name for name, _ in self.flags)


@dataclass(frozen=True, slots=True)
class PlanRequest:
    """A checked request. `choices` are in order of preference, all acceptable.

    `count` is the number of cards per replica, None for the smallest that fits. `gpu_fixed`,
    `quantization_fixed`: the user named them. `image`, `command`: the user's instead of the
    catalogue's.
    """

    model: str
    revision: str
    facts: ModelFacts
    choices: tuple[Choice, ...]
    count: int | None
    serving: Serving
    user: UserArguments = UserArguments()
    image: str | None = None
    command: tuple[str, ...] | None = None
    env: Mapping[str, str] = field(default_factory=lambda: EMPTY)
    gpu_fixed: bool = True
    quantization_fixed: bool = True
