"""Writes as the API server counted them: it alone sees what really arrived."""

from __future__ import annotations

import re
from collections import Counter

from hack.cluster import Cluster

_LINE = re.compile(r"apiserver_request_total\{(?P<labels>[^}]*)\} (?P<value>\S+)")
_LABEL = re.compile(r'(\w+)="([^"]*)"')


def applied(cluster: Cluster) -> Counter[str]:
    """Server-side applies by resource, since the API server started.

    Nobody else in the bench's cluster uses server-side apply: controllers, scheduler, kwok and the
    bench itself create, update and patch.
    """
    found: Counter[str] = Counter()
    for match in _LINE.finditer(cluster.kubectl("get", "--raw", "/metrics").stdout):
        labels = dict(_LABEL.findall(match["labels"]))
        if labels["verb"] == "APPLY":
            name = "/".join(filter(None, (labels["resource"], labels["subresource"])))
            found[name] += int(float(match["value"]))
    return found


def events_told(cluster: Cluster, namespace: str) -> int:
    """Kubernetes Events that the operator wrote."""
    items = cluster.get("events.events.k8s.io", "-n", namespace)["items"]
    return sum(item.get("reportingController") == "xpullm.io/operator" for item in items)
