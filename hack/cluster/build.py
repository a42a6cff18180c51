"""Build the programs from Go modules, once, into the user's cache.

A build works in a folder of its own (Go's caches take about 11 GB) and deletes it afterwards;
only the programs are kept (0.6 GB), in a folder named by the hash of everything that went in.
The folder appears by one rename, so an interrupted build is never taken for a finished one, and
a lock keeps two builds from running together.
"""

import fcntl
import hashlib
import os
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hack.cluster.errors import ClusterError
from hack.cluster.paths import HERE, cluster_cache
from hack.cluster.say import Progress, elapsed, say
from hack.cluster.toolchain import find_go

KUBERNETES = "1.36.3"  # as in go/go.mod
CONTAINERD = "2.4.2"  # as in containerd/go.mod
_GIB = 1 << 30
_DISK_NEEDED_BYTES = 14 * _GIB  # measured: 11 GB of caches, 0.6 GB of programs
_CD = "github.com/containerd/containerd/v2"


@dataclass(frozen=True, slots=True)
class Part:
    """Programs that are built together and cached together."""

    name: str
    module: str  # folder below this one, with go.mod and go.sum
    packages: tuple[str, ...]
    ldflags: str
    tags: str = ""
    renames: tuple[tuple[str, str], ...] = ()

    def key(self) -> str:
        """Hash of everything that decides what comes out."""
        folder = HERE / self.module
        parts = [(folder / "go.mod").read_bytes(), (folder / "go.sum").read_bytes()]
        parts.append(repr((self.packages, self.ldflags, self.tags, self.renames)).encode())
        parts.append(" ".join(os.uname()[i] for i in (0, 4)).encode())
        return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]

    def folder(self) -> Path:
        """Where the programs are or will be."""
        return cluster_cache() / f"{self.name}-{self.key()}" / "bin"


_K8S_FLAGS = f"-s -w -X k8s.io/component-base/version.gitVersion=v{KUBERNETES}"

CONTROL_PLANE = Part(
    "control-plane",
    "go",
    (
        *(
            f"k8s.io/kubernetes/cmd/{name}"
            for name in ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl")
        ),
        "sigs.k8s.io/kwok/cmd/kwok",
        "go.etcd.io/etcd/server/v3",
        "helm.sh/helm/v4/cmd/helm",
    ),
    _K8S_FLAGS,
    renames=(("server", "etcd"),),
)
KUBELET = Part("kubelet", "go", ("k8s.io/kubernetes/cmd/kubelet",), _K8S_FLAGS)
RUNTIME = Part(
    "containerd",
    "containerd",
    tuple(f"{_CD}/cmd/{name}" for name in ("containerd", "containerd-shim-runc-v2", "ctr")),
    f"-s -w -X {_CD}/version.Version={CONTAINERD}",
    tags="no_btrfs,no_zfs,no_devmapper",
)


def programs(*, real_node: bool) -> dict[str, Path]:
    """What a cluster runs, with or without a real node, by name; raises as ``build`` does."""
    return build(CONTROL_PLANE, KUBELET, RUNTIME) if real_node else build(CONTROL_PLANE)


def build(*parts: Part) -> dict[str, Path]:
    """Build what is missing of ``parts``; return every program by its name.

    Raises:
        ClusterError: no Go toolchain, no room on disk, no network, or a compiler error.
    """
    if any(not part.folder().exists() for part in parts):
        with _one_build_at_a_time():
            missing = [part for part in parts if not part.folder().exists()]
            if missing:
                _build_missing(missing)
    return {program.name: program for part in parts for program in part.folder().iterdir()}


def _build_missing(parts: list[Part]) -> None:
    start = time.monotonic()
    go = find_go()
    for leftover in cluster_cache().glob("build-*"):  # of an interrupted build; we hold the lock
        _remove(leftover)
    free = shutil.disk_usage(cluster_cache()).free
    if free < _DISK_NEEDED_BYTES:
        raise ClusterError(
            f"{cluster_cache()} has {free / _GIB:.1f} GiB free, the build needs "
            f"{_DISK_NEEDED_BYTES / _GIB:.0f} GiB for a while (0.6 GiB stay); set XPULLM_CACHE"
        )
    say("building etcd, Kubernetes, kwok and helm from source: once, about 8 min on 2 cores")
    work = Path(tempfile.mkdtemp(prefix="build-", dir=cluster_cache()))
    try:
        environment = _environment(go, work)
        compiled: set[str] = set()
        for part in parts:
            _build_part(go, part, work / part.name, environment, compiled)
    finally:
        _remove(work)
    say(f"built in {elapsed(time.monotonic() - start)}, kept in {cluster_cache()}")


def _environment(go: Path, work: Path) -> dict[str, str]:
    answer = subprocess.run(
        [str(go), "env", "GOMODCACHE", "GOPROXY"], capture_output=True, text=True, check=True
    ).stdout
    cache, proxy = [*answer.splitlines(), "", ""][:2]
    proxy = proxy or "direct"
    downloads = Path(cache) / "cache" / "download"
    if cache and downloads.is_dir():  # the user's own modules are read, never written
        proxy = f"{downloads.as_uri()},{proxy}"
    return {
        **os.environ,
        "CGO_ENABLED": "0",
        "GOCACHE": str(work / "gocache"),
        "GOMODCACHE": str(work / "gomodcache"),
        "GOTMPDIR": str(work),
        "GOPROXY": proxy,
        "GOFLAGS": "-mod=readonly -trimpath -modcacherw -buildvcs=false",
        "GOTOOLCHAIN": "local",
        "GOWORK": "off",
    }


def _build_part(
    go: Path, part: Part, target: Path, environment: dict[str, str], compiled: set[str]
) -> None:
    """Build one part; ``compiled`` are packages that are in Go's cache by now."""
    module = HERE / part.module
    with Progress(f"{part.name}: downloading modules", unit="modules") as progress:
        _run([str(go), "mod", "download", "-x"], module, environment, progress, mark="# get ")
    tags = ["-tags", part.tags] if part.tags else []
    listed = subprocess.run(
        [str(go), "list", "-deps", *tags, *part.packages],
        cwd=module, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    (target / "bin").mkdir(parents=True)
    command = [str(go), "build", "-v", *tags, "-ldflags", part.ldflags]
    packages = set(listed.stdout.split())
    with Progress(f"{part.name}: compiling", total=len(packages - compiled)) as progress:
        output = str(target / "bin") + "/"
        _run([*command, "-o", output, *part.packages], module, environment, progress)
    compiled |= packages
    for old, new in part.renames:
        (target / "bin" / old).rename(target / "bin" / new)
    final = part.folder().parent
    _remove(final)
    target.rename(final)


def _run(
    command: list[str], cwd: Path, environment: dict[str, str], progress: Progress, mark: str = ""
) -> None:
    """Run ``go``, one step of progress for each line that starts with ``mark``."""
    tail: list[str] = []
    with subprocess.Popen(
        command, cwd=cwd, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as process:
        try:
            for line in _lines(process, progress):
                tail = [*tail[-20:], line]
                if line.startswith(mark):
                    progress.step()
        except BaseException:
            process.kill()
            raise
    if process.returncode != 0:
        raise ClusterError(f"`{' '.join(command[:3])}` failed:\n" + "\n".join(tail))


def _lines(process: "subprocess.Popen[bytes]", progress: Progress) -> Iterator[str]:
    """Lines of stderr; the clock goes on while there are none (the linker prints nothing)."""
    assert process.stderr is not None
    descriptor, rest = process.stderr.fileno(), b""
    while True:
        progress.tick()
        if not select.select([descriptor], [], [], 1.0)[0]:
            continue
        chunk = os.read(descriptor, 1 << 16)
        if not chunk:
            break
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield line.decode(errors="replace")


@contextmanager
def _one_build_at_a_time() -> Iterator[None]:
    with (cluster_cache() / "build.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another build is running: waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _remove(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True)
