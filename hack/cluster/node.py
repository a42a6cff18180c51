"""One real node, ``real-0``: kubelet and containerd, real containers, the kernel's OOM kills."""

import contextlib
import hashlib
import json
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from hack.cluster import pki
from hack.cluster.controlplane import client
from hack.cluster.errors import ClusterError
from hack.cluster.image import Files, archive
from hack.cluster.kubeconfig import write
from hack.cluster.nodeconfig import PAUSE, cni, containerd, kubelet
from hack.cluster.process import Process
from hack.cluster.requirements import cgroup_version
from hack.cluster.state import State

NODE = "real-0"
_READY_S = 90.0


class RealNode:
    """Starts the node; its end is the sweep's matter."""

    def __init__(self, state: State, programs: Mapping[str, Path]) -> None:
        self._state, self._programs = state, programs
        self._folder = state.folder / "node"
        self._images: dict[str, bytes] = {}  # name to hash of what it was made from

    @property
    def address(self) -> str:
        """The host's address on the pods' bridge; the API server reaches the kubelet here."""
        return self._state.gateway

    def start(
        self, labels: Mapping[str, str], resources: Mapping[str, str], backoff: str | None
    ) -> Iterator[Process]:
        """Start containerd and the kubelet, wait until the node is Ready.

        Raises:
            ClusterError: a process ended or the node did not become Ready.
        """
        self._folder.mkdir(exist_ok=True)
        self._state.sockets.mkdir(parents=True, mode=0o711)
        self._bridge()
        self._cgroups()
        runtime = self._containerd()
        yield runtime
        runtime.wait_until(lambda: self._ctr("version").returncode == 0, seconds=30)
        self.image(PAUSE, {}, bases=("busybox",))
        agent = self._kubelet(labels, backoff)
        yield agent
        agent.wait_until(lambda: self._kubectl("get", "node", NODE).returncode == 0, _READY_S)
        done = self._kubectl("wait", "--for=condition=Ready", f"node/{NODE}", "--timeout=90s")
        if done.returncode != 0:
            raise ClusterError(f"node {NODE} does not become Ready:\n{agent.tail()}")
        self.set_resources(resources)

    def set_resources(self, resources: Mapping[str, str]) -> None:
        """Give the node extended resources, as a device plugin would; the scheduler honours them.

        Raises:
            ClusterError: the API server refused.
        """
        patch = [
            {"op": "add", "path": f"/status/{field}/{name.replace('/', '~1')}", "value": value}
            for name, value in resources.items()
            for field in ("capacity", "allocatable")
        ]
        done = self._kubectl(
            "patch", "node", NODE, "--subresource=status", "--type=json", "-p", json.dumps(patch)
        )
        if done.returncode != 0:
            raise ClusterError(f"cannot set resources of {NODE}: {done.stderr.strip()}")

    def image(
        self,
        name: str,
        files: Files,
        command: tuple[str, ...] = (),
        environment: Mapping[str, str] | None = None,
        bases: tuple[str, ...] = ("busybox", "python"),
    ) -> None:
        """Make a local image; the same one again costs nothing.

        Raises:
            ClusterError: containerd refused it.
        """
        content = archive(name, files, command, environment, bases)
        digest = hashlib.sha256(content).digest()
        if self._images.get(name) == digest:
            return
        done = subprocess.run(
            [*self._ctr_command(), "images", "import", "-"],
            input=content, capture_output=True, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            raise ClusterError(f"cannot import image {name}: {done.stderr.decode().strip()}")
        self._images[name] = digest

    # -- parts ---------------------------------------------------------------------------------

    def _bridge(self) -> None:
        bridge, address = self._state.bridge, self.address
        for command in (
            ["ip", "link", "add", bridge, "type", "bridge"],
            ["ip", "addr", "add", f"{address}/24", "dev", bridge],
            ["ip", "link", "set", bridge, "up"],
        ):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                raise ClusterError(f"`{' '.join(command)}` failed: {done.stderr.strip()}")

    def _cgroups(self) -> None:
        """A root of our own for the kubelet, so that several can run beside each other."""
        top = Path("/sys/fs/cgroup")
        if cgroup_version() == 2:
            for name in (top / "cgroup.controllers").read_text().split():
                with contextlib.suppress(OSError):  # the kubelet says which one it misses
                    (top / "cgroup.subtree_control").write_text(f"+{name}")
            (top / self._state.cgroup).mkdir()
            return
        for hierarchy in top.iterdir():
            if hierarchy.is_dir() and not hierarchy.is_symlink():
                (hierarchy / self._state.cgroup).mkdir(exist_ok=True)
        cpuset = top / "cpuset"
        for name in ("cpuset.cpus", "cpuset.mems") if cpuset.is_dir() else ():
            (cpuset / self._state.cgroup / name).write_text((cpuset / name).read_text())

    def _containerd(self) -> Process:
        configuration = self._folder / "containerd.toml"
        (self._folder / "cni").mkdir()
        (self._folder / "cni" / "10-bridge.conflist").write_text(
            cni(self._state.bridge, self._state.subnet, self._folder / "ipam")
        )
        refuse = self._folder / "registries" / "_default"
        refuse.mkdir(parents=True)
        # No registry is ever asked: an image that is missing fails at once, on loopback.
        (refuse / "hosts.toml").write_text('server = "http://127.0.0.1:9"\n')
        configuration.write_text(containerd(self._folder, self._state.sockets))
        program = self._programs["containerd"]
        path = {"PATH": f"{program.parent}:/usr/sbin:/usr/bin:/sbin:/bin"}
        return Process(self._state, "containerd", [str(program), "-c", str(configuration)], path)

    def _kubelet(self, labels: Mapping[str, str], backoff: str | None) -> Process:
        keys = self._state.folder / "pki"
        pki.certificate(
            keys, NODE, f"/O=system:nodes/CN=system:node:{NODE}", f"IP:{self.address},DNS:{NODE}"
        )
        admin = json.loads(self._state.kubeconfig.read_text())
        server = admin["clusters"][0]["cluster"]["server"]
        config = self._folder / "kubeconfig"
        write(config, self._state.id, server, keys / "ca.crt", client(keys, NODE))
        file = self._folder / "kubelet.json"
        content = kubelet(self._state, self.address, self._folder, backoff)
        file.write_text(json.dumps(content, indent=1))
        command = [
            str(self._programs["kubelet"]), f"--config={file}", f"--kubeconfig={config}",
            f"--root-dir={self._folder / 'kubelet'}", f"--cert-dir={self._folder / 'certs'}",
            f"--hostname-override={NODE}", f"--node-ip={self.address}", "--v=2",
        ]  # fmt: skip
        if labels:
            command.append("--node-labels=" + ",".join(f"{k}={v}" for k, v in labels.items()))
        return Process(self._state, "kubelet", command)

    def _ctr_command(self) -> list[str]:
        socket = str(self._state.sockets / "containerd.sock")
        return [str(self._programs["ctr"]), "-a", socket, "-n", "k8s.io"]

    def _ctr(self, *arguments: str) -> "subprocess.CompletedProcess[bytes]":
        command = [*self._ctr_command(), *arguments]
        return subprocess.run(command, capture_output=True, check=False)

    def _kubectl(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        command = [str(self._programs["kubectl"]), "--kubeconfig", str(self._state.kubeconfig)]
        return subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)
