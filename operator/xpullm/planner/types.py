"""What crosses the planner's border: arguments, ledger, plan, or why there is none.

All values are frozen; bytes are plain `int`. Nothing here knows Kubernetes: `resources` turns a
`Plan` into objects, `healing` turns a `Plan` and a failure into the next `Plan`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

EMPTY: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Arguments:
    """Engine arguments that move memory, under vLLM's own names. `None` means: not passed.

    `extra` holds every other flag that is passed, in order: (name without dashes, value or None for
    a bare flag). `user` names the flags that the user set; healing leaves those alone.
    """

    max_model_len: int
    max_num_seqs: int
    max_num_batched_tokens: int
    gpu_memory_utilization: float | None = None
    kv_cache_memory_bytes: int | None = None
    num_gpu_blocks_override: int | None = None
    tensor_parallel_size: int = 1
    pipeline_parallel_size: int = 1
    kv_cache_dtype: str = "auto"
    block_size: int | None = None
    dtype: str | None = None
    enforce_eager: bool = True
    enable_chunked_prefill: bool | None = None
    swap_space_gib: float | None = None
    cpu_offload_gib: float | None = None
    extra: tuple[tuple[str, str | None], ...] = ()
    user: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Term:
    """One line of the ledger. `formula`, `inputs` and `source` are for people (`--explain`)."""

    name: str
    bytes: int
    formula: str = ""
    inputs: str = ""
    source: str = ""


@dataclass(frozen=True, slots=True)
class Ledger:
    """Device memory of one rank (card or tile), in bytes. What the engine will allocate.

    `visible_bytes` is M as the engine counts it. `outside_bytes` is what is allocated after or
    outside the engine's own profile (sampler buffers, graphs, fragmentation): it must fit into
    what the budget leaves free. `free_bytes` = visible − everything else; negative when it does
    not fit.
    """

    visible_bytes: int
    context_bytes: int
    weights_bytes: int
    activation_bytes: int
    non_torch_bytes: int
    graph_bytes: int
    kv_cache_bytes: int
    outside_bytes: int
    reserve_bytes: int
    free_bytes: int
    kv_bytes_per_token: int
    kv_cache_tokens: int
    max_model_len_fits: int
    block_size: int
    terms: tuple[Term, ...] = ()


@dataclass(frozen=True, slots=True)
class HostMemory:
    """Host memory of one pod, in bytes: what loading and running need."""

    request_bytes: int
    limit_bytes: int
    shm_bytes: int
    terms: tuple[Term, ...] = ()


@dataclass(frozen=True, slots=True)
class Estimate:
    """Answer for given arguments. `starts`/`safe` are None when it can't be told; then `reason`.

    `reason` also names, after "assumed:", what the answer rests on without being told.
    `safe`: it also holds the worst load that the arguments allow. `limiting` names the ledger term
    that decides, `missing_bytes` by how much it is too big (0 when it fits).
    """

    starts: bool | None
    safe: bool | None
    reason: str
    ledger: Ledger | None
    host: HostMemory | None = None
    limiting: str = ""
    missing_bytes: int = 0


@dataclass(frozen=True, slots=True)
class LearnedEntry:
    """What a TuningRecord or this deployment's own history knows about one set of arguments.

    `outcome` is "Healthy" or "Failed". `cause` and `phase` are the diagnosis' words. A failure
    that binds (seen here, or on two nodes) excludes every plan that needs as much or more of what
    failed.
    """

    arguments: Arguments
    outcome: str
    cause: str = ""
    phase: str = ""
    planned_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Learned:
    entries: tuple[LearnedEntry, ...] = ()


@dataclass(frozen=True, slots=True)
class Serving:
    """What the user wants served. `None`: the planner decides (recorded in the plan)."""

    context_length: int | None = None
    min_context_length: int | None = None
    concurrency: int | None = None
    min_concurrency: int | None = None
    served_names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """A safe set of arguments on a card, with everything that `resources` needs to render pods.

    `flags` is the engine's argument list as rendered: (name without dashes, value or None),
    complete, in order, including the user's own. `command` is the program before them; the model,
    host and port are added by `resources`. `utilization_percent` is planned use of visible VRAM,
    however the engine is told. `hash` identifies engine, image, card, count, arguments, env and
    host memory.
    """

    model: str
    revision: str
    quantization: str
    engine: str
    engine_version: str
    image: str
    command: tuple[str, ...]
    gpu: str
    gpu_count: int
    arguments: Arguments
    flags: tuple[tuple[str, str | None], ...]
    ledger: Ledger
    host: HostMemory
    context_length: int
    concurrency: int
    utilization_percent: int
    env: Mapping[str, str] = field(default_factory=lambda: EMPTY)
    env_scripts: tuple[str, ...] = ()
    avoid_nodes: tuple[str, ...] = ()
    startup_deadline_seconds: int = 3600
    notes: tuple[str, ...] = ()
    hash: str = ""


@dataclass(frozen=True, slots=True)
class Alternative:
    """A change to the request that was proven to fit: what to write in the spec, what it gives."""

    field: str
    value: str
    context_length: int
    concurrency: int
    text: str


@dataclass(frozen=True, slots=True)
class Infeasible:
    """Why no safe plan exists: the biggest term, how much is missing, and what would fit."""

    reason: str
    message: str
    term: str
    missing_bytes: int
    ledger: Ledger | None = None
    alternatives: tuple[Alternative, ...] = ()

    @property
    def told(self) -> str:
        """The message in one line, with what was proven to fit."""
        fits = "; ".join(a.text for a in self.alternatives)
        return f"{self.message}; what fits: {fits}" if fits else self.message


@dataclass(frozen=True, slots=True)
class Refusal:
    """The request itself is wrong: which field, which value, and the way out. Never retried.

    `reason` is a condition reason (UnknownModel, UnknownQuantization, UnknownGPU, UnknownEngine,
    InvalidArgument, IncompatibleQuantization, ContextTooLong, ...).
    """

    reason: str
    field: str
    value: str
    message: str
