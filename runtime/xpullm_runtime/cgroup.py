"""Host memory of our own cgroup, version 1 or 2: limit, use, peak, and the kernel's OOM kills.

On cgroup v1 the kernel kills one process and the container lives on; nobody but a reader of
`memory.oom_control` learns of it (measured by us: kubelet 1.36, cgroup v1). On v2 the kubelet sets
memory.oom.group, so a kill usually takes the whole container, supervisor included.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

_UNLIMITED = 1 << 60  # v1 shows "no limit" as a number near 2^63, rounded to pages


@dataclass(frozen=True, slots=True)
class HostMemory:
    """Bytes; 0 where the kernel does not tell. `peak_bytes` counts page cache too, as the kernel's
    own high-water mark does; `working_set_bytes` is without inactive file pages, as the kubelet's.
    """

    limit_bytes: int = 0
    usage_bytes: int = 0
    working_set_bytes: int = 0
    peak_bytes: int = 0
    oom_kills: int = 0


class MemoryCgroup:
    """Reads one cgroup's files. Peak and OOM kills count from the moment of construction on:
    outside of a container the group is older than the engine.
    """

    def __init__(self, folder: Path | None, version: int) -> None:
        self.folder = folder
        self.version = version
        self._seen_peak = 0
        self._kills_before = self._oom_kills()
        self._peak_before = self._kernels_peak()

    def sample(self) -> HostMemory:
        """One reading; never raises (a cgroup may go away under us)."""
        if self.folder is None:
            return HostMemory()
        if self.version == 1:
            limit = self._number("memory.limit_in_bytes")
            usage = self._number("memory.usage_in_bytes")
            inactive = self._field("memory.stat", "total_inactive_file")
        else:
            limit = self._number("memory.max")
            usage = self._number("memory.current")
            inactive = self._field("memory.stat", "inactive_file")
        peak = self._kernels_peak()
        self._seen_peak = max(self._seen_peak, usage, peak if peak > self._peak_before else 0)
        return HostMemory(
            limit_bytes=0 if limit >= _UNLIMITED else limit,
            usage_bytes=usage,
            working_set_bytes=max(0, usage - inactive),
            peak_bytes=self._seen_peak,
            oom_kills=max(0, self._oom_kills() - self._kills_before),
        )

    def _kernels_peak(self) -> int:
        # memory.peak: Linux 5.19 and later
        return self._number("memory.max_usage_in_bytes" if self.version == 1 else "memory.peak")

    def _oom_kills(self) -> int:
        name = "memory.oom_control" if self.version == 1 else "memory.events"
        return self._field(name, "oom_kill")

    def _number(self, name: str) -> int:
        text = self._read(name).strip()
        return int(text) if text.isdigit() else 0

    def _field(self, name: str, key: str) -> int:
        for line in self._read(name).splitlines():
            found, _, value = line.partition(" ")
            if found == key and value.strip().isdigit():
                return int(value)
        return 0

    def _read(self, name: str) -> str:
        if self.folder is None:
            return ""
        try:
            return (self.folder / name).read_text("ascii", "replace")
        except OSError:
            return ""


def own_cgroup(proc: Path = Path("/proc/self")) -> MemoryCgroup:
    """The memory cgroup that this process is in, as far as it is visible from here.

    Inside a container the mount shows the own group at its root while /proc/self/cgroup may name
    the path on the host, so a path that does not exist below the mount means the mount's root.
    """
    try:
        mounts = (proc / "mountinfo").read_text("utf-8", "replace").splitlines()
        groups = (proc / "cgroup").read_text("utf-8", "replace").splitlines()
    except OSError:
        return MemoryCgroup(None, 2)
    paths = {part[1]: part[2] for part in (line.split(":", 2) for line in groups) if len(part) == 3}
    for version, controller in ((1, "memory"), (2, "")):
        for root, mount in _cgroup_mounts(mounts, version):
            path = next((p for names, p in paths.items() if controller in names.split(",")), "/")
            folder = _below(mount, root, path)
            wanted = "memory.usage_in_bytes" if version == 1 else "memory.current"
            if (folder / wanted).exists():
                return MemoryCgroup(folder, version)
    return MemoryCgroup(None, 2)


def _cgroup_mounts(mountinfo: list[str], version: int) -> list[tuple[str, Path]]:
    """(root within the hierarchy, mount point) of each memory hierarchy; see proc(5)."""
    found = []
    for line in mountinfo:
        before, _, after = line.partition(" - ")
        fields, kind = before.split(), after.split()
        if len(fields) < 5 or len(kind) < 3:
            continue
        is_v1 = kind[0] == "cgroup" and "memory" in kind[2].split(",")
        if (is_v1 and version == 1) or (kind[0] == "cgroup2" and version == 2):
            found.append((fields[3], Path(fields[4])))
    return found


def _below(mount: Path, root: str, path: str) -> Path:
    relative = os.path.relpath(path, root) if path.startswith(root.rstrip("/") + "/") else "."
    folder = mount / relative
    return folder if folder.is_dir() else mount
