"""The local images that the demo's pods run; nothing is pulled."""

from __future__ import annotations

from pathlib import Path

from hack.cluster import Cluster
from hack.demo.install import RUNTIME_IMAGE

from xpullm_runtime.build import archive, write

# Each image carries what is true of its machine, where the engine's users can't see it.
SEED = "sim.local/ipex-llm-serving-xpu:held"
SEED_TRUTH = {"foreign": "3Gi"}
LOADING = "sim.local/ipex-llm-serving-xpu:loading"
LOADING_TRUTH = {"host_load": "400Mi"}


def load(cluster: Cluster, folder: Path) -> None:
    """Make the engine's images and the one that holds the supervisor."""
    zipapp = folder / "xpullm-runtime.pyz"
    write(zipapp, archive())
    cluster.runtime_image(zipapp, RUNTIME_IMAGE.rpartition(":")[2])
    cluster.engine_images("held", SEED_TRUTH)
    cluster.engine_images("loading", LOADING_TRUTH)
