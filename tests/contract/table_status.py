"""Every rule of an LLMDeployment's status, and of a TuningRecord's spec and status."""

from __future__ import annotations

from tests.contract.manifests import CONDITION
from tests.contract.rows import (
    Row,
    at_most,
    choice,
    length,
    not_empty,
    number,
    required,
    text,
    timestamp,
    unique,
)  # fmt: skip

BYTES = 2**53
COUNT = 2**31 - 1
IMAGE = "registry.example/team/engine@sha256:0a"
PLAN, MEASURED, HEALING = "status.plan", "status.measured", "status.healing"
HISTORY, PROPOSAL = f"{HEALING}.history[]", f"{HEALING}.proposal"


def numbers(path: str, low: int, high: int, *names: str) -> list[Row]:
    return [row for name in names for row in number(f"{path}.{name}", low, high)]


def lengths(path: str, longest: int, *names: str) -> list[Row]:
    return [row for name in names for row in length(f"{path}.{name}", longest)]


def catalogue_name(path: str) -> list[Row]:
    return text(path, "arc-a770_16g.v2", "-arc", 63)


def image(path: str) -> list[Row]:
    return text(path, IMAGE, "no blanks", 1024)


def flag(path: str) -> list[Row]:
    """One planned argument."""
    return [
        *required(f"{path}.name", "x"),
        *not_empty(f"{path}.name"),
        *length(f"{path}.name", 128),
        *length(f"{path}.value", 4096),
    ]


STATUS = [
    *number("status.observedGeneration", -1, BYTES),
    *numbers("status", 0, COUNT, "replicas", "readyReplicas"),
    *length("status.selector", 1024),
    *length("status.endpoint", 512),
    *length("status.modelRevision", 255),
    *catalogue_name(f"{PLAN}.engine"),
    *catalogue_name(f"{PLAN}.gpu"),
    *catalogue_name(f"{PLAN}.quantization"),
    *image(f"{PLAN}.image"),
    *lengths(PLAN, 63, "hash", "engineVersion"),
    *numbers(PLAN, 0, COUNT, "gpuCount", "contextLength", "concurrency"),
    *numbers(PLAN, 0, BYTES, "kvCacheTokens"),
    *numbers(PLAN, 0, 100, "utilizationPercent"),
    *at_most(f"{PLAN}.arguments", 128, [{"name": "x"}] * 129),
    *flag(f"{PLAN}.arguments[]"),
    *numbers(
        f"{PLAN}.memory", 0, BYTES, "visibleBytes", "contextBytes", "weightsBytes",
        "activationBytes", "nonTorchBytes", "graphBytes", "kvCacheBytes", "outsideBytes",
        "reserveBytes",
    ),
    *number(f"{PLAN}.memory.freeBytes", -BYTES, BYTES),
    *numbers(f"{PLAN}.hostMemory", 0, BYTES, "requestBytes", "limitBytes", "shmBytes"),
    *at_most(f"{PLAN}.notes", 16, ["n"] * 17),
    *length(f"{PLAN}.notes[]", 1024),
    *length(f"{MEASURED}.planHash", 63),
    *numbers(
        MEASURED, 0, BYTES, "weightsBytes", "activationBytes", "nonTorchBytes", "kvCacheBytes",
        "kvCacheTokens", "vramPeakBytes", "hostPeakBytes",
    ),
    *number(f"{MEASURED}.startSeconds", 0, COUNT),
    *numbers(
        f"{MEASURED}.predictionErrors", -BYTES, BYTES, "weightsBytes", "activationBytes",
        "nonTorchBytes", "kvCacheBytes", "hostBytes",
    ),
    *number(f"{HEALING}.attempt", 0, COUNT),
    *lengths(HEALING, 63, "lastCause", "lastPhase"),
    *lengths(PROPOSAL, 256, "argument", "from", "to"),
    *length(f"{PROPOSAL}.message", 1024),
    *at_most(f"{HEALING}.history", 20, [{"cause": "device_oom"}] * 21),
    *number(f"{HISTORY}.attempt", 0, COUNT),
    *timestamp(f"{HISTORY}.time"),
    *lengths(HISTORY, 63, "cause", "phase", "planHash"),
    *lengths(HISTORY, 256, "argument", "from", "to", "node"),
    *length(f"{HISTORY}.evidence", 1024),
    *choice(f"{HISTORY}.result", "Pending", "Helped", "NoEffect", "Worse"),
]  # fmt: skip

CONDITIONS = [
    *at_most("status.conditions", 16, [{**CONDITION, "type": f"T{i}"} for i in range(17)]),
    *unique("status.conditions", CONDITION, {**CONDITION, "type": "Planned"}),
    *(row for name, value in CONDITION.items() for row in required(
        f"status.conditions[].{name}", value)),
    *text("status.conditions[].type", "Ready", "Not-Ready", 316),
    *choice("status.conditions[].status", "True", "False", "Unknown"),
    *number("status.conditions[].observedGeneration", 0, BYTES),
    *timestamp("status.conditions[].lastTransitionTime"),
    *text("status.conditions[].reason", "ReplicasReady", "two words", 1024),
    *length("status.conditions[].message", 32768),
]  # fmt: skip


def record(part: str) -> list[Row]:
    """The key and the entries, in a TuningRecord's spec or status."""
    entry = f"{part}.entries[]"
    return [
        *required(f"{part}.model", "a/b"),
        *not_empty(f"{part}.model"),
        *length(f"{part}.model", 200),
        *required(f"{part}.engineImage", IMAGE),
        *image(f"{part}.engineImage"),
        *required(f"{part}.gpu", "arc-b580"),
        *catalogue_name(f"{part}.gpu"),
        *required(f"{part}.gpuCount", 2),
        *number(f"{part}.gpuCount", 1, 64),
        *catalogue_name(f"{part}.quantization"),
        *length(f"{part}.kernel", 128),
        *at_most(f"{part}.entries", 32, [{"outcome": "Healthy"}] * 33),
        *required(f"{entry}.outcome", "Healthy"),
        *choice(f"{entry}.outcome", "Healthy", "Failed"),
        *at_most(f"{entry}.arguments", 64, [{"name": f"n{i}"} for i in range(65)]),
        *unique(f"{entry}.arguments", {"name": "a"}, {"name": "b"}),
        *flag(f"{entry}.arguments[]"),
        *lengths(entry, 63, "cause", "phase"),
        *length(f"{entry}.node", 253),
        *length(f"{entry}.kernel", 128),
        *timestamp(f"{entry}.time"),
        *number(f"{entry}.plannedBytes", 0, BYTES),
    ]


ROWS = [*STATUS, *CONDITIONS]
RECORD_ROWS = [*record("spec"), *record("status")]
