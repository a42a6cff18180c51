"""Values: what is refused, what is used, what is documented."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import pytest
import yaml
from hack.generate.helm_doc import comments, helm_reference, leaves
from tests.chart.test_chart import CHART, ROOT, Helm, of_kind, operator

from xpullm.controller.settings import Settings, parse
from xpullm.resources.settings import PodSettings
from xpullm_runtime import __version__

VALUES = yaml.safe_load((CHART / "values.yaml").read_text())
SCHEMA = json.loads((CHART / "values.schema.json").read_text())
Object = dict[str, Any]
RenderValues = Callable[[Object], list[Object]]

# Where the content is Kubernetes' own, or names are free.
FREE = {
    "global",
    "serviceAccount.annotations",
    "resources.limits",
    "resources.requests",
    "nodeSelector",
    "podAnnotations",
    "podLabels",
    "affinity.nodeAffinity",
    "affinity.podAffinity",
    "affinity.podAntiAffinity",
    "topologySpreadConstraints[].labelSelector",
    "extraEnv[].valueFrom",
}


@pytest.fixture
def render_values(helm: Helm, tmp_path: Path) -> RenderValues:
    def objects(values: Object) -> list[Object]:
        file = tmp_path / "values.json"
        file.write_text(json.dumps(values))
        done = helm("template", "xpullm", str(CHART), "-n", "xpullm-system", "-f", str(file))
        assert done.returncode == 0, done.stderr
        return [document for document in yaml.safe_load_all(done.stdout) if document]

    return objects


def maps(schema: Object, path: str = "") -> Iterator[tuple[str, Object]]:
    """Every map in the schema: (path, schema)."""
    if schema.get("type") == "object":
        yield path, schema
    for name, field in schema.get("properties", {}).items():
        yield from maps(field, f"{path}.{name}".lstrip("."))
    if "items" in schema:
        yield from maps(schema["items"], f"{path}[]")


def test_every_map_refuses_unknown_keys_but_those_that_are_not_ours() -> None:
    free = {
        path for path, schema in maps(SCHEMA) if schema.get("additionalProperties") is not False
    }
    assert free == FREE


def nested(path: str) -> Object:
    """Values with an unknown key at a path of the schema."""
    inner: Any = {"unknown": 1}
    for name in reversed(path.split(".") if path else []):
        inner = {name.removesuffix("[]"): [inner] if name.endswith("[]") else inner}
    assert isinstance(inner, dict)
    return inner


@pytest.mark.parametrize("path", [path for path, _ in maps(SCHEMA) if path not in FREE])
def test_an_unknown_key_is_refused_at(path: str, helm: Helm, tmp_path: Path) -> None:
    file = tmp_path / "values.json"
    file.write_text(json.dumps(nested(path)))
    done = helm("template", "x", str(CHART), "-f", str(file))
    assert done.returncode != 0
    assert "'unknown' not allowed" in done.stderr


def test_the_schema_knows_exactly_the_values_that_there_are() -> None:
    known = {path for path, _ in leaves(VALUES, comments((CHART / "values.yaml").read_text()))}
    assert known == set(_leaves(SCHEMA)) - {"global"}


def _leaves(schema: Object, path: str = "") -> Iterator[str]:
    for name, field in schema["properties"].items():
        here = f"{path}.{name}".lstrip(".")
        if field.get("type") == "object" and "properties" in field and name in _GROUPS:
            yield from _leaves(field, here)
        else:
            yield here


_GROUPS = {
    "image", "crds", "leaderElection", "logging", "metrics", "probes", "serviceAccount",
    "networkPolicy",
}  # fmt: skip


def test_every_value_is_documented() -> None:
    assert (ROOT / "docs" / "helm.md").read_text() == helm_reference()


def test_a_value_without_a_comment_has_no_meaning() -> None:
    text = "# One.\na: 1\n\nb:\n  # Two,\n  # lines.\n  c: 2\n  d: 3\n"
    assert comments(text) == {"a": "One.", "b": "", "b.c": "Two, lines.", "b.d": ""}


def test_the_charts_defaults_are_the_programs(render_values: RenderValues) -> None:
    """But for what the pod knows (names of Lease and image) and the form of logs."""
    environment = {
        e["name"]: e["value"] for e in operator(render_values({}))["containers"][0]["env"]
    }
    chosen, own = asdict(parse([], environment)), asdict(Settings())
    different = {f.name for f in fields(Settings) if chosen[f.name] != own[f.name]}
    assert different == {
        "lease_name", "lease_namespace", "log_format", "render_groups", "runtime_image",
    }  # fmt: skip
    pods = PodSettings()
    assert chosen["runtime_image"] == pods.runtime_image
    assert sorted(map(int, chosen["render_groups"])) == list(pods.supplemental_groups)


def test_there_is_one_version() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert (chart["version"], chart["appVersion"]) == (__version__, __version__)


POD: Object = {
    "tolerations": [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}],
    "nodeSelector": {"kubernetes.io/os": "linux"},
    "affinity": {
        "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [
                    {"matchExpressions": [{"key": "control-plane", "operator": "Exists"}]}
                ]
            }
        }
    },
    "topologySpreadConstraints": [
        {
            "maxSkew": 1,
            "topologyKey": "kubernetes.io/hostname",
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": {"team": "a"}},
        }
    ],
    "imagePullSecrets": [{"name": "registry"}],
    "priorityClassName": "system-cluster-critical",
    "hostNetwork": True,
}


def test_fields_of_the_pod_are_used_as_they_are(render_values: RenderValues) -> None:
    pod = operator(render_values(POD))
    assert {name: pod[name] for name in POD} == POD
    without = operator(render_values({}))
    assert not set(POD) & set(without)


def test_a_spread_without_a_selector_counts_the_operators_own_pods(
    render_values: RenderValues,
) -> None:
    (given,) = POD["topologySpreadConstraints"]
    objects = render_values(
        {"topologySpreadConstraints": [{k: v for k, v in given.items() if k != "labelSelector"}]}
    )
    (deployment,) = of_kind(objects, "Deployment")
    (spread,) = operator(objects)["topologySpreadConstraints"]
    assert spread == given | {"labelSelector": deployment["spec"]["selector"]}


def test_fields_of_the_container_are_used_as_they_are(render_values: RenderValues) -> None:
    proxy = {"name": "HTTPS_PROXY", "value": "http://proxy.example:3128"}
    secret = {"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}
    resources = {"requests": {"cpu": "1"}, "limits": {"memory": "1Gi"}}
    objects = render_values(
        {
            "extraEnv": [proxy, secret],
            "resources": resources,
            "image": {"pullPolicy": "Always"},
            "podLabels": {"team": "a"},
            "podAnnotations": {"note": "b"},
        }
    )
    (container,) = operator(objects)["containers"]
    assert container["env"][-2:] == [proxy, secret]
    assert container["resources"]["limits"] == resources["limits"]
    assert container["resources"]["requests"] == {"cpu": "1", "memory": "192Mi"}
    assert container["imagePullPolicy"] == "Always"
    (deployment,) = of_kind(objects, "Deployment")
    metadata = deployment["spec"]["template"]["metadata"]
    assert metadata["labels"]["team"] == "a"
    assert metadata["annotations"] == {"note": "b"}


def test_the_ports_are_those_of_the_program(render_values: RenderValues) -> None:
    objects = render_values({"metrics": {"port": 9000}, "probes": {"port": 9001}})
    (container,) = operator(objects)["containers"]
    settings = parse([], {e["name"]: e["value"] for e in container["env"]})
    assert (settings.metrics_port, settings.probe_port) == (9000, 9001)
    assert {p["name"]: p["containerPort"] for p in container["ports"]} == {
        "metrics": 9000,
        "probes": 9001,
    }


def test_a_service_account_of_ones_own_name_is_bound(render_values: RenderValues) -> None:
    objects = render_values({"serviceAccount": {"name": "mine"}, "watchNamespaces": ["a"]})
    assert operator(objects)["serviceAccountName"] == "mine"
    bindings = of_kind(objects, "RoleBinding") + of_kind(objects, "ClusterRoleBinding")
    assert {s["name"] for b in bindings for s in b["subjects"]} == {"mine"}
