"""What runs equals what is wanted if every leaf that we set has our value."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xpullm.controller.apply import unchanged
from xpullm.controller.canonical import applied_hash, holds, with_hash

WANTED: dict[str, Any] = {
    "metadata": {"name": "m", "labels": {"a": "b"}},
    "spec": {
        "replicas": 2,
        "template": {
            "spec": {
                "containers": [
                    {
                        "name": "engine",
                        "args": ["--port", "8000"],
                        "env": [{"name": "A", "value": "1"}],
                        "ports": [{"name": "http", "containerPort": 8000}],
                        "resources": {"limits": {"memory": "1024Mi", "cpu": "1000m"}},
                        "volumeMounts": [{"name": "shm", "mountPath": "/dev/shm"}],
                    }
                ],
                "volumes": [{"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "1Gi"}}],
            }
        },
    },
}


def as_stored() -> dict[str, Any]:
    """With what the API server and other managers add."""
    live = copy.deepcopy(WANTED)
    live["metadata"] |= {"uid": "u", "resourceVersion": "7", "annotations": {"x": "y"}}
    live["spec"]["strategy"] = {"type": "RollingUpdate"}
    pod = live["spec"]["template"]["spec"]
    engine = pod["containers"][0]
    engine["imagePullPolicy"] = "IfNotPresent"
    engine["ports"][0]["protocol"] = "TCP"
    engine["resources"]["limits"] = {"memory": "1Gi", "cpu": "1", "gpu.intel.com/i915": "1"}
    engine["env"].insert(0, {"name": "INJECTED", "value": "x"})
    engine["volumeMounts"].insert(0, {"name": "token", "mountPath": "/var/run/token"})
    pod["containers"].insert(0, {"name": "sidecar", "image": "mesh"})
    pod["volumes"].append({"name": "token", "projected": {}})
    return live


def test_defaults_quantities_and_injected_items_are_no_difference() -> None:
    assert holds(WANTED, as_stored())


def _set(path: list[Any], value: Any) -> Any:
    live = as_stored()
    at: Any = live
    for step in path[:-1]:
        at = at[step]
    at[path[-1]] = value
    return live


CONTAINER = ["spec", "template", "spec", "containers", 1]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["metadata", "labels"], {}),
        (["spec", "replicas"], 3),
        (["spec", "replicas"], True),
        ([*CONTAINER, "args"], ["--port", "8001"]),
        ([*CONTAINER, "args"], ["--port", "8000", "--eager"]),
        ([*CONTAINER, "args"], None),
        ([*CONTAINER, "env"], [{"name": "A", "value": "1000m"}]),
        ([*CONTAINER, "resources", "limits", "memory"], "2Gi"),
        ([*CONTAINER, "name"], "renamed"),
        ([*CONTAINER, "ports", 0, "containerPort"], 8001),
        (["spec", "template", "spec", "volumes", 0, "emptyDir", "sizeLimit"], "2Gi"),
        (["spec", "template"], None),
    ],
)
def test_a_leaf_of_ours_with_another_value_is_a_difference(path: list[Any], value: Any) -> None:
    assert not holds(WANTED, _set(path, value))


def test_an_empty_map_wants_a_map() -> None:
    assert holds({"emptyDir": {}}, {"emptyDir": {"medium": ""}})
    assert holds({"emptyDir": {}}, {})
    assert not holds({"emptyDir": {}}, {"emptyDir": "x"})


def test_ports_of_a_service_are_known_by_port() -> None:
    live = {"ports": [{"port": 9000}, {"port": 8000, "protocol": "TCP", "nodePort": 30000}]}
    assert holds({"ports": [{"port": 8000}]}, live)


def test_a_field_that_is_no_longer_wanted_is_told_by_the_hash() -> None:
    live = {
        **as_stored(),
    }
    live["metadata"]["annotations"] = with_hash(WANTED)["metadata"]["annotations"]
    assert unchanged(WANTED, live)
    without = copy.deepcopy(WANTED)
    del without["metadata"]["labels"]
    assert holds(without, live)
    assert not unchanged(without, live)


def test_the_hash_does_not_depend_on_the_order_of_keys() -> None:
    assert applied_hash({"a": 1, "b": 2}) == applied_hash({"b": 2, "a": 1})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=8,
)


@given(JSON)
def test_everything_holds_itself(value: Any) -> None:
    assert holds(value, value)
