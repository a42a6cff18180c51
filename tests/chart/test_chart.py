"""What a user of the chart is promised."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from xpullm.resources.names import labels
from xpullm_runtime.config import RUNTIME_PORT

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "xpullm"
Helm = Callable[..., subprocess.CompletedProcess[str]]
Render = Callable[..., list[dict[str, Any]]]

EVERYTHING = (
    "networkPolicy.enabled=true",
    "metrics.podMonitor=true",
    "replicaCount=2",
    "watchNamespaces={team-a,team-b}",
    "priorityClassName=system-cluster-critical",
)


def of_kind(objects: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [o for o in objects if o["kind"] == kind]


def operator(objects: list[dict[str, Any]]) -> dict[str, Any]:
    (deployment,) = of_kind(objects, "Deployment")
    return deployment["spec"]["template"]["spec"]


def rules(objects: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for kind in ("ClusterRole", "Role"):
        for role in of_kind(objects, kind):
            yield from role["rules"]


def test_lint_finds_nothing(helm: Helm) -> None:
    done = helm("lint", "--strict", str(CHART))
    assert done.returncode == 0, done.stdout


def test_an_unknown_value_is_refused(helm: Helm) -> None:
    done = helm("template", "x", str(CHART), "--set", "image.repositry=x")
    assert done.returncode != 0
    assert "repositry" in done.stderr


def test_two_operators_need_leader_election(helm: Helm) -> None:
    sets = ["--set", "replicaCount=2", "--set", "leaderElection.enabled=false"]
    done = helm("template", "x", str(CHART), *sets)
    assert done.returncode != 0
    assert "leaderElection.enabled" in done.stderr


@pytest.mark.parametrize(
    ("setting", "said"),
    [("metrics.port=8081", "metrics.port and probes.port must differ"), ("image.tag=a b", "tag")],
)
def test_what_could_not_run_is_refused(helm: Helm, setting: str, said: str) -> None:
    done = helm("template", "x", str(CHART), "--set", setting)
    assert done.returncode != 0
    assert said in done.stderr


@pytest.mark.parametrize("settings", [(), EVERYTHING])
def test_no_wildcards_secrets_logs_or_exec(render: Render, settings: tuple[str, ...]) -> None:
    found = list(rules(render(*settings)))
    assert found
    for rule in found:
        assert "*" not in rule["apiGroups"] + rule["resources"] + rule["verbs"]
        forbidden = {"secrets", "pods/log", "pods/exec", "serviceaccounts/token"}
        assert not forbidden & set(rule["resources"])
        assert not {"escalate", "bind", "impersonate"} & set(rule["verbs"])


def test_nothing_is_added_to_the_role_view(render: Render) -> None:
    for role in of_kind(render(), "ClusterRole"):
        assert "rbac.authorization.k8s.io/aggregate-to-view" not in role["metadata"]["labels"]


def test_the_operator_is_restricted(render: Render) -> None:
    pod = operator(render())
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    (container,) = pod["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_watching_some_namespaces_gives_roles_there_and_none_cluster_wide(render: Render) -> None:
    objects = render("watchNamespaces={team-a,team-b}")
    roles = {r["metadata"]["namespace"] for r in of_kind(objects, "Role")}
    assert roles == {"team-a", "team-b", "xpullm-system", "default"}  # Events about nodes
    (cluster_wide,) = (
        r for r in of_kind(objects, "ClusterRole") if not r["metadata"]["name"].endswith("-edit")
    )
    named = {resource for rule in cluster_wide["rules"] for resource in rule["resources"]}
    assert named == {"nodes", "resourceslices", "deviceclasses"}
    environment = {e["name"]: e["value"] for e in operator(objects)["containers"][0]["env"]}
    assert environment["XPULLM_NAMESPACES"] == "team-a,team-b"


def test_every_setting_of_the_pod_exists(render: Render) -> None:
    from xpullm.controller.settings import parse

    environment = {e["name"]: e["value"] for e in operator(render())["containers"][0]["env"]}
    settings = parse([], environment)
    for name in environment:
        assert hasattr(settings, name.removeprefix("XPULLM_").lower()), name
    assert settings.runtime_image == "xpullm/xpullm:0.1.0"


def test_the_image_can_be_pinned_by_digest(render: Render) -> None:
    digest = "sha256:" + "0" * 64
    image = operator(render(f"image.digest={digest}"))["containers"][0]["image"]
    assert image == f"xpullm/xpullm@{digest}"


def crds(objects: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {o["metadata"]["name"]: o for o in of_kind(objects, "CustomResourceDefinition")}


def test_the_charts_crds_are_those_of_the_repository(render: Render) -> None:
    ours = {}
    for path in (ROOT / "crds").glob("*.yaml"):
        crd = yaml.safe_load(path.read_text())
        ours[crd["metadata"]["name"]] = crd
    assert len(ours) == 2
    rendered = crds(render("crds.keep=false"))
    assert rendered == ours


def test_crds_are_kept_on_uninstall_unless_told_otherwise(render: Render) -> None:
    for crd in crds(render()).values():
        assert crd["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
    for crd in crds(render("crds.keep=false")).values():
        assert "helm.sh/resource-policy" not in crd["metadata"].get("annotations", {})
    assert crds(render("crds.enabled=false")) == {}


def test_the_network_policy_lets_the_operator_ask_the_supervisors(render: Render) -> None:
    (policy,) = of_kind(render("networkPolicy.enabled=true"), "NetworkPolicy")
    (to_engines,) = (rule for rule in policy["spec"]["egress"] if "to" in rule)
    assert to_engines["ports"] == [{"protocol": "TCP", "port": RUNTIME_PORT}]
    (peer,) = to_engines["to"]
    assert peer["namespaceSelector"] == {}
    assert peer["podSelector"]["matchLabels"].items() <= labels("any").items()


def test_everything_on_renders(render: Render) -> None:
    kinds = {o["kind"] for o in render(*EVERYTHING)}
    assert {"NetworkPolicy", "PodMonitor", "PodDisruptionBudget", "RoleBinding"} <= kinds
