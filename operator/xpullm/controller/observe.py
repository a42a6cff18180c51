"""One moment of the cluster for one LLMDeployment. No request is made: the store is warm."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from xpullm.controller.kinds import (
    CLAIM,
    CLAIM_TEMPLATE,
    CONFIG_MAP,
    DEPLOYMENT,
    JOB,
    LLMDEPLOYMENT,
    NODE,
    POD,
    RESOURCE_SLICE,
    SERVICE,
    TUNING_RECORD,
    Kind,
)
from xpullm.controller.store import Store
from xpullm.controller.types import Capabilities, EngineFigures, Fleet, Key, Object, Snapshot

FACTS_SUFFIX = "-model-facts"


def observe(
    store: Store,
    key: Key,
    capabilities: Capabilities,
    fleet: Fleet,
    runtime: Mapping[str, EngineFigures] | None = None,
    events: tuple[Object, ...] = (),
) -> Snapshot:
    """Everything `decide` may know. Without an LLMDeployment the snapshot is empty."""
    namespace, name = key
    llmd = store.get(LLMDEPLOYMENT, namespace, name)
    if llmd is None:
        return Snapshot(key=key, llmd=None, capabilities=capabilities)

    def child(kind: Kind, wanted: str = "") -> Object | None:
        found = owned(store.children(kind, key), llmd)
        named = (obj for obj in found if not wanted or obj["metadata"]["name"] == wanted)
        return next(named, None)

    deployment = child(DEPLOYMENT, name)
    templates = tuple(owned(store.children(CLAIM_TEMPLATE, key), llmd))
    used = _claim_template_names(deployment)
    return Snapshot(
        key=key,
        llmd=llmd,
        deployment=deployment,
        service=child(SERVICE, name),
        claim=child(CLAIM),
        claim_template=next((t for t in templates if t["metadata"]["name"] in used), None),
        claim_templates=templates,
        facts=child(CONFIG_MAP, f"{name}{FACTS_SUFFIX}"),
        pods=store.children(POD, key),
        events=events,
        jobs=tuple(owned(store.children(JOB, key), llmd)),
        nodes=store.all(NODE),
        resource_slices=store.all(RESOURCE_SLICE),
        records=tuple(
            record
            for record in store.all(TUNING_RECORD)
            if record["metadata"]["namespace"] == namespace
        ),
        capabilities=capabilities,
        fleet=fleet,
        runtime=runtime or {},
    )


def owned(children: Iterable[Object], owner: Object) -> Iterable[Object]:
    """Those that this very object controls, and orphans that carry our label.

    What belongs to a former LLMDeployment of the same name is waiting for garbage collection.
    """
    uid = owner["metadata"]["uid"]
    return (obj for obj in children if controller_uid(obj) in (uid, None))


def _claim_template_names(deployment: Object | None) -> frozenset[str]:
    if deployment is None:
        return frozenset()
    claims = deployment["spec"]["template"]["spec"].get("resourceClaims", ())
    return frozenset(claim.get("resourceClaimTemplateName", "") for claim in claims)


def controller_uid(obj: Object) -> str | None:
    """UID of the controlling owner, if there is one."""
    for reference in obj["metadata"].get("ownerReferences", ()):
        if reference.get("controller"):
            return str(reference["uid"])
    return None
