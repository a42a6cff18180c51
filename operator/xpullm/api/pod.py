"""`spec.pod`: the part of a pod that users may shape. No service account, no host paths, no
security context: those would be more rights than creating an LLMDeployment is meant to give."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, ClassVar

from pydantic import Field

from xpullm.api.meta import (
    LABEL_KEY,
    LABEL_VALUE,
    ApiModel,
    DataKey,
    ObjectName,
    Rule,
    SchemaOnly,
    SecretKeyRef,
    int_range,
    text,
)
from xpullm.api.quantity import Quantity, parse_quantity

RESERVED = ("xpullm.io/", "app.kubernetes.io/")

LabelValue = Annotated[str, Field(max_length=63, pattern=rf"^$|{LABEL_VALUE}")]
Labels = Annotated[Mapping[str, LabelValue], Field(max_length=64)]
Annotations = Annotated[Mapping[str, Annotated[str, Field(max_length=16384)]], Field(max_length=64)]
KubernetesObject = Mapping[str, Any]


class ConfigMapKeyRef(ApiModel):
    """One key of a ConfigMap in the same namespace."""

    name: ObjectName
    """Name of the ConfigMap."""
    key: DataKey
    """Key inside the ConfigMap."""


class EnvVarSource(ApiModel):
    """Where a variable's value comes from."""

    rules: ClassVar = (
        Rule(
            "has(self.secretKeyRef) != has(self.configMapKeyRef)",
            "`valueFrom` must have exactly one of `secretKeyRef`, `configMapKeyRef`",
            lambda s: (s.secret_key_ref is None) != (s.config_map_key_ref is None),
        ),
    )

    secret_key_ref: SecretKeyRef | None = None
    """A key of a Secret."""
    config_map_key_ref: ConfigMapKeyRef | None = None
    """A key of a ConfigMap."""


class EnvVar(ApiModel):
    """One environment variable."""

    rules: ClassVar = (
        Rule(
            "!(has(self.value) && has(self.valueFrom))",
            "`valueFrom` must be absent where `value` is set: keep one of them",
            lambda e: e.value is None or e.value_from is None,
        ),
        Rule(
            "!self.name.startsWith('XPULLM_')",
            "`name` must not start with XPULLM_: the operator uses these itself",
            lambda e: not e.name.startswith("XPULLM_"),
            "name",
        ),
    )

    name: Annotated[str, text(256, r"^[A-Za-z_][A-Za-z0-9_.-]*$")]
    """Name of the variable."""
    value: Annotated[str, Field(max_length=32768)] | None = None
    """The value itself."""
    value_from: EnvVarSource | None = None
    """Where the value comes from."""


EnvVars = Annotated[
    tuple[EnvVar, ...], Field(max_length=64, json_schema_extra=SchemaOnly.list_map("name"))
]

_KEYS = "self.{0}.all(k, k == 'cpu' || k == 'memory' || k == 'ephemeral-storage')"
_ALLOWED = frozenset({"cpu", "memory", "ephemeral-storage"})


def _only_host(field: str) -> Rule:
    return Rule(
        f"!has(self.{field}) || " + _KEYS.format(field),
        f"`{field}` must name only cpu, memory and ephemeral-storage: cards are requested by"
        " `spec.gpu`",
        lambda r: _ALLOWED.issuperset(getattr(r, field) or ()),
        field,
    )


Resources = Annotated[Mapping[str, Quantity], Field(max_length=8)]


class HostResources(ApiModel):
    """Host resources of the engine's container."""

    rules: ClassVar = (
        _only_host("requests"),
        _only_host("limits"),
        Rule(
            "!has(self.requests) || !has(self.limits) || self.requests.all(k, !(k in self.limits)"
            " || quantity(string(self.requests[k])).compareTo(quantity(string(self.limits[k])))"
            " <= 0)",
            "`requests` must not be above `limits`: lower the request or raise the limit",
            lambda r: all(
                parse_quantity(size) <= parse_quantity((r.limits or {}).get(name, size))
                for name, size in (r.requests or {}).items()
            ),
            "requests",
        ),
    )

    requests: Resources | None = None
    """What the scheduler reserves; absent: from the plan."""
    limits: Resources | None = None
    """What the kernel enforces; absent: memory from the plan. A memory limit set here is raised by
    healing only with UserMemoryLimit in `healing.mayChange`."""


class LocalObjectRef(ApiModel):
    """An object of the same namespace, by name."""

    name: ObjectName
    """Name of the object."""


def _unreserved(field: str) -> Rule:
    return Rule(
        f"!has(self.{field}) || self.{field}.all(k, !k.startsWith('xpullm.io/') &&"
        " !k.startsWith('app.kubernetes.io/'))",
        f"`{field}` must not have keys under xpullm.io/ or app.kubernetes.io/: the operator sets"
        " these itself",
        lambda pod: not any(key.startswith(RESERVED) for key in getattr(pod, field)),
        field,
    )


def _label_keys(field: str, attribute: str) -> Rule:
    return Rule(
        f"!has(self.{field}) || self.{field}.all(k, k.matches('{LABEL_KEY}'))",
        f"`{field}` must have keys as Kubernetes wants them: an optional DNS name and a slash, then"
        " up to 63 of A-Z, a-z, 0-9, -, _ and . with a letter or digit first and last",
        lambda pod: all(re.match(LABEL_KEY, key) for key in getattr(pod, attribute)),
        field,
    )


def _all_tolerations(cel: str, message: str, holds: Callable[[KubernetesObject], bool]) -> Rule:
    """What Kubernetes refuses in a pod (pkg/apis/core/validation) is refused here."""
    return Rule(
        f"!has(self.tolerations) || self.tolerations.all(t, {cel})",
        f"`tolerations` must {message}",
        lambda pod: all(map(holds, pod.tolerations)),
        "tolerations",
    )


class Pod(ApiModel):
    """What is added to the engine's pods."""

    rules: ClassVar = (
        _unreserved("labels"),
        _unreserved("annotations"),
        _label_keys("labels", "labels"),
        _label_keys("annotations", "annotations"),
        _label_keys("nodeSelector", "node_selector"),
        _all_tolerations(
            "!has(t.tolerationSeconds) || (has(t.effect) && t.effect == 'NoExecute')",
            "have effect NoExecute where `tolerationSeconds` is set",
            lambda t: "tolerationSeconds" not in t or t.get("effect") == "NoExecute",
        ),
        _all_tolerations(
            "(has(t.key) && t.key != '') || (has(t.operator) && t.operator == 'Exists')",
            "have a `key`, or operator Exists for all keys",
            lambda t: bool(t.get("key")) or t.get("operator") == "Exists",
        ),
        _all_tolerations(
            "!has(t.value) || t.value == '' || !has(t.operator) || t.operator != 'Exists'",
            "have no `value` where the operator is Exists",
            lambda t: not t.get("value") or t.get("operator") != "Exists",
        ),
    )

    labels: Labels = Field(default_factory=dict)
    """Labels added to the pods."""
    annotations: Annotations = Field(default_factory=dict)
    """Annotations added to the pods."""
    node_selector: Labels = Field(default_factory=dict)
    """Labels that a node must have, beside the card's own."""
    tolerations: Annotated[
        tuple[
            Annotated[
                KubernetesObject, Field(json_schema_extra=SchemaOnly.kubernetes("Toleration"))
            ],
            ...,
        ],
        Field(max_length=32, json_schema_extra=SchemaOnly.LIST_ATOMIC),
    ] = ()
    """Taints that the pods tolerate."""
    affinity: (
        Annotated[KubernetesObject, Field(json_schema_extra=SchemaOnly.kubernetes("Affinity"))]
        | None
    ) = None
    """Scheduling constraints, beside the card's own."""
    resources: HostResources | None = None
    """Host resources of the engine's container; absent: from the plan."""
    env: EnvVars = ()
    """Environment of the pod's download and engine containers, such as proxies; a name in
    `engine.env` wins."""
    image_pull_secrets: Annotated[
        tuple[LocalObjectRef, ...],
        Field(max_length=16, json_schema_extra=SchemaOnly.list_map("name")),
    ] = ()
    """Secrets for pulling the engine's image."""
    priority_class_name: ObjectName | None = None
    """PriorityClass of the pods."""
    runtime_class_name: ObjectName | None = None
    """RuntimeClass of the pods."""
    topology_spread_constraints: Annotated[
        tuple[
            Annotated[
                KubernetesObject,
                Field(json_schema_extra=SchemaOnly.kubernetes("TopologySpreadConstraint")),
            ],
            ...,
        ],
        Field(
            max_length=16,
            json_schema_extra=SchemaOnly.list_map("topologyKey", "whenUnsatisfiable"),
        ),
    ] = ()
    """How replicas spread over nodes."""
    termination_grace_period_seconds: Annotated[int, int_range(0, 3600)] | None = None
    """Time for running requests to finish when a pod ends; absent: 60."""
