"""What crosses healing's border: policy and history in; a step, a wait or a stop out."""

from __future__ import annotations

from dataclasses import dataclass

from xpullm.planner.types import Plan

NAMED = 5  # deployments named in one message; the rest are counted
_ELSEWHERE = "while the same image, card and kernel serve elsewhere"


@dataclass(frozen=True, slots=True)
class Growth:
    """Raise utilization in small steps after a healthy time, while memory is watched. New plans
    begin at the start's percentage, as far as what was asked for fits there."""

    mode: str = "Disabled"
    after_healthy_seconds: int = 3600
    target_utilization_percent: int = 80
    start_utilization_percent: int = 60


@dataclass(frozen=True, slots=True)
class NodeMatter:
    """A failure that is its node's, not the arguments'. `others`: the other deployments that fail
    there, as namespace/name; without any it is this plan itself that serves on `home`."""

    node: str
    others: tuple[str, ...] = ()
    home: str = ""

    @property
    def told(self) -> str:
        """In words for the deployment's own people: who else runs there may be none of their
        business."""
        number = len(self.others)
        if not number:
            return f"the same plan serves on node {self.home}"
        fail = "other deployments fail" if number > 1 else "other deployment fails"
        return f"{number} {fail} on node {self.node} too, {_ELSEWHERE}"

    @property
    def named(self) -> str:
        """In words for the node's people: with names, of bounded length."""
        if not self.others:
            return self.told
        names = ", ".join(self.others[:NAMED])
        more = f" and {len(self.others) - NAMED} more" if len(self.others) > NAMED else ""
        fail = "fail" if len(self.others) > 1 else "fails"
        return f"{names}{more} {fail} on node {self.node} too, {_ELSEWHERE}"


@dataclass(frozen=True, slots=True)
class Policy:
    """`spec.healing`, and what the cluster shows. `may_change` holds Arguments, UserArguments,
    KVCacheType, GPUCount, Quantization, UserMemoryLimit. `user_memory_limit`: the user set the host
    memory limit. `node_memory_bytes`: allocatable memory of the largest node that the pod may run
    on, None where no node says. `node_matter`: the failure is the node's, so no argument may
    change."""

    mode: str = "Auto"
    max_attempts: int = 6
    may_change: frozenset[str] = frozenset({"Arguments"})
    growth: Growth = Growth()
    user_memory_limit: bool = False
    other_matching_node_has_room: bool = False
    node_memory_bytes: int | None = None
    node_matter: NodeMatter | None = None


@dataclass(frozen=True, slots=True)
class PastStep:
    """One entry of the history (oldest first). `failure_id` is pod UID, container restart count and
    finish time; `lever` the flag or resource that was changed; `effect` what came of it: "" (not
    judged yet), "Helped", "NoEffect", "Worse", or "Unclear" (the same failure again, but without
    figures that could tell whether it moved). Growth steps have cause "growth". `held_bytes`: what
    the engine's allocator held when it failed; `relief_bytes`: what the step was to give back."""

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
    held_bytes: int = 0
    relief_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Health:
    """What is known of a deployment that serves. `kv_usage_percent` and `preemptions` are the worst
    since it became healthy; `peak_bytes` is device memory at its highest, 0 where it is unknown."""

    healthy_seconds: float
    kv_usage_percent: int = 0
    preemptions: int = 0
    peak_bytes: int = 0
    free_bytes: int | None = None
    replicas: int = 1
    ready_replicas: int = 1
    in_window: bool = True


@dataclass(frozen=True, slots=True)
class Step:
    """Change one lever; `plan` is the complete next plan, dependent arguments already followed.

    `lever` is a vLLM flag without dashes, or memory-limit, memory-request, shm-size,
    startup-deadline, node, gpu-count, environment:<NAME>. `text` says it in one sentence for
    people. `relief_bytes` is what it is to give back of device memory, 0 where that is not its way
    to help.
    """

    lever: str
    before: str
    after: str
    text: str
    plan: Plan
    relief_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to change now: look again after `seconds` (a back-off, a transient cause)."""

    seconds: int
    text: str


@dataclass(frozen=True, slots=True)
class Stop:
    """A person must act. `reason` is a condition reason (NotHealable, AttemptsExhausted,
    LadderExhausted, ObserveOnly, HealingOff, UserArgumentInTheWay, CauseUnknown)."""

    reason: str
    text: str
