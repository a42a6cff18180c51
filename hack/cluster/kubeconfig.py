"""Kubeconfig files, and the guard that keeps tests away from real clusters."""

import base64
import json
from pathlib import Path
from typing import Any

import yaml
from hack.cluster.errors import ClusterError

CONTEXT_PREFIX = "xpullm-test-"


def write(path: Path, cluster: str, server: str, authority: Path, user: dict[str, str]) -> Path:
    """Write a kubeconfig with embedded certificates, so that it can be copied anywhere.

    Args:
        path: Where to.
        cluster: Id of the cluster; the context is ``xpullm-test-<id>``.
        server: URL of the API server.
        authority: Its certificate authority.
        user: As in a kubeconfig's ``user``.
    """
    context = CONTEXT_PREFIX + cluster
    config: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": context,
        "clusters": [
            {
                "name": context,
                "cluster": {"server": server, "certificate-authority-data": encoded(authority)},
            }
        ],
        "users": [{"name": context, "user": user}],
        "contexts": [{"name": context, "context": {"cluster": context, "user": context}}],
    }
    path.write_text(json.dumps(config, indent=1))  # JSON is YAML
    path.chmod(0o600)
    return path


def encoded(file: Path) -> str:
    """Base64 of a file, as a kubeconfig's ``*-data`` fields want it."""
    return base64.b64encode(file.read_bytes()).decode()


def require_test_context(kubeconfig: Path) -> None:
    """Refuse a kubeconfig that is not of this harness.

    Raises:
        ClusterError: its current context is not one of ours.
    """
    config = yaml.safe_load(kubeconfig.read_text()) or {}
    context = str(config.get("current-context"))
    if not context.startswith(CONTEXT_PREFIX):
        raise ClusterError(
            f"{kubeconfig}: context {context!r} is not a test cluster's; tests and the demo only "
            f"touch contexts named {CONTEXT_PREFIX}*"
        )
