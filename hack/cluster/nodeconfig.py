"""Configuration files of the real node, each line with the reason where it is not obvious."""

import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from hack.cluster.requirements import cgroup_version
from hack.cluster.state import State

PAUSE = "xpullm.local/pause:1"
_HEALTHZ = 6  # offset from the cluster's first port


def cni(bridge: str, subnet: int, leases: Path) -> str:
    """A bridge and host-local addresses: host and pods reach each other, nothing else."""
    network = f"10.244.{subnet}"
    plugin = {
        "type": "bridge",
        "bridge": bridge,
        "isGateway": False,
        "ipMasq": False,
        "ipam": {
            "type": "host-local",
            "dataDir": str(leases),
            "ranges": [
                [
                    {
                        "subnet": f"{network}.0/24",
                        "rangeStart": f"{network}.10",
                        "gateway": f"{network}.1",
                    }
                ]
            ],
        },
    }
    return json.dumps({"cniVersion": "1.0.0", "name": bridge, "plugins": [plugin]})


def containerd(folder: Path, sockets: Path) -> str:
    """containerd's configuration; root below ``folder``, sockets and mounts below ``sockets``."""
    runc = shutil.which("runc", path="/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/bin") or "runc"
    cri, options = '"io.containerd.cri.v1', "containerd.runtimes.runc"
    return f"""version = 3
root = "{folder}/containerd"
state = "{sockets}/state"
disabled_plugins = ["io.containerd.nri.v1.nri", "io.containerd.internal.v1.tracing"]
[grpc]
  address = "{sockets}/containerd.sock"
[plugins.{cri}.images"]
  snapshotter = "{_snapshotter(folder)}"
  [plugins.{cri}.images".pinned_images]
    sandbox = "{PAUSE}"
  [plugins.{cri}.images".registry]
    config_path = "{folder}/registries"
[plugins.{cri}.runtime"]
  disable_apparmor = true
  # Without CAP_SYS_RESOURCE nobody may lower a score.
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  [plugins.{cri}.runtime".{options}]
    runtime_type = "io.containerd.runc.v2"
    [plugins.{cri}.runtime".{options}.options]
      BinaryName = "{runc}"
      Root = "{sockets}/runc"
  [plugins.{cri}.runtime".cni]
    bin_dirs = ["/usr/lib/cni"]
    conf_dir = "{folder}/cni"
"""


def kubelet(state: State, address: str, folder: Path, backoff: str | None) -> dict[str, Any]:
    """The kubelet's configuration. No eviction: the machine's fullness is not the test's matter."""
    never = ("memory.available", "nodefs.available", "nodefs.inodesFree",
             "imagefs.available", "imagefs.inodesFree")  # fmt: skip
    configuration: dict[str, Any] = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": address,
        "healthzBindAddress": "127.0.0.1",
        "healthzPort": state.port + _HEALTHZ,
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": False},
            "x509": {"clientCAFile": str(state.folder / "pki" / "ca.crt")},
        },
        "authorization": {"mode": "AlwaysAllow"},
        "containerRuntimeEndpoint": f"unix://{state.sockets}/containerd.sock",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{state.cgroup}",
        "failSwapOn": False,
        "oomScoreAdj": 0,  # without CAP_SYS_RESOURCE it may not lower its own
        "enforceNodeAllocatable": [],
        "evictionHard": dict.fromkeys(never, "0%"),
        "imageGCHighThresholdPercent": 100,
        "nodeStatusUpdateFrequency": "2s",
        "syncFrequency": "10s",
        "clusterDNS": [address],
        "maxPods": 40,
        "podLogsDir": str(folder / "podlogs"),
    }
    if cgroup_version() == 1:
        configuration["failCgroupV1"] = False
    if backoff:
        configuration["crashLoopBackOff"] = {"maxContainerRestartPeriod": backoff}
    return configuration


def _snapshotter(folder: Path) -> str:
    """``overlayfs`` where the file system can carry it (not on another overlay), else copies."""
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        for name in ("lower", "upper", "work", "merged"):
            os.mkdir(f"{scratch}/{name}")
        options = f"lowerdir={scratch}/lower,upperdir={scratch}/upper,workdir={scratch}/work"
        command = ["mount", "-t", "overlay", "overlay", "-o", options, f"{scratch}/merged"]
        if subprocess.run(command, capture_output=True, check=False).returncode != 0:
            return "native"
        subprocess.run(["umount", f"{scratch}/merged"], check=True)
    return "overlayfs"
