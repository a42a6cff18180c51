"""The kinds of objects that the operator reads, and where the API server keeps them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from xpullm.api import API_VERSION
from xpullm.resources import names

MANAGER = names.MANAGER  # label value and field manager
OWNER_LABEL = names.LABEL_DEPLOYMENT
MANAGED = f"{names.LABEL_MANAGED_BY}={MANAGER}"  # never list other people's objects


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind, its place in the API, and how much of it is read.

    ``selector`` filters on the server. ``optional`` kinds may be absent from the API server or
    forbidden to the operator, and are then taken as empty.
    """

    api_version: str
    kind: str
    plural: str
    namespaced: bool = True
    selector: str = ""
    optional: bool = False

    @property
    def group(self) -> str:
        """API group; empty for the core group."""
        return self.api_version.rpartition("/")[0]

    @property
    def version(self) -> str:
        """Version within the group."""
        return self.api_version.rpartition("/")[2]

    @property
    def resource(self) -> str:
        """Plural with group, as ``kubectl`` and RBAC messages name it."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    def path(self, namespace: str | None = None, name: str = "", subresource: str = "") -> str:
        """URL path of the collection, of one object or of its subresource."""
        root = f"/apis/{self.api_version}" if self.group else f"/api/{self.version}"
        inside = f"/namespaces/{namespace}" if self.namespaced and namespace else ""
        tail = "".join(f"/{part}" for part in (name, subresource) if part)
        return f"{root}{inside}/{self.plural}{tail}"


LLMDEPLOYMENT = Kind(API_VERSION, "LLMDeployment", "llmdeployments")
TUNING_RECORD = Kind(API_VERSION, "TuningRecord", "tuningrecords")
DEPLOYMENT = Kind("apps/v1", "Deployment", "deployments", selector=MANAGED)
SERVICE = Kind("v1", "Service", "services", selector=MANAGED)
CLAIM = Kind("v1", "PersistentVolumeClaim", "persistentvolumeclaims", selector=MANAGED)
CONFIG_MAP = Kind("v1", "ConfigMap", "configmaps", selector=MANAGED)
POD = Kind("v1", "Pod", "pods", selector=MANAGED)
JOB = Kind("batch/v1", "Job", "jobs", selector=MANAGED)
NODE = Kind("v1", "Node", "nodes", namespaced=False)
# DRA v1 is served from Kubernetes 1.34.
CLAIM_TEMPLATE = Kind(
    "resource.k8s.io/v1",
    "ResourceClaimTemplate",
    "resourceclaimtemplates",
    selector=MANAGED,
    optional=True,
)
RESOURCE_SLICE = Kind(
    "resource.k8s.io/v1", "ResourceSlice", "resourceslices", namespaced=False, optional=True
)
DEVICE_CLASS = Kind(
    "resource.k8s.io/v1", "DeviceClass", "deviceclasses", namespaced=False, optional=True
)
# Never watched: Events are written, and listed for single pods.
EVENT = Kind("events.k8s.io/v1", "Event", "events")
LEASE = Kind("coordination.k8s.io/v1", "Lease", "leases")

CHILDREN = (DEPLOYMENT, SERVICE, CLAIM, CLAIM_TEMPLATE, CONFIG_MAP, POD, JOB)
# Nothing creates Jobs yet: model inspection adds them here, and to the chart's rules.
WATCHED = tuple(
    kind
    for kind in (LLMDEPLOYMENT, TUNING_RECORD, *CHILDREN, NODE, RESOURCE_SLICE, DEVICE_CLASS)
    if kind is not JOB
)
# The API server refuses changes of their spec, so they are created and never written again.
IMMUTABLE = frozenset({JOB, CLAIM_TEMPLATE})

_BY_NAME = {(kind.api_version, kind.kind): kind for kind in (*WATCHED, JOB, EVENT, LEASE)}


def kind_of(obj: Mapping[str, Any]) -> Kind:
    """The kind of a manifest.

    Raises:
        KeyError: the operator has no business with this kind.
    """
    name = (str(obj.get("apiVersion")), str(obj.get("kind")))
    if name not in _BY_NAME:
        raise KeyError(f"kind {name[1]} of {name[0]} is not among those that the operator handles")
    return _BY_NAME[name]
