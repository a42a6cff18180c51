"""What Events about pods make of a status: a reason that is named, and never an argument."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.decide.world import World, rolled, running

from xpullm.controller.decide_silence import kept, placed
from xpullm.controller.timestamps import rfc3339

SECRET = 'MountVolume.SetUp failed for volume "token" : secret "hf-token" not found'
FOLLOWS = (
    "Unable to attach or mount volumes: unmounted volumes=[token], unattached volumes=[], failed to"
    " process volumes=[]: timed out waiting for the condition"
)
MULTI = 'Multi-Attach error for volume "pvc-1" Volume is already used by pod(s) old'
SANDBOX = "Failed to create pod sandbox: rpc error: code = Unknown desc = plugin failed (add)"


def stuck(**spec: Any) -> World:
    """Rolled out; the pod has its node, and its container is being created."""
    world = rolled(**spec)
    world.pods[0]["status"] = {
        "phase": "Pending",
        "conditions": [
            {
                "type": "PodScheduled",
                "status": "True",
                "lastTransitionTime": rfc3339(world.now),
            }
        ],
        "containerStatuses": [
            {
                "name": "engine",
                "restartCount": 0,
                "state": {"waiting": {"reason": "ContainerCreating"}},
            }
        ],
    }
    return world


def tell(world: World, reason: str, note: str, kind: str = "Warning") -> None:
    """One more Event about the first pod, now."""
    item = {
        "metadata": {"name": f"e{len(world.of_pods)}"},
        "regarding": {"uid": world.pods[0]["metadata"]["uid"]},
        "type": kind,
        "reason": reason,
        "note": note,
        "eventTime": rfc3339(world.now),
    }
    world.of_pods += [dict(event) for event in kept([item], world.pods[0]["metadata"]["uid"])]
    world.now += 1


def arguments(world: World) -> Any:
    return world.deployment["spec"]["template"]


def test_a_secret_that_is_missing_is_named_and_a_person_must_act() -> None:
    world = stuck()
    before = arguments(world)
    tell(world, "Scheduled", "Successfully assigned default/pod-1 to node-a", "Normal")
    tell(world, "FailedMount", SECRET)
    world.now += 40
    world.settle()
    assert world.condition("Stalled") == ("True", "NotHealable")
    assert f"FailedMount: {SECRET}" in world.message()
    assert "bad_pod_spec in phase starting on node node-a" in world.message()
    assert world.llmd["status"]["healing"]["lastCause"] == "bad_pod_spec"
    assert arguments(world) == before


def test_the_secret_comes_and_nothing_is_left_of_the_complaint() -> None:
    world = stuck()
    tell(world, "FailedMount", SECRET)
    world.settle()
    tell(world, "Pulling", 'Pulling image "engine:1"', "Normal")
    world.now += 60
    world.settle()
    assert world.condition("Stalled") is None
    assert world.condition("Ready") == ("False", "Starting")
    assert 'has not started: Pulling: Pulling image "engine:1"' in world.message()
    world.of_pods = []
    world.pods[0]["status"]["conditions"] = []
    world.serve()
    world.settle()
    assert world.condition("Ready") == ("True", "ReplicasReady")


@pytest.mark.parametrize(
    ("reason", "note"), [("FailedAttachVolume", MULTI), ("FailedCreatePodSandBox", SANDBOX)]
)
def test_what_has_no_name_among_causes_is_told_while_kubernetes_goes_on_trying(
    reason: str, note: str
) -> None:
    world = stuck()
    since = rfc3339(world.now)
    tell(world, reason, note)
    world.now += 40
    world.settle()
    assert world.condition("Ready") == ("False", "Starting")
    assert world.condition("Stalled") is None
    assert world.condition("Reconciling") == ("True", "Starting")
    told = f"; pod pod-1 is on node node-a since {since} and has not started: {reason}: {note}"
    assert world.message() == f"the engines of plan {world.plan_hash()} start{told}"


@pytest.mark.parametrize("order", [(SECRET, FOLLOWS), (FOLLOWS, SECRET)])
def test_a_cause_comes_before_its_follow_on_whichever_was_told_last(order: tuple[str, str]) -> None:
    world = stuck()
    for note in order:
        tell(world, "FailedMount", note)
    world.settle()
    assert SECRET in world.message()


def test_a_reason_comes_before_its_follow_on_too() -> None:
    world = stuck()
    tell(world, "FailedAttachVolume", MULTI)
    tell(world, "FailedMount", FOLLOWS)
    world.now += 40
    world.settle()
    assert f"FailedAttachVolume: {MULTI}" in world.message()


def test_a_delay_without_any_event_is_told_after_ten_minutes() -> None:
    world = stuck()
    since = rfc3339(world.now)
    world.now += 590
    world.settle()
    assert world.message() == f"the engines of plan {world.plan_hash()} start"
    world.now += 10
    world.settle()
    late = f"pod pod-1 is on node node-a since {since} and has not started, and no Event says why"
    assert late in world.message()


def test_the_message_does_not_change_while_nothing_else_does() -> None:
    world = stuck()
    tell(world, "FailedCreatePodSandBox", SANDBOX)
    world.now += 40
    world.settle()
    world.now += 7200
    assert world.settle() == []


def test_one_replica_that_does_not_start_beside_another_that_serves() -> None:
    world = running(replicas=2)
    world.pods[1]["status"] = stuck().pods[0]["status"]
    world.count()
    world.now += 600
    world.settle()
    assert "1 of 2 replicas serve; pod pod-2 is on node node-a since" in world.message()


def test_a_running_engine_is_not_late_however_long_it_loads() -> None:
    world = stuck()
    world.pods[0]["status"]["containerStatuses"][0]["state"] = {"running": {}}
    world.now += 7200
    world.settle()
    assert world.message() == f"the engines of plan {world.plan_hash()} start"


# -- killed without a word ------------------------------------------------------------------------


def killed(world: World) -> None:
    """As the kubelet does it: first it says so, then the container ends."""
    world.now += 30
    world.fail(exitCode=137, reason="Error", startedAt=rfc3339(world.now - 40))


def test_a_kill_by_the_startup_probe_raises_the_deadline() -> None:
    world = rolled()
    tell(world, "Killing", "Container engine failed startup probe, will be restarted", "Normal")
    world.fail(exitCode=137, reason="Error")
    world.settle()
    last = world.llmd["status"]["healing"]["history"][-1]
    assert last["cause"] == "startup_killed"
    assert "deadline" in last["argument"]


def test_a_kill_by_the_liveness_probe_is_a_hang_and_no_matter_of_the_deadline() -> None:
    world = running()
    tell(world, "Killing", "Container engine failed liveness probe, will be restarted", "Normal")
    before = arguments(world)
    killed(world)
    world.settle()
    assert world.llmd["status"]["healing"]["lastCause"] == "engine_hang"
    assert arguments(world) == before


def test_a_kill_of_an_earlier_run_explains_nothing() -> None:
    world = rolled()
    tell(world, "Killing", "Container engine failed startup probe, will be restarted", "Normal")
    world.now += 3600
    killed(world)
    world.settle()
    assert world.llmd["status"]["healing"]["lastCause"] == "unknown"


# -- hostile texts --------------------------------------------------------------------------------

OOM = "XPU out of memory. Tried to allocate 130.00 MiB (GPU 0; 15.11 GiB total capacity)"
NO_MEMORY = "ValueError: No available memory for the cache blocks. Try increasing"


@pytest.mark.parametrize("reason", ["FailedMount", "Killing", "Unhealthy", "OOMKilled", ""])
@pytest.mark.parametrize("note", [OOM, NO_MEMORY, "torch.OutOfMemoryError: " + OOM])
@pytest.mark.parametrize("ends", [False, True])
def test_no_event_changes_a_pod_template_by_what_an_engine_might_have_said(
    reason: str, note: str, ends: bool
) -> None:
    world = stuck()
    before = arguments(world)
    for _ in range(3):
        tell(world, reason, note)
        if ends:
            world.fail(exitCode=137, reason="Error")
        world.now += 60
        world.settle()
    assert arguments(world) == before
    assert world.attempt() == 0
    cause = world.llmd["status"].get("healing", {}).get("lastCause")
    assert cause == ("unknown" if ends else None)


# -- the listing ----------------------------------------------------------------------------------


def event(number: int, **more: Any) -> dict[str, Any]:
    time = rfc3339(1_700_000_000 + number)
    return {
        "metadata": {"name": f"e{number}"},
        "regarding": {"uid": "u"},
        "reason": f"R{number}",
        "type": "Normal",
        "note": "n",
        "deprecatedLastTimestamp": time,
        **more,
    }


def test_the_last_twenty_are_kept_by_the_time_when_they_were_seen_last() -> None:
    again = event(0, series={"lastObservedTime": "2030-01-01T00:00:00.123456Z"})
    found = kept([*(event(number) for number in range(1, 99)), again], "u")
    assert [item["reason"] for item in found] == [f"R{number}" for number in range(80, 99)] + ["R0"]
    assert found[-1]["eventTime"] == "2030-01-01T00:00:00Z"


def test_texts_are_bounded_and_printable() -> None:
    (item,) = kept([event(1, note="\x1b[31m" + "x" * 10**6, reason="r" * 500)], "u")
    assert (len(item["note"]), len(item["reason"])) == (1024, 128)
    assert item["note"].isprintable()


def test_the_id_of_a_sandbox_is_no_news() -> None:
    notes = {
        kept([event(1, note=f'network for sandbox "{digit * 64}": no address')], "u")[0]["note"]
        for digit in "ab"
    }
    assert notes == {'network for sandbox "…": no address'}


@pytest.mark.parametrize(
    "rubbish",
    [{}, {"regarding": "u"}, event(1, regarding={"uid": "other"}), {"regarding": {"uid": "u"}}],
)
def test_what_is_no_event_about_the_pod_is_dropped(rubbish: dict[str, Any]) -> None:
    assert kept([rubbish], "u") == ()


def test_without_the_schedulers_time_a_pods_own_counts() -> None:
    pod = stuck().pods[0]
    del pod["status"]["conditions"][0]["lastTransitionTime"]
    pod["metadata"]["creationTimestamp"] = "2026-01-01T00:00:00Z"
    assert placed(pod) == 1767225600.0


@pytest.mark.parametrize("status", [None, [], "x", {"containerStatuses": "x"}])
def test_rubbish_is_not_late(status: Any) -> None:
    assert placed({"metadata": {}, "spec": {"nodeName": "n"}, "status": status}) is None
