"""Local container images without a registry: busybox, this Python, and files of one's own.

The base layer is made once from the machine's static busybox and the interpreter that runs the
harness (with the shared libraries it needs), so it needs no distribution and no download.
"""

import hashlib
import io
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Mapping
from pathlib import Path

from hack.cluster.errors import ClusterError
from hack.cluster.paths import cluster_cache

# Path in the image -> its content; a file keeps its mode, bytes and text get 0755.
Files = Mapping[str, bytes | str | Path]

_FOLDERS = ("bin", "dev", "etc", "proc", "root", "sys", "tmp", "usr/bin", "usr/local/bin", "var")
_UNNEEDED = re.compile(
    r"/(test|tests|idlelib|tkinter|lib2to3|ensurepip|site-packages|turtledemo|config-[^/]*|"
    r"__pycache__)(/|$)|/(_tkinter|_test|_ctypes_test|xxlimited)[^/]*$"
)
_DEFAULT_LIBRARY_FOLDERS = ("/lib", "/usr/lib")
_ENV = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LD_LIBRARY_PATH": "/usr/local/lib"}
_PYTHON = f"python{sys.version_info[0]}.{sys.version_info[1]}"


def archive(
    name: str,
    files: Files,
    command: tuple[str, ...] = (),
    environment: Mapping[str, str] | None = None,
    bases: tuple[str, ...] = ("busybox", "python"),
) -> bytes:
    """An image as a docker archive, ready for ``ctr images import``.

    Args:
        name: With a tag of its own; never ``latest`` (the kubelet would want to pull it).
        files: What lies above the base layer.
        command: Entrypoint; by default the container sleeps.
        environment: Variables of the image.
        bases: Which base layers lie below the files.
    """
    if ":" not in name.rpartition("/")[2] or name.endswith(":latest"):
        raise ClusterError(f"image {name!r} needs a tag, and not :latest: it is never pulled")
    layers = {f"{kind}.tar": base_layer(kind).read_bytes() for kind in bases}
    layers["files.tar"] = _layer(files)
    digests = [f"sha256:{hashlib.sha256(layer).hexdigest()}" for layer in layers.values()]
    config = {
        "architecture": "arm64" if platform.machine() in ("aarch64", "arm64") else "amd64",
        "os": "linux",
        "config": {
            # Two names on one image id show the wrong one in a pod's status.
            "Labels": {"name": name},
            "Env": [f"{key}={value}" for key, value in {**_ENV, **(environment or {})}.items()],
            "Entrypoint": list(command or ("/bin/sleep", "2147483647")),
        },
        "rootfs": {"type": "layers", "diff_ids": digests},
    }
    manifest = [{"Config": "config.json", "RepoTags": [name], "Layers": list(layers)}]
    members = {"manifest.json": manifest, "config.json": config}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for member, content in {**_as_json(members), **layers}.items():
            _add(tar, member, content)
    return buffer.getvalue()


def base_layer(kind: str) -> Path:
    """The tar of ``busybox`` or ``python``, made once for each version of this file."""
    made_by = Path(__file__).read_text()
    what = f"{sys.version}{_base_python()}" if kind == "python" else _busybox()
    key = hashlib.sha256(f"{made_by}{what}".encode()).hexdigest()[:12]
    target = cluster_cache() / f"layer-{kind}-{key}.tar"
    if not target.exists():
        for old in set(cluster_cache().glob(f"layer-{kind}-*.tar")) - {target}:
            old.unlink(missing_ok=True)
        part = target.with_suffix(f".{os.getpid()}")
        with tarfile.open(part, "w") as tar:
            {"busybox": _write_busybox, "python": _write_python}[kind](tar)
        part.rename(target)
    return target


def _write_busybox(tar: tarfile.TarFile) -> None:
    for folder in _FOLDERS:
        info = tarfile.TarInfo(folder)
        info.type, info.mode = tarfile.DIRTYPE, 0o1777 if folder == "tmp" else 0o755
        tar.addfile(info)
    passwd = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/tmp:/bin/sh\n"
    _add(tar, "etc/passwd", passwd.encode(), mode=0o644)
    busybox = _busybox()
    _add_file(tar, busybox, "bin/busybox")
    applets = subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True)
    for applet in applets.stdout.split():
        if applet not in ("busybox", "python3"):
            _link(tar, f"bin/{applet}", "busybox")


def _write_python(tar: tarfile.TarFile) -> None:
    program, library = _base_python(), Path(sysconfig.get_path("stdlib"))
    _add_file(tar, program, f"usr/local/bin/{_PYTHON}")
    for link in ("usr/bin/python3", "usr/bin/python", "usr/local/bin/python3"):
        _link(tar, link, f"/usr/local/bin/{_PYTHON}")
    binaries = [program]
    for file in sorted(library.rglob("*")):
        below = f"/{file.relative_to(library)}"
        if not file.is_file() or _UNNEEDED.search(below) or file.suffix == ".a":
            continue
        _add_file(tar, file, f"usr/local/lib/{_PYTHON}{below}")
        if file.suffix == ".so":
            binaries.append(file)
    for path in shared_libraries(binaries):
        in_place = str(path).startswith(_DEFAULT_LIBRARY_FOLDERS)
        _add_file(tar, path, str(path).lstrip("/") if in_place else f"usr/local/lib/{path.name}")


def shared_libraries(binaries: list[Path]) -> list[Path]:
    """Shared libraries and the loader that the binaries need, by ``ldd``."""
    answer = subprocess.run(
        ["ldd", *map(str, binaries)], capture_output=True, text=True, check=False
    ).stdout
    found = {Path(path) for path in re.findall(r"(?:=> |^\s+)(/\S+)", answer, re.MULTILINE)}
    return sorted(path for path in found if path.exists())


def _base_python() -> Path:
    """The interpreter itself, where this one runs in a virtual environment."""
    base = getattr(sys, "_base_executable", None) or sys.executable
    return Path(os.path.realpath(base))


def _busybox() -> str:
    found = shutil.which("busybox")
    if not found:
        raise ClusterError("please install (Debian package names): busybox-static")
    return found


def _layer(files: Files) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in sorted(files.items()):
            inside = name.lstrip("/")
            if isinstance(content, Path):
                _add_tree(tar, content, inside)
            else:
                _add(tar, inside, content.encode() if isinstance(content, str) else content)
    return buffer.getvalue()


def _add_tree(tar: tarfile.TarFile, path: Path, name: str) -> None:
    if path.is_dir():
        for file in sorted(path.rglob("*")):
            if file.is_file() and "__pycache__" not in file.parts:
                _add_file(tar, file, f"{name}/{file.relative_to(path)}")
    else:
        _add_file(tar, path, name)


def _add_file(tar: tarfile.TarFile, path: Path | str, name: str) -> None:
    mode = Path(path).stat().st_mode & 0o777
    _add(tar, name, Path(path).read_bytes(), mode | 0o444)


def _add(tar: tarfile.TarFile, name: str, content: bytes, mode: int = 0o755) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(content), mode
    tar.addfile(info, io.BytesIO(content))


def _link(tar: tarfile.TarFile, name: str, target: str) -> None:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = tarfile.SYMTYPE, target
    tar.addfile(info)


def _as_json(members: Mapping[str, object]) -> dict[str, bytes]:
    return {name: json.dumps(value).encode() for name, value in members.items()}
