"""Decisions are written in order, once, and only what differs."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from tests.unit.controller import world
from tests.unit.controller.double import ApiDouble
from tests.unit.controller.virtual import run
from tests.unit.controller.world import Operator

from xpullm.controller.canonical import APPLIED_HASH
from xpullm.controller.errors import ConflictError, ForbiddenError, RejectedError
from xpullm.controller.kinds import DEPLOYMENT, POD
from xpullm.controller.types import Decision
from xpullm.resources import names


def healthy() -> ApiDouble:
    api = ApiDouble()
    api.add(world.llmd())
    return api


def test_a_new_resource_is_children_then_status() -> None:
    async def scenario() -> ApiDouble:
        api = healthy()
        await Operator(api).settle()
        return api

    assert run(scenario()).writes == [
        "apply deployments m",
        "apply services m",
        "apply llmdeployments/status m",
    ]


def test_a_failure_is_deployment_then_event_then_record_then_status() -> None:
    async def scenario() -> list[str]:
        api = healthy()
        await Operator(api).settle()
        api.add(world.pod(0, failed=True))
        api.writes.clear()
        await Operator(api).settle()
        return api.writes

    writes = run(scenario())
    assert writes[0] == "apply deployments m"
    assert writes[1].startswith("create events m.")
    assert writes[2:] == [
        "create tuningrecords r",
        "apply tuningrecords/status r",
        "apply llmdeployments/status m",
    ]


def test_a_restart_writes_nothing() -> None:
    async def scenario() -> list[str]:
        api = healthy()
        api.add(world.pod(0, failed=True))
        await Operator(api).settle()
        api.writes.clear()
        await Operator(api, now=2e9).settle()
        return api.writes

    assert run(scenario()) == []


def test_drift_of_our_leaves_is_repaired_and_others_are_left() -> None:
    async def scenario() -> dict[str, Any]:
        api = healthy()
        await Operator(api).settle()
        live = copy.deepcopy(api.objects["deployments", "ns", "m"])
        live["spec"]["template"]["spec"]["containers"][0]["image"] = "other:1"
        live["metadata"]["annotations"]["note"] = "of somebody"
        api.add(live)
        await Operator(api).settle()
        return api.objects["deployments", "ns", "m"]

    live = run(scenario())
    assert live["spec"]["template"]["spec"]["containers"][0]["image"] == "engine:1"
    assert live["metadata"]["annotations"]["note"] == "of somebody"


def test_a_field_that_is_no_longer_wanted_is_removed() -> None:
    def narrow(snapshot: Any, now: float) -> Decision:
        decided = world.decide(snapshot, now)
        deployment = copy.deepcopy(decided.apply[0])
        del deployment["spec"]["template"]["spec"]["containers"][0]["args"]
        return Decision(apply=(deployment,), status=decided.status)

    async def scenario() -> dict[str, Any]:
        api = healthy()
        await Operator(api).settle()
        await Operator(api, narrow).settle()
        return api.objects["deployments", "ns", "m"]

    container = run(scenario())["spec"]["template"]["spec"]["containers"][0]
    assert container == {"name": "engine", "image": "engine:1"}


def test_a_deployment_that_changed_meanwhile_is_decided_on_again() -> None:
    """A former leader's late decision must not undo a step."""

    async def scenario() -> tuple[str, str]:
        api = healthy()
        await Operator(api).settle()
        late = Operator(api)
        await late.resync.prime()
        api.add(world.pod(0, failed=True))
        await Operator(api).settle()  # the new leader takes a step

        def stale(snapshot: Any, now: float) -> Decision:
            owner = snapshot.llmd
            changed = world.deployment(owner, 0)
            changed["spec"]["replicas"] = 5
            return Decision(apply=(changed,))

        late.reconciler._decide = stale
        with pytest.raises(ConflictError):
            await late.reconciler.reconcile(world.KEY)
        seen = late.store.get(DEPLOYMENT, "ns", "m") or {}
        return attempt(api.objects["deployments", "ns", "m"]), attempt(seen)

    assert run(scenario()) == ("1", "1")


def test_a_deployment_that_lost_our_label_keeps_its_steps() -> None:
    """A watch by label calls it deleted, and no listing has it."""

    async def scenario() -> dict[str, Any]:
        api = healthy()
        api.add(world.pod(0, failed=True))
        operator = Operator(api)
        await operator.settle()
        del api.objects["pods", "ns", "m-0"]
        live = copy.deepcopy(api.objects["deployments", "ns", "m"])
        assert attempt(live) == "1"
        live["metadata"]["labels"] = {}
        api.add(live)
        gone = api.objects["deployments", "ns", "m"]
        for pod in operator.store.all(POD):
            operator.store.remove(POD, pod)
        operator.store.remove(DEPLOYMENT, gone)
        operator.queue.add(world.KEY)
        with pytest.raises(ConflictError, match="exists already"):
            await operator.settle()
        await operator.settle()
        return api.objects["deployments", "ns", "m"]

    live = run(scenario())
    assert attempt(live) == "1"
    assert live["metadata"]["labels"][names.LABEL_DEPLOYMENT] == "m"


def attempt(deployment: Any) -> str:
    return str(deployment["metadata"]["annotations"]["xpullm.io/attempt"])


def test_an_object_of_somebody_else_is_left_alone_and_reported() -> None:
    async def scenario() -> tuple[ApiDouble, dict[str, Any]]:
        api = healthy()
        foreign = world.deployment(world.llmd(), 0)
        foreign["metadata"] = {"namespace": "ns", "name": "m"}
        foreign["spec"]["replicas"] = 7
        api.add(foreign)
        await Operator(api).settle()
        status: dict[str, Any] = api.objects["llmdeployments", "ns", "m"]["status"]
        return api, status

    api, status = run(scenario())
    assert api.objects["deployments", "ns", "m"]["spec"]["replicas"] == 7
    assert [(c["type"], c["status"], c["reason"]) for c in status["conditions"]] == [
        ("Ready", "False", "NameConflict"),
        ("Stalled", "True", "NameConflict"),
    ]
    assert "Deployment ns/m exists" in status["conditions"][0]["message"]


def test_an_orphan_with_our_label_is_taken_back() -> None:
    async def scenario() -> dict[str, Any]:
        api = healthy()
        orphan = world.deployment(world.llmd(), 0)
        del orphan["metadata"]["ownerReferences"]
        api.add(orphan)
        await Operator(api).settle()
        metadata: dict[str, Any] = api.objects["deployments", "ns", "m"]["metadata"]
        return metadata

    assert run(scenario())["ownerReferences"][0]["uid"] == "uid-m"


def test_the_child_of_a_former_resource_of_this_name_is_waited_for() -> None:
    async def scenario() -> ApiDouble:
        api = healthy()
        former = world.llmd()
        former["metadata"]["uid"] = "uid-former"
        api.add(world.deployment(former, 0))
        with pytest.raises(ConflictError, match="being deleted"):
            await Operator(api).settle()
        return api

    assert run(scenario()).writes == []


@pytest.mark.parametrize(
    ("error", "condition"),
    [
        (RejectedError(422, "Invalid", "spec.x: no"), ("Stalled", "True", "InvalidSpec")),
        (ForbiddenError(403, "Forbidden", "quota"), ("Reconciling", "True", "Retrying")),
    ],
)
def test_a_refusal_reaches_status_once(
    error: RejectedError, condition: tuple[str, str, str]
) -> None:
    async def scenario() -> tuple[list[str], list[dict[str, Any]]]:
        api = healthy()
        api.refuse["deployments"] = error
        await Operator(api).settle()
        await Operator(api, now=2e9).settle()
        return api.writes, api.objects["llmdeployments", "ns", "m"]["status"]["conditions"]

    writes, conditions = run(scenario())
    assert writes == ["apply llmdeployments/status m"]
    shown = {c["type"]: (c["type"], c["status"], c["reason"]) for c in conditions}
    assert shown["Ready"] == ("Ready", "False", condition[2])
    assert condition in shown.values()
    assert conditions[0]["message"] == error.message


def test_a_refused_event_does_not_stop_the_work() -> None:
    async def scenario() -> list[str]:
        api = healthy()
        await Operator(api).settle()
        api.add(world.pod(0, failed=True))
        api.refuse["events"] = ForbiddenError(403, "Forbidden", "quota")
        api.writes.clear()
        await Operator(api).settle()
        return api.writes

    assert "apply deployments m" in run(scenario())


def test_a_refused_record_does_not_stop_the_work() -> None:
    async def scenario() -> list[str]:
        api = healthy()
        await Operator(api).settle()
        api.add(world.pod(0, failed=True))
        api.refuse["tuningrecords"] = ForbiddenError(403, "Forbidden", "quota")
        api.writes.clear()
        await Operator(api).settle()
        return api.writes

    first, event, last = run(scenario())
    assert (first, last) == ("apply deployments m", "apply llmdeployments/status m")
    assert event.startswith("create events m.")


def test_what_is_being_deleted_is_left_to_garbage_collection() -> None:
    async def scenario() -> list[str]:
        api = ApiDouble()
        going = world.llmd()
        going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
        api.add(going)
        await Operator(api).settle()
        return api.writes

    assert run(scenario()) == []


def test_deletion_names_the_very_object() -> None:
    def prune(snapshot: Any, now: float) -> Decision:
        if snapshot.service is None:
            return Decision()
        return Decision(delete=(("v1", "Service", "m", snapshot.service["metadata"]["uid"]),))

    async def scenario() -> tuple[bool, bool]:
        api = healthy()
        await Operator(api).settle()
        pruner = Operator(api, prune)
        await pruner.resync.prime()
        api.objects["services", "ns", "m"]["metadata"]["uid"] = "another"
        with pytest.raises(ConflictError):
            await pruner.settle()
        kept = ("services", "ns", "m") in api.objects
        await Operator(api, prune).settle()
        return kept, ("services", "ns", "m") in api.objects

    assert run(scenario()) == (True, False)


def test_a_job_is_created_and_never_written_again() -> None:
    def decide(snapshot: Any, now: float) -> Decision:
        owner = snapshot.llmd
        metadata = names.metadata(owner, "m-inspect")
        spec = {"backoffLimit": int(now) % 7}
        job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec}
        return Decision(apply=(job,))

    async def scenario() -> list[str]:
        api = healthy()
        await Operator(api, decide, now=1.0).settle()
        await Operator(api, decide, now=2.0).settle()
        return api.writes

    assert run(scenario()) == ["apply jobs m-inspect"]


def test_every_child_carries_the_hash_of_what_was_applied() -> None:
    async def scenario() -> list[str]:
        api = healthy()
        await Operator(api).settle()
        return [
            obj["metadata"].get("annotations", {}).get(APPLIED_HASH, "")
            for (plural, _, _), obj in api.objects.items()
            if plural != "llmdeployments"
        ]

    hashes = run(scenario())
    assert [len(value) for value in hashes] == [16, 16]
