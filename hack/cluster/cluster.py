"""``Cluster``: start, use, stop. What tests and the demo talk to."""

import json
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from hack.cluster import controlplane, engine, kubeconfig, watchdog
from hack.cluster.build import programs
from hack.cluster.errors import ClusterError
from hack.cluster.forward import forward
from hack.cluster.image import Files
from hack.cluster.node import RealNode
from hack.cluster.objects import kwok_node
from hack.cluster.paths import kept_logs
from hack.cluster.portforward import port_forward
from hack.cluster.process import Process
from hack.cluster.requirements import ensure_everywhere, ensure_real_node
from hack.cluster.say import say
from hack.cluster.state import State, known, reserve
from hack.cluster.sweep import sweep, sweep_leftovers

_LOGS_KEPT = 5


class Cluster:
    """A Kubernetes of its own, several at a time; everything is gone after ``stop``.

    Args:
        kwok: Simulate nodes made by ``add_kwok_node``.
        real_node: Run a kubelet with containerd as node ``real-0`` (root only, see
            ``real_node_unavailable``).
        labels: Of the real node.
        resources: Extended resources of the real node, as ``{"gpu.intel.com/i915": "1"}``.
        restart_backoff: Longest CrashLoopBackOff on the real node, as ``"2s"``; None is
            Kubernetes' own (10 s to 5 min).
        name: A name of one's own instead of a random one.
        detached: Keep running after this process ends, until ``hack.cluster down``.
    """

    def __init__(
        self,
        *,
        kwok: bool = True,
        real_node: bool = False,
        labels: Mapping[str, str] | None = None,
        resources: Mapping[str, str] | None = None,
        restart_backoff: str | None = None,
        name: str | None = None,
        detached: bool = False,
    ) -> None:
        self._kwok, self._real, self._detached, self._name = kwok, real_node, detached, name
        self._labels, self._resources = dict(labels or {}), dict(resources or {})
        self._backoff = restart_backoff
        self._state: State | None = None
        self._programs: dict[str, Path] = {}
        self._processes: list[Process] = []
        self._watchdog: subprocess.Popen[bytes] | None = None
        self._node: RealNode | None = None

    @classmethod
    def attach(cls, name: str) -> "Cluster":
        """A handle on a detached cluster that runs.

        Raises:
            ClusterError: there is none of that name.
        """
        for state in known():
            if state.id == name:
                self = cls(name=name, detached=True)
                self._state = state
                self._real = state.sockets.exists()
                self._programs = programs(real_node=self._real)
                if self._real:
                    self._node = RealNode(state, self._programs)
                return self
        raise ClusterError(
            f"no cluster {name!r} runs; `python -m hack.cluster up --detach --name {name}`"
        )

    # -- life ----------------------------------------------------------------------------------

    def start(self) -> Self:
        """Build what is missing, clean up what earlier clusters left, start, wait until ready.

        Raises:
            ClusterError: with the reason and the end of the log of the process at fault.
        """
        ensure_everywhere()
        if self._real:
            ensure_real_node()
        self._programs = programs(real_node=self._real)
        for gone in sweep_leftovers():
            say(f"cleaned up after cluster {gone}, which was left behind")
        start = time.monotonic()
        self._state = reserve(self._name)
        self._state.logs.mkdir(parents=True)
        self._watchdog = watchdog.start(self._state)
        try:
            for process in controlplane.start(self._state, self._programs, kwok=self._kwok):
                self._processes.append(process)
            if self._real:
                self.start_real_node(self._labels, self._resources, self._backoff)
            self.check()
            if self._detached:
                self._state = self._state.detach()
        except BaseException:
            self.keep_logs()
            self.stop()
            raise
        say(f"cluster {self.state.id} is ready in {time.monotonic() - start:.1f} s")
        return self

    def start_real_node(
        self, labels: Mapping[str, str], resources: Mapping[str, str], backoff: str | None
    ) -> None:
        """Add the node ``real-0`` to a cluster that runs; arguments as in the class.

        Raises:
            ClusterError: the machine cannot run it, or it does not become Ready.
        """
        ensure_real_node()
        self._programs = programs(real_node=True)
        self._node = RealNode(self.state, self._programs)
        for process in self._node.start(labels, resources, backoff):
            self._processes.append(process)

    @contextmanager
    def api_server_killed(self) -> Iterator[None]:
        """SIGKILL the API server; it is started again after the block, with everything it held."""
        (old,) = (process for process in self._processes if process.name == "kube-apiserver")
        old.kill()
        self._processes.remove(old)
        try:
            yield
        finally:
            self._processes.append(controlplane.restart_api_server(self.state, self._programs))

    def stop(self) -> None:
        """Take everything away; harmless when repeated."""
        if self._state is not None:
            sweep(self._state)
            self._state = None
        if self._watchdog is not None and self._watchdog.stdin is not None:
            self._watchdog.stdin.close()
            self._watchdog.wait()
            self._watchdog = None
        self._processes = []

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and issubclass(kind, Exception):
            self.keep_logs()
        self.stop()

    def check(self) -> None:
        """Raise where a process of the cluster has ended."""
        for process in self._processes:
            process.check()

    def keep_logs(self) -> Path:
        """Copy the processes' logs to where they outlive the cluster, and say where."""
        target = kept_logs() / self.state.id
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(self.state.logs, target)
        by_age = sorted(kept_logs().iterdir(), key=lambda f: f.stat().st_mtime, reverse=True)
        for old in by_age[_LOGS_KEPT:]:
            shutil.rmtree(old, ignore_errors=True)
        say(f"logs are kept in {target}")
        return target

    # -- use -----------------------------------------------------------------------------------

    @property
    def state(self) -> State:
        """What the harness knows of the running cluster."""
        if self._state is None:
            raise ClusterError("the cluster does not run")
        return self._state

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig; its context is ``xpullm-test-<id>``."""
        return self.state.kubeconfig

    @property
    def server(self) -> str:
        """URL of the API server."""
        config = json.loads(self.kubeconfig.read_text())
        return str(config["clusters"][0]["cluster"]["server"])

    @property
    def audit_log(self) -> Path:
        """What ServiceAccounts asked of the API server, one audit Event (JSON) per line."""
        return controlplane.audit_log(self.state)

    @property
    def node(self) -> RealNode:
        """The real node."""
        if self._node is None:
            raise ClusterError("this cluster has no real node")
        return self._node

    def kubectl(
        self,
        *arguments: str,
        stdin: str | None = None,
        check: bool = True,
        kubeconfig: Path | None = None,
        timeout: float = 120,
    ) -> subprocess.CompletedProcess[str]:
        """Run kubectl as administrator, or with another kubeconfig.

        Raises:
            ClusterError: it failed and ``check`` is true; the message is kubectl's own.
        """
        return self._run("kubectl", arguments, stdin, check, kubeconfig, timeout)

    def helm(
        self, *arguments: str, check: bool = True, kubeconfig: Path | None = None,
        timeout: float = 120,
    ) -> subprocess.CompletedProcess[str]:  # fmt: skip
        """Run helm; its own folders lie in the cluster's, nothing of the user's is touched."""
        return self._run("helm", arguments, None, check, kubeconfig, timeout)

    def apply(self, *objects: Mapping[str, Any] | Path | str, check: bool = True) -> str:
        """Server-side apply of objects, files or YAML text; return what kubectl printed.

        With ``check=False`` the answer holds the error instead.
        """
        for thing in objects:
            if isinstance(thing, Path):
                done = self.kubectl(*_APPLY, str(thing), check=check)
            else:
                text = thing if isinstance(thing, str) else json.dumps(thing)
                done = self.kubectl(*_APPLY, "-", stdin=text, check=check)
            if done.returncode != 0:
                return done.stderr
        return done.stdout if objects else ""

    def get(self, *arguments: str) -> dict[str, Any]:
        """``kubectl get ARGUMENTS -o json``, parsed."""
        parsed: dict[str, Any] = json.loads(self.kubectl("get", *arguments, "-o", "json").stdout)
        return parsed

    def service_account_kubeconfig(self, namespace: str, name: str, *, hours: int = 24) -> Path:
        """A kubeconfig with a token of a ServiceAccount: exactly its rights, no more."""
        token = self.kubectl(
            "create", "token", name, "-n", namespace, f"--duration={hours}h"
        ).stdout.strip()
        authority = self.state.folder / "pki" / "ca.crt"
        path = self.state.folder / f"kubeconfig-{namespace}-{name}"
        return kubeconfig.write(path, self.state.id, self.server, authority, {"token": token})

    def add_kwok_node(
        self,
        name: str,
        labels: Mapping[str, str] | None = None,
        capacity: Mapping[str, str] | None = None,
        taints: list[dict[str, str]] | None = None,
    ) -> None:
        """Make a simulated node; kwok keeps it Ready."""
        self.apply(kwok_node(name, labels or {}, capacity or {}, taints or []))

    def image(
        self,
        name: str,
        files: Files | None = None,
        command: tuple[str, ...] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Make a local image on the real node: busybox, python3 and ``files``."""
        self.node.image(name, files or {}, command, environment)

    def engine_images(self, tag: str = "1", truth: Mapping[str, object] | None = None) -> list[str]:
        """Make the simulated engine's images; see ``hack.cluster.engine``."""
        return engine.images(self.node, tag, truth or {})

    def runtime_image(self, zipapp: Path, tag: str = "1") -> str:
        """Make ``xpullm.local/runtime:TAG`` with the runtime's zipapp; returns its name."""
        return engine.runtime_image(self.node, zipapp, tag)

    @contextmanager
    def port_forward(self, target: str, port: int, namespace: str = "default") -> Iterator[str]:
        """``http://127.0.0.1:N`` for a Service or pod (``svc/name``), while the block runs."""
        with port_forward(self.state, self._programs["kubectl"], target, port, namespace) as url:
            yield url

    @contextmanager
    def api_for_pods(self) -> Iterator[tuple[str, int]]:
        """Address and port at which pods of the real node reach the API server, while the block
        runs; its certificate holds for that address."""
        listens = int(self.server.rpartition(":")[2])
        with forward(self.node.address, ("127.0.0.1", listens)) as port:
            yield self.node.address, port

    def _run(
        self,
        program: str,
        arguments: tuple[str, ...],
        stdin: str | None,
        check: bool,
        other: Path | None,
        timeout: float,
    ) -> subprocess.CompletedProcess[str]:
        config = other or self.kubeconfig
        kubeconfig.require_test_context(config)
        done = subprocess.run(
            [str(self._programs[program]), "--kubeconfig", str(config), *arguments],
            input=stdin, capture_output=True, text=True, timeout=timeout, check=False,
            env=_clean_environment(self.state),
        )  # fmt: skip
        if check and done.returncode != 0:
            self.check()
            shown = " ".join(arguments[:6])
            raise ClusterError(f"{program} {shown} failed: {done.stderr.strip()}")
        return done


_APPLY = ("apply", "--server-side", "--force-conflicts", "--validate=strict", "-f")


def _clean_environment(state: State) -> dict[str, str]:
    home = state.folder / "home"
    home.mkdir(exist_ok=True)
    return {"HOME": str(home), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
