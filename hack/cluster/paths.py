"""Where the harness keeps things. Nothing of it is worth a backup."""

import os
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]


def cache_root() -> Path:
    """The user's cache folder of this project: ``$XPULLM_CACHE``, else by the XDG rules."""
    own = os.environ.get("XPULLM_CACHE")
    if own:
        return Path(own).expanduser().resolve()
    xdg = os.environ.get("XDG_CACHE_HOME")
    return (Path(xdg) if xdg else Path.home() / ".cache") / "xpullm"


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
