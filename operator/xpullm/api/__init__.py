"""The API: LLMDeployment and TuningRecord as frozen pydantic models; the CRDs come from them."""

from xpullm.api.engine import GPU, Argument, Engine
from xpullm.api.healing import Growth, Healing
from xpullm.api.llmdeployment import LLMDeployment, LLMDeploymentSpec
from xpullm.api.meta import (
    API_VERSION,
    GROUP,
    VERSION,
    Condition,
    ObjectMeta,
    SecretKeyRef,
)
from xpullm.api.model import Model, ModelCache, ModelFacts, ModelSource
from xpullm.api.parse import (
    ManifestError,
    Problem,
    parse,
    parse_tuning_record,
)
from xpullm.api.pod import EnvVar, HostResources, Pod
from xpullm.api.quantity import (
    canonical_quantity,
    format_bytes,
    parse_quantity,
    quantity_bytes,
)
from xpullm.api.reasons import ConditionType, EventReason, Reason
from xpullm.api.serving import Service, Serving, Verification
from xpullm.api.status import (
    HealingStatus,
    HealingStep,
    LedgerStatus,
    LLMDeploymentStatus,
    MeasuredStatus,
    PlannedArgument,
    PlanStatus,
    Proposal,
)
from xpullm.api.tuningrecord import (
    TuningEntry,
    TuningRecord,
    TuningRecordSpec,
    TuningRecordStatus,
)

__all__ = [
    "API_VERSION",
    "GPU",
    "GROUP",
    "VERSION",
    "Argument",
    "Condition",
    "ConditionType",
    "Engine",
    "EnvVar",
    "EventReason",
    "Growth",
    "Healing",
    "HealingStatus",
    "HealingStep",
    "HostResources",
    "LLMDeployment",
    "LLMDeploymentSpec",
    "LLMDeploymentStatus",
    "LedgerStatus",
    "ManifestError",
    "MeasuredStatus",
    "Model",
    "ModelCache",
    "ModelFacts",
    "ModelSource",
    "ObjectMeta",
    "PlanStatus",
    "PlannedArgument",
    "Pod",
    "Problem",
    "Proposal",
    "Reason",
    "SecretKeyRef",
    "Service",
    "Serving",
    "TuningEntry",
    "TuningRecord",
    "TuningRecordSpec",
    "TuningRecordStatus",
    "Verification",
    "canonical_quantity",
    "format_bytes",
    "parse",
    "parse_quantity",
    "parse_tuning_record",
    "quantity_bytes",
]
