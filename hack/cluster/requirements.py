"""What the machine must have, and Debian's packages for what can be had."""

import os
import shutil
import subprocess
import sys
from functools import lru_cache
from pathlib import Path

from hack.cluster.errors import ClusterError
from hack.cluster.say import say

# Program or folder -> Debian package
_EVERYWHERE = {"openssl": "openssl"}
_REAL_NODE = {
    "runc": "runc",
    "/usr/lib/cni/bridge": "containernetworking-plugins",
    "busybox": "busybox-static",
    "ip": "iproute2",
    "umount": "mount",
}
_CGROUPS = Path("/sys/fs/cgroup")


def ensure_everywhere() -> None:
    """Have what the control plane needs."""
    _ensure(_EVERYWHERE)


def ensure_real_node() -> None:
    """Have what the real node needs.

    Raises:
        ClusterError: it cannot be had, with the reason.
    """
    reason = real_node_unavailable()
    if reason:
        raise ClusterError(reason)
    _ensure(_REAL_NODE)


@lru_cache(maxsize=1)
def real_node_unavailable() -> str | None:
    """Why this machine cannot run a kubelet with containers; None where it can."""
    if sys.platform != "linux":
        return f"the real node needs Linux, this is {sys.platform}"
    if os.geteuid() != 0:
        return "the real node needs root (mounts, cgroups, network); run it with sudo"
    missing = _missing(_REAL_NODE)
    if missing and not shutil.which("apt-get"):
        names = ", ".join(program for program in _REAL_NODE if not _there(program))
        return f"the real node needs {names}, and there is no apt-get to install them"
    return _cgroup_problem()


def cgroup_version() -> int:
    """2 where the unified hierarchy is the only one, else 1."""
    return 2 if (_CGROUPS / "cgroup.controllers").exists() else 1


def _cgroup_problem() -> str | None:
    if cgroup_version() == 2:
        if "memory" not in (_CGROUPS / "cgroup.controllers").read_text().split():
            return "the real node needs the memory controller of cgroup v2, which is not enabled"
        try:
            (_CGROUPS / "cgroup.subtree_control").write_text("+memory")
        except OSError as error:  # in a container: processes sit in what is the root there
            return (
                "the real node needs the memory controller for cgroups below /sys/fs/cgroup: "
                f"{error.strerror}"
            )
        root = _CGROUPS
    else:
        root = _CGROUPS / "memory"
        if not (root / "memory.limit_in_bytes").exists() and not (root / "cgroup.procs").exists():
            return "the real node needs a memory cgroup, none is mounted at /sys/fs/cgroup/memory"
    probe = root / f"xpullm-probe-{os.getpid()}"
    try:
        probe.mkdir()
        probe.rmdir()
    except OSError as error:
        return f"the real node needs to create cgroups below {root}: {error.strerror}"
    return None


def _there(program: str) -> bool:
    return Path(program).exists() if program.startswith("/") else shutil.which(program) is not None


def _missing(wanted: dict[str, str]) -> list[str]:
    return [package for program, package in wanted.items() if not _there(program)]


def _ensure(wanted: dict[str, str]) -> None:
    missing = _missing(wanted)
    if not missing:
        return
    names = " ".join(missing)
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise ClusterError(f"please install (Debian package names): {names}")
    say(f"installing Debian packages: {names}")
    install = ["apt-get", "install", "-y", "--no-install-recommends", *missing]
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (install, ["apt-get", "update"], install):
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        if command is install and done.returncode == 0:
            return
    raise ClusterError(f"apt-get cannot install {names}: {done.stderr.strip()[-500:]}")
