"""The operator dies before or after each of its writes; a new process always ends the same way."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from tests.unit.controller import world
from tests.unit.controller.double import ApiDouble, Crash
from tests.unit.controller.virtual import run
from tests.unit.controller.world import Operator


async def fresh(scenario: str) -> ApiDouble:
    api = ApiDouble()
    api.add(world.llmd())
    if scenario == "failed":
        await settle(api)
        api.add(world.pod(0, failed=True))
        api.writes.clear()
        api.effective.clear()
    return api


async def settle(api: ApiDouble) -> None:
    await Operator(api).settle()


def normalised(api: ApiDouble) -> dict[Any, Any]:
    """The end state without identities and times."""
    state = copy.deepcopy(api.objects)
    for obj in state.values():
        for field in ("uid", "resourceVersion", "creationTimestamp", "generation"):
            obj["metadata"].pop(field, None)
        for reference in obj["metadata"].get("ownerReferences", ()):
            reference.pop("uid")
        obj.get("regarding", {}).pop("uid", None)
        obj.pop("eventTime", None)
    return state


async def _reference(scenario: str) -> ApiDouble:
    api = await fresh(scenario)
    await settle(api)
    return api


REFERENCE = {name: run(_reference(name)) for name in ("new", "failed")}
CASES = [
    (name, k, mode)
    for name, reference in REFERENCE.items()
    for k in range(1, len(reference.writes) + 1)
    for mode in ("before", "after")
]


def test_the_sweep_covers_every_kind_of_write() -> None:
    written = {w.split()[1] for reference in REFERENCE.values() for w in reference.writes}
    assert written == {
        "deployments",
        "services",
        "events",
        "tuningrecords",
        "tuningrecords/status",
        "llmdeployments/status",
    }


@pytest.mark.parametrize(("scenario", "k", "mode"), CASES)
def test_a_crash_at_any_write_changes_nothing_in_the_end(scenario: str, k: int, mode: str) -> None:
    async def live_and_die() -> ApiDouble:
        api = await fresh(scenario)
        api.crash = (k, mode)
        with pytest.raises(Crash):
            await settle(api)
        api.crash = None
        await settle(api)
        return api

    reference = REFERENCE[scenario]
    api = run(live_and_die())
    assert normalised(api) == normalised(reference)
    attempt = api.objects["deployments", "ns", "m"]["metadata"]["annotations"]["xpullm.io/attempt"]
    assert attempt == ("1" if scenario == "failed" else "0")  # never a second step
    assert api.effective == reference.effective
    events = [key for key in api.objects if key[0] == "events"]
    assert len(events) == (scenario == "failed")
