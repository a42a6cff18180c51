"""One moment of the cluster, and what is to be done about it: plain dicts in, plain dicts out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from xpullm.healing.node import Trouble

Object = Mapping[str, Any]
Key = tuple[str, str]  # namespace, name


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What this API server offers. `version` is (major, minor)."""

    version: tuple[int, int] = (1, 32)
    dra: bool = False
    image_volumes: bool = False
    device_classes: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Fleet:
    """What other deployments are doing: `rerolling` counts re-rolls that replace Ready pods;
    `canaries` maps (image, card, kernel) to (attempts under way, held, oldest start as epoch).

    Known only for a deployment whose own pods fail: `troubles` of the others on nodes; `serving`,
    where (image, card, kernel) and (plan, kernel) are Ready, any deployment's, at most two nodes
    each; `held`, what pods of others hold of a node's resource: cards, bytes of host memory.
    """

    rerolling: int = 0
    canaries: Mapping[tuple[str, str, str], tuple[int, int, float]] | None = None
    troubles: tuple[Trouble, ...] = ()
    serving: Mapping[tuple[str, ...], tuple[str, ...]] | None = None
    held: Mapping[tuple[str, str], int] | None = None


@dataclass(frozen=True, slots=True)
class EngineFigures:
    """What the supervisor in one Ready pod told of its engine; `fetched`: seconds since the epoch.

    It belongs to one run: the container's restart count and the plan must still be these. The
    start's figures never change within a run; load and `vram_peak_bytes` (all cards) do. None where
    the engine does not tell.
    """

    plan_hash: str
    restarts: int
    fetched: float
    start_seconds: int
    host_peak_bytes: int
    start_vram_peak_bytes: int
    figures: Mapping[str, int]
    vram_peak_bytes: int = 0
    kv_usage_percent: int | None = None  # the highest since Ready
    preemptions: int = 0  # since Ready
    model_revision: str = ""  # the commit that was loaded


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything `decide` may know. Objects are as the API server returned them."""

    key: Key
    llmd: Object | None
    deployment: Object | None = None
    service: Object | None = None
    claim: Object | None = None  # PersistentVolumeClaim that we own
    claim_template: Object | None = None  # ResourceClaimTemplate that the Deployment uses
    claim_templates: tuple[Object, ...] = ()  # all that we own: those no longer used too
    facts: Object | None = None  # ConfigMap <name>-model-facts
    jobs: tuple[Object, ...] = ()
    pods: tuple[Object, ...] = ()
    events: tuple[Object, ...] = ()
    nodes: tuple[Object, ...] = ()
    resource_slices: tuple[Object, ...] = ()
    records: tuple[Object, ...] = ()  # TuningRecords of the namespace
    capabilities: Capabilities = Capabilities()
    fleet: Fleet = Fleet()
    runtime: Mapping[str, EngineFigures] = field(default_factory=dict)  # by pod UID


@dataclass(frozen=True, slots=True)
class EventSpec:
    """A Kubernetes Event. `discriminator` makes its name deterministic: plan hash or failure id.
    `regarding`: another object than the LLMDeployment (a node)."""

    type: str  # Normal | Warning
    reason: str
    action: str
    message: str
    discriminator: str
    regarding: Object | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """In this order: objects (applied), events and tuning records, deletions, status last."""

    apply: tuple[Object, ...] = ()
    delete: tuple[tuple[str, str, str, str], ...] = ()  # apiVersion, kind, name, uid
    events: tuple[EventSpec, ...] = ()
    records: tuple[Object, ...] = ()
    status: Object | None = None
    requeue_after_seconds: float | None = None
    cause_seen: str = ""  # for metrics: the newest diagnosed cause
    rerolled: bool = False
    replaces_ready: bool = False  # a re-roll that costs Ready pods: counts against the budget
