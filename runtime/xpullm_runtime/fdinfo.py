"""VRAM that a process tree holds, from DRM fdinfo: readable without privileges for one's own.

Keys: Linux Documentation/gpu/drm-usage-stats.rst; regions `vram0` (xe) and `local0` (i915) are
device memory, `gtt` and `system` host memory that the GPU maps.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_UNITS = {"": 1, "KiB": 1 << 10, "MiB": 1 << 20}


@dataclass(frozen=True, slots=True)
class GpuMemory:
    """Resident bytes over all clients; `host_bytes` are not charged to the container's cgroup
    (intel/llvm#22986), so the kubelet does not see them.
    """

    device_bytes: int = 0
    host_bytes: int = 0


def gpu_memory(pids: Iterable[int], proc: Path = Path("/proc")) -> GpuMemory:
    """Sum over `pids`, each DRM client once (a client's file may be open in many places)."""
    clients: dict[tuple[str, str], GpuMemory] = {}
    for pid in pids:
        for text in _drm_files(proc / str(pid)):
            keys = {
                name.strip(): value.strip()
                for name, _, value in (line.partition(":") for line in text.splitlines())
            }
            client = (keys.get("drm-pdev", ""), keys.get("drm-client-id", ""))
            if client[1]:
                clients[client] = _memory(keys)
    return GpuMemory(
        sum(memory.device_bytes for memory in clients.values()),
        sum(memory.host_bytes for memory in clients.values()),
    )


def _drm_files(process: Path) -> Iterable[str]:
    try:
        names = os.listdir(process / "fd")
    except OSError:
        return
    for name in names:
        try:
            if os.readlink(process / "fd" / name).startswith("/dev/dri/"):
                yield (process / "fdinfo" / name).read_text("ascii", "replace")
        except OSError:
            continue


def _memory(keys: dict[str, str]) -> GpuMemory:
    device = host = 0
    for name, value in keys.items():
        if not name.startswith("drm-resident-"):
            continue
        region = name.removeprefix("drm-resident-")
        if region.startswith(("vram", "local")):
            device += _bytes(value)
        elif region.startswith(("gtt", "system")):
            host += _bytes(value)
    return GpuMemory(device, host)


def _bytes(value: str) -> int:
    number, _, unit = value.partition(" ")
    return int(number) * _UNITS.get(unit.strip(), 0) if number.isdigit() else 0
