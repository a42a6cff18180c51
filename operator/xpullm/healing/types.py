"""What crosses healing's border: policy and history in; a step, a wait or a stop out."""

from __future__ import annotations

from dataclasses import dataclass

from xpullm.planner.types import Plan


@dataclass(frozen=True, slots=True)
class Growth:
    """Raise utilization in small steps after a healthy time, while memory is watched."""

    mode: str = "Disabled"
    after_healthy_seconds: int = 3600
    target_utilization_percent: int = 80


@dataclass(frozen=True, slots=True)
class Policy:
    """`spec.healing`. `may_change` holds Arguments, UserArguments, KVCacheType, GPUCount,
    Quantization, UserMemoryLimit. `user_memory_limit`: the user set the host memory limit."""

    mode: str = "Auto"
    max_attempts: int = 6
    may_change: frozenset[str] = frozenset({"Arguments"})
    growth: Growth = Growth()
    user_memory_limit: bool = False
    other_matching_node_has_room: bool = False


@dataclass(frozen=True, slots=True)
class PastStep:
    """One entry of the history (oldest first). `failure_id` is pod UID, container restart count and
    finish time; `lever` the flag or resource that was changed; `effect` what came of it: "", "Helped",
    "NoEffect", "Worse" (judged when the next failure, or health, is seen)."""

    attempt: int
    time: str
    cause: str
    phase: str
    lever: str
    before: str
    after: str
    failure_id: str = ""
    evidence: str = ""
    tried_bytes: int = 0
    effect: str = ""
    plan_hash: str = ""
    node: str = ""


@dataclass(frozen=True, slots=True)
class Step:
    """Change one lever; `plan` is the complete next plan, dependent arguments already followed.

    `lever` is a vLLM flag without dashes, or memory-limit, shm-size, startup-deadline, node,
    environment:<NAME>, restart (nothing changes). `text` says it in one sentence for people.
    """

    lever: str
    before: str
    after: str
    text: str
    plan: Plan


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to change now: look again after `seconds` (a back-off, a transient cause)."""

    seconds: int
    text: str


@dataclass(frozen=True, slots=True)
class Stop:
    """A person must act. `reason` is a condition reason (NotHealable, AttemptsExhausted,
    LadderExhausted, ObserveOnly, UserArgumentInTheWay, CauseUnknown)."""

    reason: str
    text: str
