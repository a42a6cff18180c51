"""Take a cluster away: processes, mounts, network, cgroups, files. One way for every case.

The same code serves an orderly stop, Ctrl-C, the watchdog after a SIGKILL of the harness, and the
next start after a power cut. Data is thrown away, so nothing is asked to end politely: killing
takes 0.2 s where a polite stop of etcd and the API server takes 5 to 20 s.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from hack.cluster.errors import ClusterError
from hack.cluster.state import MARK, State, known

_PATIENCE_S = 60.0  # on a busy machine the kernel takes its time


def sweep(state: State) -> None:
    """Remove everything that belongs to a cluster, running or not; harmless when repeated.

    Raises:
        ClusterError: something would not go (it says what); a later sweep tries again.
    """
    deadline = time.monotonic() + _PATIENCE_S
    kill_marked(state.id, only=("kubelet", "containerd"))  # nobody may start containers any more
    while True:
        left = [*_kill_containers(state.cgroup), *kill_marked(state.id)]
        if not left:
            break
        if time.monotonic() > deadline:
            raise ClusterError(f"processes {left} of cluster {state.id} do not end")
        time.sleep(0.05)
    _remove_shim_sockets(state)
    _remove_cni_results(state)
    _unmount([state.folder, state.sockets])
    _remove_network(state)
    _remove_cgroups(state.cgroup, deadline)
    for folder in (state.sockets, state.folder):
        shutil.rmtree(folder, ignore_errors=True)
    if state.folder.exists():
        shutil.rmtree(state.folder)  # the second time it says why
    parent = state.sockets.parent
    if parent.is_dir() and not any(parent.iterdir()):
        parent.rmdir()


def sweep_leftovers() -> list[str]:
    """Remove clusters whose owner is gone, and detached ones that died; return their ids."""
    gone = []
    for state in known():
        dead = not state.owner_lives() or (state.owner is None and not marked(state.id))
        if dead:
            sweep(state)
            gone.append(state.id)
    return gone


def marked(cluster: str) -> dict[int, str]:
    """Living processes of a cluster: process id to name."""
    wanted = f"{MARK}={cluster}".encode()
    found = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            if wanted in (folder / "environ").read_bytes().split(b"\0"):
                found[int(folder.name)] = (folder / "comm").read_text().strip()
        except OSError:  # gone, or another user's
            continue
    return found


def kill_marked(cluster: str, only: tuple[str, ...] = ()) -> dict[int, str]:
    """SIGKILL the cluster's processes; return those that were there."""
    victims = {p: n for p, n in marked(cluster).items() if not only or n in only}
    for pid in victims:
        _kill(pid)
        _reap(pid)
    return victims


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _reap(pid: int) -> None:
    """Where it is our own child: wait for it, else it stays as a zombie."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, 0)


def cgroup_folders(name: str) -> Iterator[Path]:
    """The cgroup of that name in each hierarchy (v1 has many, v2 one), deepest first."""
    root = Path("/sys/fs/cgroup")
    for top in (root / name, *root.glob(f"*/{name}")):
        # os.walk passes over what goes away while it looks.
        for folder, _, _ in os.walk(top, topdown=False):
            yield Path(folder)


def _kill_containers(cgroup: str) -> list[int]:
    pids: set[int] = set()
    for folder in cgroup_folders(cgroup):
        try:
            procs = (folder / "cgroup.procs").read_text().split()
            pids.update(pid for pid in map(int, procs) if pid > 1)  # 0: of a foreign namespace
        except OSError:
            continue
    for pid in pids:
        _kill(pid)
    return [pid for pid in sorted(pids) if _lives(pid)]


def _lives(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


def _remove_shim_sockets(state: State) -> None:
    """containerd's shims put their sockets in /run/containerd/s, whatever the configuration."""
    for pattern in ("**/address", "**/bootstrap.json"):
        for file in state.sockets.glob(pattern):
            try:
                text = file.read_text()
            except OSError:
                continue
            for word in text.replace('"', " ").replace(",", " ").split():
                if word.startswith("unix:///run/containerd/s/"):
                    Path(word.removeprefix("unix://")).unlink(missing_ok=True)


def _remove_cni_results(state: State) -> None:
    """libcni remembers each sandbox's network in one place for everybody."""
    results = Path("/var/lib/cni/results")
    sandboxes = state.sockets.glob("state/io.containerd.runtime.v2.task/k8s.io/*")
    for result in [
        *results.glob(f"{state.bridge}-*"),
        *(results / f"cni-loopback-{sandbox.name}-lo" for sandbox in sandboxes),
    ]:
        result.unlink(missing_ok=True)


def mounts_below(folders: list[Path]) -> list[str]:
    """Mount points at or below the folders, deepest first."""
    found = []
    for line in Path("/proc/self/mounts").read_text().splitlines():
        point = line.split()[1].encode().decode("unicode_escape")
        if any(point == str(f) or point.startswith(f"{f}/") for f in folders):
            found.append(point)
    return sorted(found, reverse=True)


def _unmount(folders: list[Path]) -> None:
    for point in mounts_below(folders):
        subprocess.run(["umount", "-l", point], capture_output=True, check=False)
    left = mounts_below(folders)
    if left:
        raise ClusterError(f"cannot unmount {left}")


def _remove_network(state: State) -> None:
    if Path("/sys/class/net", state.bridge).exists():
        subprocess.run(["ip", "link", "del", state.bridge], capture_output=True, check=False)
    logs = Path("/var/log/containers")  # the kubelet's links to its logs, not configurable
    for link in logs.iterdir() if logs.is_dir() else ():
        if link.is_symlink() and str(state.folder) in str(link.readlink()):
            link.unlink(missing_ok=True)


def _remove_cgroups(name: str, deadline: float) -> None:
    while True:
        for folder in cgroup_folders(name):
            try:
                folder.rmdir()
            except OSError:
                continue
        left = list(cgroup_folders(name))
        if not left:
            return
        if time.monotonic() > deadline:
            raise ClusterError(f"cannot remove cgroups {left[:3]}")
        time.sleep(0.05)
