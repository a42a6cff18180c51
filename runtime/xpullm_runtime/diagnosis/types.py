"""What crosses diagnosis' border: evidence in, a diagnosis out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

# Where in an engine's life it happened.
PHASES = (
    "scheduling",  # no container yet
    "starting",  # container runs, nothing loaded (arguments, imports, device, download)
    "weights",
    "profile",
    "kv_alloc",
    "startup",  # before Ready, phase of memory unknown
    "runtime",  # after "Application startup complete"
    "shutdown",
    "unknown",
)

# What helps against a cause.
HELPS = ("arguments", "environment", "resources", "deadline", "reschedule", "wait", "person")


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of a failure. Everything is optional; nothing is trusted.

    `log`: the engine's output or its tail. `pod`: a v1 Pod as a plain dict (its status is read).
    `report`: the supervisor's termination message, parsed. `events`: v1 Events of the pod.
    `host_oom_kills`: cgroup oom_kill count of the container; `host_peak_bytes`: its highest use
    without page cache, 0 where not known. `was_ready`: the supervisor's word, None where there is
    none. `alive`: the engine still serves.
    """

    log: str = ""
    exit_code: int | None = None
    pod: Mapping[str, Any] | None = None
    container: str = "engine"
    report: Mapping[str, Any] | None = None
    events: Sequence[Mapping[str, Any]] = ()
    host_oom_kills: int | None = None
    host_peak_bytes: int = 0
    host_limit_bytes: int = 0
    was_ready: bool | None = None
    alive: bool = False


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """A cause with its phase, what helps, the deciding lines, and the figures the engine printed.

    `figures` are bytes or counts by name: tried_bytes, free_bytes, total_bytes, allocated_bytes,
    reserved_bytes, kv_needed_bytes, kv_available_bytes, kv_cache_bytes, kv_cache_tokens,
    weights_bytes, activation_bytes, non_torch_bytes, max_model_len, max_model_len_fits,
    memory_limit_bytes, host_peak_bytes. `actionable` is False when nothing corroborates the log:
    such a diagnosis never changes an argument.
    """

    cause: str
    phase: str = "unknown"
    helps: str = "person"
    evidence: tuple[str, ...] = ()
    figures: Mapping[str, int] = field(default_factory=dict)
    actionable: bool = False
    summary: str = ""
