"""Where the harness keeps things. Nothing of it is worth a backup."""

from pathlib import Path

from hack.bootstrap import cache_root

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]


def cluster_cache() -> Path:
    """Binaries, base images, state of running clusters, logs of failed ones."""
    path = cache_root() / "cluster"
    path.mkdir(parents=True, exist_ok=True)
    return path


def runs() -> Path:
    """One folder for each cluster that runs or left something behind."""
    path = cluster_cache() / "run"
    path.mkdir(exist_ok=True)
    return path


def kept_logs() -> Path:
    """Logs of clusters in which something failed."""
    path = cluster_cache() / "logs"
    path.mkdir(exist_ok=True)
    return path
