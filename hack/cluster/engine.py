"""Images of the simulated engine and of the runtime, under names no registry has."""

import json
from collections.abc import Mapping
from pathlib import Path

from hack.cluster.errors import ClusterError
from hack.cluster.image import Files
from hack.cluster.node import RealNode
from hack.cluster.paths import REPOSITORY

IPEX_LLM = "sim.local/ipex-llm-serving-xpu"
VLLM = "sim.local/vllm-openai-xpu"
RUNTIME = "xpullm.local/runtime"
_HOME = "/opt/simengine"
_MODULE = """import sys

from simengine.main import {entry}

if __name__ == "__main__":
    sys.exit({entry}())
"""
# Real images need these sourced; the real ones print this banner.
_SETVARS = """echo ":: initializing oneAPI environment ..."
export ONEAPI_ROOT=/opt/intel/oneapi
export CCL_ROOT=/opt/intel/1ccl-wks
echo ":: oneAPI environment initialized ::"
"""


def images(node: RealNode, tag: str, truth: Mapping[str, object]) -> list[str]:
    """Make both engine images; returns their names.

    Args:
        node: Where they are needed.
        tag: One for each truth, where several are used.
        truth: What is true of the machine, by the names of ``hack/simengine/truth.py``; a pod's
            ``SIMENGINE_*`` variables win.
    """
    files = _files(truth)
    names = [f"{IPEX_LLM}:{tag}", f"{VLLM}:{tag}"]
    for name in names:
        node.image(name, files, environment={"PYTHONPATH": _HOME, "PYTHONUNBUFFERED": "1"})
    return names


def runtime_image(node: RealNode, zipapp: Path, tag: str) -> str:
    """Make the image that the init container copies the supervisor from; returns its name.

    Raises:
        ClusterError: the zipapp is not built.
    """
    if not zipapp.is_file():
        raise ClusterError(f"{zipapp} does not exist: build the runtime's zipapp first")
    name = f"{RUNTIME}:{tag}"
    node.image(name, {"/xpullm-runtime.pyz": zipapp}, ("python3", "/xpullm-runtime.pyz"))
    return name


def _files(truth: Mapping[str, object]) -> Files:
    files: dict[str, bytes | str | Path] = {
        f"{_HOME}/simengine": REPOSITORY / "hack" / "simengine",
        "/etc/simengine.json": json.dumps(dict(truth)),
        "/usr/local/bin/vllm": "#!/usr/bin/python3\n" + _MODULE.format(entry="vllm"),
        "/bin/bash": '#!/bin/sh\nexec /bin/sh "$@"\n',  # busybox has no bash of its own
        "/opt/intel/oneapi/setvars.sh": _SETVARS,
        "/opt/intel/1ccl-wks/setvars.sh": _SETVARS,
    }
    for module, entry in (
        ("ipex_llm/vllm/xpu/entrypoints/openai/api_server.py", "ipex_llm"),
        ("vllm/entrypoints/openai/api_server.py", "vllm_module"),
    ):
        files[f"{_HOME}/{module}"] = _MODULE.format(entry=entry)
    return files
