"""The closed list of condition and event reasons. Values are API: added, never renamed."""

from __future__ import annotations

from enum import StrEnum


class ConditionType(StrEnum):
    """Conditions of an LLMDeployment."""

    READY = "Ready"
    PLANNED = "Planned"
    AVAILABLE = "Available"
    RECONCILING = "Reconciling"
    STALLED = "Stalled"


class Reason(StrEnum):
    """Why a condition has its status. `REASON_TEXT` says each in one line."""

    # Healthy.
    SERVING = "Serving"
    PLANNED = "Planned"
    REPLICAS_READY = "ReplicasReady"
    SCALED_TO_ZERO = "ScaledToZero"
    SUSPENDED = "Suspended"
    # On the way.
    PENDING = "Pending"
    ROLLING_OUT = "RollingOut"
    STARTING = "Starting"
    REPLICAS_UNREADY = "ReplicasUnready"
    UNSCHEDULABLE = "Unschedulable"
    HEALING = "Healing"
    BACKING_OFF = "BackingOff"
    WAITING_FOR_CANARY = "WaitingForCanary"
    GROWING = "Growing"
    RETRYING = "Retrying"
    # The request is wrong.
    INVALID_SPEC = "InvalidSpec"
    INVALID_ARGUMENT = "InvalidArgument"
    UNKNOWN_MODEL = "UnknownModel"
    INVALID_MODEL_FACTS = "InvalidModelFacts"
    UNKNOWN_QUANTIZATION = "UnknownQuantization"
    UNKNOWN_GPU = "UnknownGPU"
    UNKNOWN_ENGINE = "UnknownEngine"
    INCOMPATIBLE_QUANTIZATION = "IncompatibleQuantization"
    INCOMPATIBLE_ENGINE = "IncompatibleEngine"
    CONTEXT_TOO_LONG = "ContextTooLong"
    UNSUPPORTED_CLUSTER = "UnsupportedCluster"
    NAME_CONFLICT = "NameConflict"
    # It cannot fit.
    INFEASIBLE = "Infeasible"
    NO_GPU = "NoGPU"
    NO_MATCHING_NODE = "NoMatchingNode"
    # Healing ended.
    NOT_HEALABLE = "NotHealable"
    ATTEMPTS_EXHAUSTED = "AttemptsExhausted"
    LADDER_EXHAUSTED = "LadderExhausted"
    USER_ARGUMENT_IN_THE_WAY = "UserArgumentInTheWay"
    CAUSE_UNKNOWN = "CauseUnknown"
    OBSERVE_ONLY = "ObserveOnly"
    HEALING_OFF = "HealingOff"


class EventReason(StrEnum):
    """Reasons of Kubernetes Events. `EVENT_REASON_TEXT` says each in one line."""

    PLANNED = "Planned"
    PLAN_INFEASIBLE = "PlanInfeasible"
    SPEC_REFUSED = "SpecRefused"
    ENGINE_FAILED = "EngineFailed"
    ARGUMENT_CHANGED = "ArgumentChanged"
    CHANGE_PROPOSED = "ChangeProposed"
    HEALING_STOPPED = "HealingStopped"
    HEALED = "Healed"
    UTILIZATION_RAISED = "UtilizationRaised"
    DEVICE_SUSPECT = "DeviceSuspect"


REASON_TEXT: dict[Reason, str] = {
    Reason.SERVING: "Enough replicas serve.",
    Reason.PLANNED: "A safe plan exists.",
    Reason.REPLICAS_READY: "All replicas are ready.",
    Reason.SCALED_TO_ZERO: "`spec.replicas` is 0; nothing runs, by request.",
    Reason.SUSPENDED: "`spec.suspend` is true; nothing is changed.",
    Reason.PENDING: "Not looked at yet.",
    Reason.ROLLING_OUT: "Pods of the current plan are being created.",
    Reason.STARTING: "The engine starts.",
    Reason.REPLICAS_UNREADY: "Fewer replicas serve than are wanted.",
    Reason.UNSCHEDULABLE: "The scheduler finds no node for a pod.",
    Reason.HEALING: "A failed pod is re-rolled with one argument changed.",
    Reason.BACKING_OFF: "Waiting before the next try; nothing needs to be changed.",
    Reason.WAITING_FOR_CANARY: "Others with this image, card and kernel are tried first.",
    Reason.GROWING: "Utilization is raised by one step.",
    Reason.RETRYING: "The API server refused a write; it is tried again.",
    Reason.INVALID_SPEC: "The spec breaks a rule of the API.",
    Reason.INVALID_ARGUMENT: "A flag in `spec.engine.args` is unknown to the engine or wrong.",
    Reason.UNKNOWN_MODEL: "Nobody described the model; set `spec.model.facts`.",
    Reason.INVALID_MODEL_FACTS: "The model's geometry is incomplete or contradicts itself.",
    Reason.UNKNOWN_QUANTIZATION: "`spec.quantization` is not in the catalogue.",
    Reason.UNKNOWN_GPU: "`spec.gpu.type` is not in the catalogue.",
    Reason.UNKNOWN_ENGINE: "`spec.engine.name` or `version` is not in the catalogue.",
    Reason.INCOMPATIBLE_QUANTIZATION: "Engine, card or checkpoint cannot run this quantization.",
    Reason.INCOMPATIBLE_ENGINE: "The engine cannot run this model, or not on this card.",
    Reason.CONTEXT_TOO_LONG: "`spec.serving.contextLength` is above the model's own.",
    Reason.UNSUPPORTED_CLUSTER: "The cluster lacks something that the spec asks for.",
    Reason.NAME_CONFLICT: "An object with a child's name belongs to somebody else.",
    Reason.INFEASIBLE: "No safe plan exists; the message has figures and alternatives.",
    Reason.NO_GPU: "No card is named, and the cluster shows none that the operator could choose.",
    Reason.NO_MATCHING_NODE: "No node has the card.",
    Reason.NOT_HEALABLE: "No argument helps against this cause.",
    Reason.ATTEMPTS_EXHAUSTED: "`spec.healing.maxAttempts` steps were taken.",
    Reason.LADDER_EXHAUSTED: "Every step that could help was taken or would cross a floor.",
    Reason.USER_ARGUMENT_IN_THE_WAY: "The step would change a flag in `spec.engine.args`.",
    Reason.CAUSE_UNKNOWN: "Nothing corroborates a cause.",
    Reason.OBSERVE_ONLY: "`spec.healing.mode` is Observe; the proposal is in the status.",
    Reason.HEALING_OFF: "`spec.healing.mode` is Off.",
}

EVENT_REASON_TEXT: dict[EventReason, str] = {
    EventReason.PLANNED: "A plan was made; the message has its figures.",
    EventReason.PLAN_INFEASIBLE: "No safe plan exists.",
    EventReason.SPEC_REFUSED: "The spec is wrong; the message has field, value and way out.",
    EventReason.ENGINE_FAILED: "An engine failed; the message has cause, phase and node.",
    EventReason.ARGUMENT_CHANGED: "A re-roll: cause, argument, from, to.",
    EventReason.CHANGE_PROPOSED: "A step that needs a person's consent.",
    EventReason.HEALING_STOPPED: "A person must act.",
    EventReason.HEALED: "Ready again after a step.",
    EventReason.UTILIZATION_RAISED: "Growth: planned use of the card was raised.",
    EventReason.DEVICE_SUSPECT: "On the node: a card or its driver failed, whatever ran on it.",
}
