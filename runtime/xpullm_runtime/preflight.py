"""What can be known before the engine starts.

Only a GPU that is surely not the planned one stops the start: its kernel driver says so. All else
is a finding: the engine may know better, and if it fails without a clear cause, the finding is one.
Free VRAM is not checked: an unprivileged container always sees free = total.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .cgroup import HostMemory
from .config import RuntimeConfig
from .drm import VISIBLE_PERCENT, RenderNode

_GIB = 1 << 30
# PCI id 56a0 is both the 8 and the 16 GiB board; drivers differ by less than this.
_VRAM_TOLERANCE_PERCENT = 3


@dataclass(frozen=True, slots=True)
class Finding:
    """A cause of the taxonomy, and a sentence with value and way out."""

    cause: str
    text: str
    fatal: bool = False


def check(
    config: RuntimeConfig,
    nodes: Sequence[RenderNode],
    host: HostMemory,
    shm_bytes: int,
    available_bytes: int,
) -> list[Finding]:
    """All findings, the fatal ones first. Zero among the sizes means "not known"."""
    found = [*_devices(config, nodes), *_vram(config, nodes)]
    found += _host(config, host, available_bytes)
    if 0 < shm_bytes < config.shm_bytes:
        found.append(
            Finding(
                "shm_exhausted",
                f"shared memory is {_gib(shm_bytes)}, the plan needs {_gib(config.shm_bytes)}: "
                "mount an emptyDir of medium Memory and that size at /dev/shm",
            )
        )
    return sorted(found, key=lambda finding: not finding.fatal)


def shm_bytes(path: str = "/dev/shm") -> int:  # noqa: S108 - the mount that engines use
    """Size of the shared-memory mount; 0 if there is none."""
    try:
        stat = os.statvfs(path)
    except OSError:
        return 0
    return stat.f_blocks * stat.f_frsize


def available_bytes(meminfo: Path = Path("/proc/meminfo")) -> int:
    """MemAvailable of the node (proc(5)); 0 if not known."""
    try:
        for line in meminfo.read_text("ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) << 10
    except (OSError, ValueError, IndexError):
        pass
    return 0


def _devices(config: RuntimeConfig, nodes: Sequence[RenderNode]) -> list[Finding]:
    usable = [node for node in nodes if not node.error]
    if len(usable) >= config.devices:
        return []
    denied = [node.name for node in nodes if node.error in (errno.EACCES, errno.EPERM)]
    if denied:
        return [
            Finding(
                "permission_denied",
                f"/dev/dri/{denied[0]} cannot be opened: the pod needs the node's render group "
                "in supplementalGroups",
            )
        ]
    return [
        Finding(
            "no_device",
            f"{len(usable)} of {config.devices} GPUs visible in /dev/dri: "
            "check the pod's GPU resource and the node's device plugin",
        )
    ]


def _vram(config: RuntimeConfig, nodes: Sequence[RenderNode]) -> list[Finding]:
    """Fatal where too few are left: outside of a pod, cards that nobody asked for are visible."""
    least = config.vram_bytes * (100 - _VRAM_TOLERANCE_PERCENT) // 100
    visible = {node.name: node.total_bytes * VISIBLE_PERCENT // 100 for node in nodes}
    small = {name: size for name, size in visible.items() if 0 < size < least}
    fatal = len(nodes) - len(small) < max(1, config.devices)
    return [
        Finding(
            "wrong_gpu",
            f"{name} has {_gib(size)} of visible VRAM, the plan is for "
            f"{_gib(config.vram_bytes)}: label the node with xpullm.io/gpu-type",
            fatal=fatal,
        )
        for name, size in small.items()
    ]


def _host(config: RuntimeConfig, host: HostMemory, available: int) -> list[Finding]:
    need = config.host_memory_bytes
    if 0 < host.limit_bytes < need:
        text = f"the memory limit is {_gib(host.limit_bytes)}, the plan needs {_gib(need)}"
        return [Finding("host_oom", f"{text}: raise the limit")]
    if 0 < available < need:
        text = f"the node has {_gib(available)} of memory available, the plan needs {_gib(need)}"
        return [Finding("host_oom", text)]
    return []


def _gib(size: int) -> str:
    return f"{size / _GIB:.2f} GiB"
