"""Host memory of our own cgroup, version 1 or 2: limit, use, peak, and the kernel's OOM kills.

On cgroup v1 the kernel kills one process and the container lives on; nobody but a reader of
`memory.oom_control` learns of it (measured by us: kubelet 1.36, cgroup v1). On v2 the kubelet sets
memory.oom.group, so a kill usually takes the whole container, supervisor included.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from .highwater import HeldPeak, Reading

_UNLIMITED = 1 << 60  # v1 shows "no limit" as a number near 2^63, rounded to pages
_FILE_BYTES = 16 << 10  # memory.stat is the longest of them: 2 KiB (Linux 6.18)


@dataclass(frozen=True, slots=True)
class HostMemory:
    """Bytes; 0 where the kernel does not tell. `peak_bytes` counts page cache too, as the kernel's
    own high-water mark does; `working_set_bytes` is without inactive file pages, as the kubelet's;
    `held_peak_bytes` is the highest use without any page cache (see highwater.py).
    """

    limit_bytes: int = 0
    usage_bytes: int = 0
    working_set_bytes: int = 0
    peak_bytes: int = 0
    held_peak_bytes: int = 0
    oom_kills: int = 0


class MemoryCgroup:
    """Reads one cgroup's files. Peak and OOM kills count from the moment of construction on:
    outside of a container the group is older than the engine.
    """

    def __init__(self, folder: Path | None, version: int) -> None:
        self.folder = folder
        self.version = version
        self._seen_peak = 0
        self._held = HeldPeak()
        self._kills_before = self._oom_kills()
        self._peak_before = self.look().record_bytes

    @property
    def held_peak_bytes(self) -> int:
        """Of the looks so far; 0 where the kernel does not tell."""
        return self._held.bytes

    def look(self) -> Reading:
        """Read only what the peaks need; never raises (a cgroup may go away under us)."""
        return self._look()[0]

    def sample(self) -> HostMemory:
        """Look at everything; never raises."""
        if self.folder is None:
            return HostMemory()
        now, stat = self._look()
        v1 = self.version == 1
        limit = self._number("memory.limit_in_bytes" if v1 else "memory.max")
        inactive = stat.get("total_inactive_file" if v1 else "inactive_file", 0)
        record = now.record_bytes if now.record_bytes > self._peak_before else 0
        self._seen_peak = max(self._seen_peak, record)
        return HostMemory(
            limit_bytes=0 if limit >= _UNLIMITED else limit,
            usage_bytes=now.usage_bytes,
            working_set_bytes=max(0, now.usage_bytes - inactive),
            peak_bytes=self._seen_peak,
            held_peak_bytes=self._held.bytes,
            oom_kills=max(0, self._oom_kills() - self._kills_before),
        )

    def _look(self) -> tuple[Reading, dict[str, int]]:
        # memory.peak: Linux 5.19 and later
        v1 = self.version == 1
        record = self._number("memory.max_usage_in_bytes" if v1 else "memory.peak")
        usage = self._number("memory.usage_in_bytes" if v1 else "memory.current")
        stat = self._fields("memory.stat")
        now = Reading(record, usage, _cache_bytes(stat, self.version))
        if stat:  # else cache is not known, and nothing can be said
            self._held.add(now)
        self._seen_peak = max(self._seen_peak, usage)
        return now, stat

    def _oom_kills(self) -> int:
        name = "memory.oom_control" if self.version == 1 else "memory.events"
        return self._fields(name).get("oom_kill", 0)

    def _number(self, name: str) -> int:
        text = self._read(name).strip()
        return int(text) if text.isdigit() else 0

    def _fields(self, name: str) -> dict[str, int]:
        pairs = (line.partition(" ") for line in self._read(name).splitlines())
        return {key: int(value) for key, _, value in pairs if value.isdigit()}

    def _read(self, name: str) -> str:
        if self.folder is None:
            return ""
        try:  # read(2) itself: these files are read 40 times a second while an engine starts
            file = os.open(f"{self.folder}/{name}", os.O_RDONLY | os.O_CLOEXEC)
            try:
                return os.read(file, _FILE_BYTES).decode("ascii", "replace")
            finally:
                os.close(file)
        except OSError:
            return ""


def _cache_bytes(stat: dict[str, int], version: int) -> int:
    """What the kernel can give back: pages of files and, where it tells, of its caches of names.

    Shared memory (tmpfs, /dev/shm) counts as pages of files there, but has nowhere to go.
    """
    if version == 1:
        return stat.get("total_cache", 0) - stat.get("total_shmem", 0)
    return stat.get("file", 0) - stat.get("shmem", 0) + stat.get("slab_reclaimable", 0)


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
