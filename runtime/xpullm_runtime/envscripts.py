"""The engine's environment after its image's own scripts (oneAPI's setvars.sh).

The shell's text is constant and the script's path is its argument, so nothing that a user wrote is
ever parsed by a shell. Paths come from the operator's catalogue and must lie where images install
such scripts.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping, Sequence

# /opt/intel/oneapi/setvars.sh, /opt/intel/1ccl-wks/setvars.sh (intel/llm-scaler vllm/docker,
# intel/ipex-llm docker/llm/serving/xpu).
ALLOWED = re.compile(r"/(?:opt|llm)(?:/[A-Za-z0-9_+-][A-Za-z0-9._+-]*)+\.sh")
# setvars.sh ends with an error if the environment is set already, unless it is forced.
_COMMAND = 'source "$0" --force >/dev/null 2>&1; env -0'
_SECONDS = 60
_OF_THE_SHELL = {"_", "SHLVL", "PWD", "OLDPWD"}


class EnvScriptError(Exception):
    """A script that may not or cannot be sourced; the engine starts without it."""


def source(scripts: Sequence[str], environ: Mapping[str, str]) -> dict[str, str]:
    """`environ` after all `scripts` in order. Raises EnvScriptError with the path."""
    result = dict(environ)
    for path in scripts:
        result = _source(path, result)
    return result


def _source(path: str, environ: Mapping[str, str]) -> dict[str, str]:
    if not ALLOWED.fullmatch(path):
        raise EnvScriptError(f"{path!r} is no script below /opt or /llm")
    if not os.path.isfile(path):
        raise EnvScriptError(f"{path}: the image has no such file")
    try:
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-c", _COMMAND, path],
            env=dict(environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EnvScriptError(f"{path}: {error}") from None
    after = parse(done.stdout)
    if not after:  # the script ended the shell
        raise EnvScriptError(f"{path}: ended with {done.returncode} and left no environment")
    kept = {name: value for name, value in environ.items() if name in _OF_THE_SHELL}
    return {name: value for name, value in after.items() if name not in _OF_THE_SHELL} | kept


def parse(dump: bytes) -> dict[str, str]:
    """The output of `env -0`, without functions that bash exports (BASH_FUNC_name%%)."""
    pairs = (entry.partition(b"=") for entry in dump.split(b"\0") if b"=" in entry)
    return {
        name.decode("utf-8", "surrogateescape"): value.decode("utf-8", "surrogateescape")
        for name, _, value in pairs
        if name and not name.startswith(b"BASH_FUNC_")
    }
