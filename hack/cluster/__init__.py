"""A real Kubernetes on this machine, without Docker, for tests and the demo.

etcd, the API server, the controller manager, the scheduler and kwok run as plain processes on
loopback; with ``real_node=True`` a kubelet with containerd joins them. Everything is built from
Go modules (``go/``, ``containerd/``) once and kept in the user's cache.

    from hack.cluster import Cluster

    with Cluster() as c:
        c.kubectl("get", "namespaces")
"""

from hack.cluster.cluster import Cluster
from hack.cluster.errors import ClusterError
from hack.cluster.requirements import real_node_unavailable

__all__ = ["Cluster", "ClusterError", "real_node_unavailable"]
