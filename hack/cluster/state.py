"""What is written down of a running cluster, so that whoever comes later can clean up after it.

Processes are not listed: each carries the cluster's id in its environment (``MARK``), which
survives a lost file and is never confused by a reused process id.
"""

import fcntl
import json
import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from hack.cluster.errors import ClusterError
from hack.cluster.paths import runs

MARK = "XPULLM_TEST_CLUSTER"
_PORTS = range(21000, 30000, 10)  # below the kernel's ephemeral range, so that nobody drifts in
_SUBNETS = range(20, 220)  # 10.244.N.0/24


@dataclass(frozen=True, slots=True)
class State:
    """One cluster. ``owner`` is (process id, start time in clock ticks); None: it runs detached."""

    id: str
    port: int  # the first of ten
    subnet: int
    owner: tuple[int, int] | None

    @property
    def folder(self) -> Path:
        """Everything the cluster writes, but for sockets."""
        return runs() / self.id

    @property
    def sockets(self) -> Path:
        """containerd's sockets and mounts: a path of a socket has at most 107 characters."""
        return Path("/run/xpullm") / self.id

    @property
    def bridge(self) -> str:
        """The pods' network device."""
        return f"xpullm{self.subnet}"

    @property
    def gateway(self) -> str:
        """The host's address on that device."""
        return f"10.244.{self.subnet}.1"

    @property
    def cgroup(self) -> str:
        """Root of the kubelet's cgroups, below each hierarchy."""
        return f"xpullm-{self.id}"

    @property
    def logs(self) -> Path:
        """One file for each process."""
        return self.folder / "logs"

    @property
    def kubeconfig(self) -> Path:
        """Administrator's kubeconfig."""
        return self.folder / "kubeconfig"

    def owner_lives(self) -> bool:
        """Whether the process that started the cluster is still there."""
        return self.owner is None or start_time(self.owner[0]) == self.owner[1]

    def detach(self) -> "State":
        """The same cluster without an owner: from now on nobody's end is its end."""
        free = replace(self, owner=None)
        free.save()
        return free

    def save(self) -> None:
        """Write the file by one rename."""
        self.folder.mkdir(parents=True, exist_ok=True)
        part = self.folder / "state.json.part"
        part.write_text(json.dumps(asdict(self)))
        part.rename(self.folder / "state.json")


def start_time(pid: int) -> int | None:
    """Clock ticks from boot to the start of a process; None where there is none."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return int(text.rpartition(")")[2].split()[19])


def known() -> list[State]:
    """Every cluster that runs or left something."""
    found = []
    for file in sorted(runs().glob("*/state.json")):
        try:
            raw = json.loads(file.read_text())
            owner = tuple(raw.pop("owner") or ()) or None
            found.append(State(owner=owner, **raw))
        except (OSError, ValueError, TypeError):
            continue
    return found


def reserve(name: str | None) -> State:
    """Take an id, ports and a subnet that nobody uses, and write them down.

    Raises:
        ClusterError: a cluster of that name exists.
    """
    with _lock():
        others = known()
        if name and any(other.id == name for other in others):
            raise ClusterError(
                f"cluster {name!r} exists: `python -m hack.cluster down --name {name}`"
            )
        mine = start_time(os.getpid())
        assert mine is not None
        state = State(
            id=name or secrets.token_hex(4),
            port=_free_ports({other.port for other in others}),
            subnet=_free_subnet({other.subnet for other in others}),
            owner=(os.getpid(), mine),
        )
        state.save()
    return state


def _free_ports(taken: set[int]) -> int:
    for port in _PORTS:
        if port not in taken and all(_free(port + i) for i in range(10)):
            return port
    raise ClusterError(f"no ten free ports in {_PORTS.start}–{_PORTS.stop} on 127.0.0.1")


def _free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _free_subnet(taken: set[int]) -> int:
    routes = Path("/proc/net/route")
    used = {line.split()[1] for line in routes.read_text().splitlines()[1:]}
    for number in _SUBNETS:
        little_endian = f"00{number:02X}F40A"  # 10.244.N.0
        if number not in taken and little_endian not in used:
            return number
    raise ClusterError("no free subnet 10.244.N.0/24")


@contextmanager
def _lock() -> Iterator[None]:
    with (runs() / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
