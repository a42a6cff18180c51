"""Make `.venv` from the lock file with uv, taken from PATH or from the Python package index.

Standard library only: it runs before anything is installed. It needs Python >= 3.11 and pip.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
UV_REQUIREMENT = "uv>=0.9,<1"
MINIMUM_UV = (0, 9)


def say(text: str) -> None:
    print(f"setup: {text}", file=sys.stderr, flush=True)


def cache_root() -> Path:
    """The user's cache folder of this project: `$XPULLM_CACHE`, else by the XDG rules."""
    own = os.environ.get("XPULLM_CACHE")
    if own:
        return Path(own).expanduser().resolve()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "xpullm"


def usable(uv: str | Path) -> bool:
    try:
        out = subprocess.run([uv, "--version"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return False
    found = re.search(r"(\d+)\.(\d+)", out)
    return found is not None and (int(found[1]), int(found[2])) >= MINIMUM_UV


def find_uv() -> Path:
    """uv from PATH, else from our cache, else installed into our cache by pip."""
    on_path = shutil.which("uv")
    if on_path and usable(on_path):
        return Path(on_path)
    home = cache_root() / "uv"
    uv = home / "bin" / "uv"
    if usable(uv):
        return uv
    say("uv is not on PATH: taking it from the package index")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    command += ["--root-user-action=ignore", "--upgrade", "--target", str(home), UV_REQUIREMENT]
    if subprocess.run([sys.executable, "-m", "pip", "--version"], capture_output=True).returncode:
        install_pip()
    if subprocess.run(command).returncode or not usable(uv):
        sys.exit(f"setup: could not install uv with {sys.executable} -m pip; install uv by hand")
    return uv


def install_pip() -> None:
    """Debian's python3 comes without pip; apt brings it where we may use it."""
    if os.geteuid() or not shutil.which("apt-get"):
        sys.exit(f"setup: {sys.executable} has no pip; install pip or uv, then run this again")
    say("pip is missing: installing Debian's python3-pip")
    install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", "python3-pip"]
    if subprocess.run(install, stdout=subprocess.DEVNULL).returncode:
        subprocess.run(["apt-get", "update", "-qq"], check=True)
        subprocess.run(install, check=True, stdout=subprocess.DEVNULL)


def main() -> None:
    if sys.version_info < (3, 11):  # noqa: UP036 - this file runs with whatever Python there is
        sys.exit(f"setup: Python 3.11 or newer is needed, this is {sys.version.split()[0]}")
    uv = find_uv()
    say("installing the locked packages into .venv")
    env = os.environ | {"UV_PYTHON_DOWNLOADS": "never", "VIRTUAL_ENV": ""}
    command = [str(uv), "sync", "--locked", "--quiet", "--compile-bytecode"]
    command += ["--python", sys.executable]
    sys.exit(subprocess.run(command, cwd=ROOT, env=env).returncode)


if __name__ == "__main__":
    main()
