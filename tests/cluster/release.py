"""The chart installed for real: the operator is a pod on the real node, of the image's files."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from hack.cluster import Cluster
from hack.cluster.image import shared_libraries
from hack.containerfile import ROOT, Built
from tests.cluster.loop_world import give_cards

NAME, NAMESPACE = "xpullm", "xpullm-system"
REPOSITORY, TAG = "xpullm.local/xpullm", "built"
CHART = str(ROOT / "charts" / "xpullm")
RESTRICTED = "pod-security.kubernetes.io/enforce"
Object = dict[str, Any]
T = TypeVar("T")


def eventually(look: Callable[[], T | None], seconds: float = 60) -> T:
    """The first answer that is not None."""
    end = time.monotonic() + seconds
    while (found := look()) is None:
        assert time.monotonic() < end, f"nothing after {seconds:.0f} s"
        time.sleep(0.2)
    return found


class Release:
    """One release of the chart in a namespace that enforces restricted Pod Security."""

    def __init__(self, cluster: Cluster, host: str, port: int) -> None:
        self.cluster = cluster
        self._settings = {
            "image.repository": REPOSITORY,
            "image.tag": TAG,
            # The node has no /dev/dri.
            "extraEnv[0].name": "XPULLM_CHECK_DEVICES",
            "extraEnv[0].value": "false",
            # No kube-proxy runs: the API server's Service has no way behind it.
            "extraEnv[1].name": "KUBERNETES_SERVICE_HOST",
            "extraEnv[1].value": host,
            "extraEnv[2].name": "KUBERNETES_SERVICE_PORT",
            "extraEnv[2].value": str(port),
        }
        self._runs = False

    def ensure(self) -> None:
        """Installed, with a pod and for all namespaces; costs nothing where it is."""
        if not self._runs:
            self.upgrade()

    def install(self) -> None:
        """As a user does."""
        self._helm("install", {})

    def upgrade(self, **changes: str) -> None:
        """With other settings; `__` stands for a dot."""
        self._helm("upgrade", {k.replace("__", "."): v for k, v in changes.items()}, "--install")

    def uninstall(self) -> None:
        self.cluster.helm("uninstall", NAME, "-n", NAMESPACE, "--wait", "--ignore-not-found")
        self._runs = False

    def _helm(self, verb: str, changes: Mapping[str, str], *options: str) -> None:
        sets = [f"--set-string={k}={v}" for k, v in self._settings.items()]
        sets += [f"--set={k}={v}" for k, v in changes.items()]
        where = ("--namespace", NAMESPACE, "--wait", "--timeout", "60s")
        self._runs = False
        done = self.cluster.helm(verb, NAME, CHART, *where, *options, *sets, check=False)
        assert done.returncode == 0, done.stderr + self._why()
        self._runs = not {"replicaCount", "watchNamespaces"} & set(changes)

    def _why(self) -> str:
        told = [p["status"] for p in self.pods()]
        log = self.cluster.kubectl("logs", f"deployment/{NAME}", "-n", NAMESPACE, check=False)
        return f"{told}\n{log.stdout[-3000:]}{log.stderr}"

    def pods(self, *, going: bool = False) -> list[Object]:
        """The operator's; with `going` those too that end."""
        found = self.cluster.get("pods", "-n", NAMESPACE, "-l", "app.kubernetes.io/name=xpullm")
        return [p for p in found["items"] if going or "deletionTimestamp" not in p["metadata"]]

    def holder(self) -> str:
        """Who holds the Lease; empty where nobody does."""
        leases = self.cluster.get("leases", "-n", NAMESPACE)["items"]
        return next((str(lease["spec"].get("holderIdentity") or "") for lease in leases), "")

    def leads(self) -> Object:
        """The one pod of the operator, once it holds the Lease."""

        def look() -> Object | None:
            pods = self.pods(going=True)  # none may be left: a port-forward could lead to it
            if len(pods) != 1 or "deletionTimestamp" in pods[0]["metadata"]:
                return None
            leads = self.holder().startswith(f"{pods[0]['metadata']['name']}_")
            return pods[0] if leads else None

        return eventually(look)

    def run(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """A command in the operator's container."""
        name = self.leads()["metadata"]["name"]
        return self.cluster.kubectl("exec", name, "-n", NAMESPACE, "--", *command, check=check)


@contextmanager
def installed(cluster: Cluster, built: Built) -> Iterator[Release]:
    """The namespace, the image and the node; nothing of it is left afterwards but the CRDs."""
    give_cards(cluster)
    cluster.image(f"{REPOSITORY}:{TAG}", files(built), built.command, built.environment)
    space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
    cluster.apply(space)
    cluster.kubectl("label", "namespace", NAMESPACE, "--overwrite", f"{RESTRICTED}=restricted")
    with cluster.api_for_pods() as (host, port):
        release = Release(cluster, host, port)
        release.uninstall()
        try:
            yield release
        finally:
            release.uninstall()
            cluster.kubectl("label", "namespace", NAMESPACE, f"{RESTRICTED}-")


def files(built: Built) -> dict[str, bytes | str | Path]:
    """What the image holds above the interpreter, whose place differs from the build machine's."""
    app = built.files["/app"]
    needed = shared_libraries(list(app.rglob("*.so")))
    return {
        **built.files,
        "/app/pyvenv.cfg": "home = /usr/local/bin\ninclude-system-site-packages = false\n",
        **{str(path): path for path in needed},
    }
