"""What all API types share: the frozen base, list kinds, named strings, CEL rules, conditions.

A model's attribute docstrings become the field descriptions of the CRD. A rule is written twice on
one line of sight: in CEL for the API server, in Python for `parse`; contract tests hold the two
against each other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

GROUP = "xpullm.io"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"

JsonSchema = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Rule:
    """One `x-kubernetes-validations` entry of an object, and the same check in Python.

    `holds` gets the parsed model; None for transition rules (they need the stored object) and for
    what the API server alone can know. `field` is the camelCase name that the message is about.
    """

    cel: str
    message: str
    holds: Callable[[Any], bool] | None
    field: str = ""


class ApiModel(BaseModel):
    """Frozen; camelCase in JSON, snake_case here; unknown fields are ignored when reading."""

    model_config = ConfigDict(
        frozen=True,
        extra="ignore",
        alias_generator=to_camel,
        populate_by_name=True,
        defer_build=True,
        ser_json_inf_nan="null",
    )
    rules: ClassVar[tuple[Rule, ...]] = ()

    def to_manifest(self) -> dict[str, Any]:
        """The JSON form: camelCase, without absent fields."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


class SchemaOnly:
    """Field markers that pydantic passes through to the CRD generator."""

    LIST_SET: ClassVar[JsonSchema] = {"x-kubernetes-list-type": "set"}
    LIST_ATOMIC: ClassVar[JsonSchema] = {"x-kubernetes-list-type": "atomic"}

    @staticmethod
    def list_map(*keys: str) -> JsonSchema:
        return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": list(keys)}

    @staticmethod
    def kubernetes(definition: str) -> JsonSchema:
        """The schema of a Kubernetes type, from Kubernetes' own OpenAPI (kubernetes_schema/)."""
        return {"x-xpullm-kubernetes": definition}


# Where a default is behaviour (the planner's or healing's), it must not be in the CRD: a changed
# schema default would rewrite stored objects.
NOT_IN_SCHEMA: JsonSchema = {"x-xpullm-no-default": True}


def int_range(low: int, high: int, **extra: Any) -> Any:
    """An integer with both bounds; int32 where it fits, else int64."""
    width = "int32" if low >= -(2**31) and high < 2**31 else "int64"
    return Field(strict=True, ge=low, le=high, json_schema_extra={"format": width, **extra})


def text(max_length: int, pattern: str | None = None) -> Any:
    """A bounded string that is not empty; all our patterns ask for a character themselves."""
    return Field(max_length=max_length, min_length=None if pattern else 1, pattern=pattern)


# Kubernetes names (k8s.io/apimachinery pkg/util/validation). What a child object would be refused
# for must be refused here, where the user sees it.
DNS_1035_LABEL = r"^[a-z]([a-z0-9-]*[a-z0-9])?$"
DNS_SUBDOMAIN = r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$"
LABEL_VALUE = r"^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$"
LABEL_KEY = (
    r"^([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$"
)

ObjectName = Annotated[str, text(253, DNS_SUBDOMAIN)]
DataKey = Annotated[str, text(253, r"^\.?[A-Za-z0-9_-][A-Za-z0-9._-]*$")]
# A catalogue name is also a label value (`xpullm.io/gpu-type`).
CatalogueName = Annotated[str, text(63, LABEL_VALUE)]
ImageReference = Annotated[str, text(1024, r"^[A-Za-z0-9][A-Za-z0-9._/:@-]*$")]


def _rfc3339(value: str) -> str:
    try:
        datetime.fromisoformat(value)
    except ValueError:
        raise ValueError("must be a time as in RFC 3339, such as 2026-01-31T12:00:00Z") from None
    return value


Timestamp = Annotated[
    str,
    Field(max_length=64, min_length=1, json_schema_extra={"format": "date-time"}),
    AfterValidator(_rfc3339),
]
ByteCount = Annotated[int, int_range(0, 2**53)]
SignedByteCount = Annotated[int, int_range(-(2**53), 2**53)]
Count = Annotated[int, int_range(0, 2**31 - 1)]
TokenCount = Annotated[int, int_range(0, 2**53)]
LongCount = Annotated[int, int_range(-1, 2**53)]
Message = Annotated[str, Field(max_length=1024)]
Word = Annotated[str, Field(max_length=63)]


class SecretKeyRef(ApiModel):
    """One key of a Secret in the same namespace."""

    name: ObjectName
    """Name of the Secret."""
    key: DataKey
    """Key inside the Secret."""


class Condition(ApiModel):
    """One aspect of the observed state (Kubernetes API conventions)."""

    type: Annotated[str, text(316, r"^[A-Za-z]([A-Za-z0-9]*)$")]
    """Ready, Planned and Available are True when healthy. Reconciling and Stalled exist only while
    True."""
    status: Literal["True", "False", "Unknown"]
    """True, False or Unknown."""
    observed_generation: Annotated[int, int_range(0, 2**53)] | None = None
    """Generation of the spec that this was derived from."""
    last_transition_time: Timestamp
    """When `status` last changed."""
    reason: Annotated[str, text(1024, r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$")]
    """One word from the documented list of reasons."""
    message: Annotated[str, Field(max_length=32768)]
    """For people: field, value, way out."""


class ObjectMeta(ApiModel):
    """What we read of an object's metadata; the API server checks it, not the CRD."""

    name: str = ""
    namespace: str = ""
