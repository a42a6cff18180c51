"""`LLMDeployment`: one model, served by an engine on Intel GPUs."""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from xpullm.api.engine import GPU, Engine
from xpullm.api.healing import Healing
from xpullm.api.meta import (
    API_VERSION,
    DNS_1035_LABEL,
    ApiModel,
    CatalogueName,
    ObjectMeta,
    Rule,
    int_range,
)
from xpullm.api.model import Model
from xpullm.api.pod import Pod
from xpullm.api.serving import Service, Serving, Verification
from xpullm.api.status import LLMDeploymentStatus

# Children carry the name with suffixes, and label values end at 63 characters.
NAME_LIMIT = 50


class LLMDeploymentSpec(ApiModel):
    """Desired state."""

    model: Model
    """The model to serve."""
    quantization: CatalogueName | None = None
    """Name in the catalogue, such as sym_int4; absent: the checkpoint's own."""
    gpu: GPU = Field(default_factory=GPU)
    """The card or cards of one replica."""
    engine: Engine = Field(default_factory=Engine)
    """The inference engine."""
    serving: Serving = Field(default_factory=Serving)
    """Wishes and floors."""
    replicas: Annotated[int, int_range(0, 1000)] = 1
    """Number of pods; 0 is Ready with reason ScaledToZero. Leave it out where an autoscaler sets
    it."""
    suspend: Annotated[bool, Field(strict=True)] = False
    """Freezes reconciliation; pods stay as they are."""
    healing: Healing = Field(default_factory=Healing)
    """What the operator may do about failures."""
    verification: Verification = Field(default_factory=Verification)
    """What a started engine must survive before its pod becomes Ready."""
    pod: Pod = Field(default_factory=Pod)
    """What is added to the engine's pods."""
    service: Service = Field(default_factory=Service)
    """The Service in front of the replicas."""


def _name_is_label(resource: Any) -> bool:
    name = resource.metadata.name
    return len(name) <= NAME_LIMIT and re.match(DNS_1035_LABEL, name) is not None


class LLMDeployment(ApiModel):
    """One model, served by an engine on Intel GPUs with arguments that are safe on the card."""

    rules: ClassVar = (
        Rule(
            f"self.metadata.name.size() <= {NAME_LIMIT} &&"
            f" self.metadata.name.matches('{DNS_1035_LABEL}')",
            f"`metadata.name` must be a DNS label of at most {NAME_LIMIT} characters (a-z, 0-9, -;"
            " a letter first; no dots): its Service and its pods carry the name",
            _name_is_label,
            "metadata.name",
        ),
    )

    api_version: Literal["xpullm.io/v1alpha1"] = API_VERSION  # type: ignore[assignment]
    kind: Literal["LLMDeployment"] = "LLMDeployment"
    metadata: ObjectMeta = Field(default_factory=ObjectMeta)
    spec: LLMDeploymentSpec
    """Desired state."""
    status: LLMDeploymentStatus = Field(default_factory=LLMDeploymentStatus)
    """Observed state."""
