"""etcd, API server, controller manager, scheduler and kwok as processes on loopback."""

import os
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from hack.cluster import pki
from hack.cluster.kubeconfig import encoded, write
from hack.cluster.paths import HERE
from hack.cluster.process import Process
from hack.cluster.state import State

STAGES = HERE / "stages"
AUDIT_POLICY = HERE / "audit-policy.yaml"
_ETCD, _PEER, _API, _MANAGER, _SCHEDULER, _KWOK = range(6)  # offsets from the first port


def start(state: State, programs: dict[str, Path], *, kwok: bool) -> Iterator[Process]:
    """Start everything in order; each process is yielded once it runs.

    Args:
        state: Of the new cluster.
        programs: Name to path, as ``build`` returns them.
        kwok: Whether nodes with the annotation ``kwok.x-k8s.io/node=fake`` are simulated.

    Raises:
        ClusterError: a process does not come up or does not stay.
    """
    keys = state.folder / "pki"
    _certificates(keys, state.gateway)
    write(state.kubeconfig, state.id, _server(state), keys / "ca.crt", client(keys, "admin"))

    etcd = _etcd(state, programs["etcd"])
    yield etcd
    api = _api_server(state, programs["kube-apiserver"], keys)
    yield api
    api_ready = _api_ready(state, keys)

    def ready() -> bool:
        etcd.check()
        return api_ready()

    api.wait_until(ready, seconds=90)
    manager, scheduler = _manager(state, programs, keys), _scheduler(state, programs)
    yield manager
    yield scheduler
    if kwok:
        simulator = _kwok(state, programs["kwok"], keys)
        yield simulator
        address = f"http://127.0.0.1:{state.port + _KWOK}/healthz"
        simulator.wait_until(partial(answers, address), seconds=30)
    anyone = ssl.create_default_context()
    anyone.check_hostname, anyone.verify_mode = False, ssl.CERT_NONE
    for process, offset in ((manager, _MANAGER), (scheduler, _SCHEDULER)):
        address = f"https://127.0.0.1:{state.port + offset}/healthz"
        process.wait_until(partial(answers, address, anyone), seconds=60)


def restart_api_server(state: State, programs: dict[str, Path]) -> Process:
    """Start the API server of a cluster again after its process was killed; returns once it is
    ready. What it holds is in etcd.

    Raises:
        ClusterError: it does not come up.
    """
    keys = state.folder / "pki"
    api = _api_server(state, programs["kube-apiserver"], keys)
    api.wait_until(_api_ready(state, keys), seconds=90)
    return api


def _server(state: State) -> str:
    return f"https://127.0.0.1:{state.port + _API}"


def _api_ready(state: State, keys: Path) -> Callable[[], bool]:
    """Asks the API server, as its administrator, whether it is ready."""
    context = ssl.create_default_context(cafile=str(keys / "ca.crt"))
    context.load_cert_chain(keys / "admin.crt", keys / "admin.key")
    return partial(answers, f"{_server(state)}/readyz", context)


def answers(url: str, context: ssl.SSLContext | None = None) -> bool:
    """Whether a GET gives 200."""
    try:
        with urllib.request.urlopen(url, timeout=5, context=context) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def audit_log(state: State) -> Path:
    """What ServiceAccounts asked of the API server: one audit.k8s.io/v1 Event per line."""
    return state.logs / "audit.jsonl"


def client(keys: Path, name: str) -> dict[str, str]:
    """A kubeconfig's user from a certificate."""
    return {
        "client-certificate-data": encoded(keys / f"{name}.crt"),
        "client-key-data": encoded(keys / f"{name}.key"),
    }


def _certificates(keys: Path, gateway: str) -> None:
    pki.authority(keys)
    addresses = f"IP:127.0.0.1,IP:10.0.0.1,IP:{gateway}"
    pki.certificate(keys, "server", "/CN=kube-apiserver", addresses)
    pki.certificate(keys, "admin", "/O=system:masters/CN=admin")
    pki.certificate(keys, "kwok", "/CN=kwok")
    pki.certificate(keys, "front", "/CN=front-proxy")


def _etcd(state: State, program: Path) -> Process:
    at, peer = (f"http://127.0.0.1:{state.port + offset}" for offset in (_ETCD, _PEER))
    return Process(
        state,
        "etcd",
        [
            str(program), "--data-dir", str(state.folder / "etcd"), "--unsafe-no-fsync",
            "--listen-client-urls", at, "--advertise-client-urls", at,
            "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
            "--initial-cluster", f"default={peer}", "--log-level", "warn",
        ],
    )  # fmt: skip


def _api_server(state: State, program: Path, keys: Path) -> Process:
    flags = {
        "etcd-servers": f"http://127.0.0.1:{state.port + _ETCD}",
        "bind-address": "127.0.0.1",
        "advertise-address": "127.0.0.1",
        "secure-port": state.port + _API,
        "tls-cert-file": keys / "server.crt",
        "tls-private-key-file": keys / "server.key",
        "client-ca-file": keys / "ca.crt",
        "service-account-key-file": keys / "sa.pub",
        "service-account-signing-key-file": keys / "sa.key",
        "service-account-issuer": "https://kubernetes.default.svc",
        "authorization-mode": "Node,RBAC",
        "allow-privileged": "true",
        "service-cluster-ip-range": "10.0.0.0/24",
        "endpoint-reconciler-type": "none",
        # Without the names it refuses to start, because both authorities are the same.
        "requestheader-client-ca-file": keys / "ca.crt",
        "requestheader-allowed-names": "front-proxy",
        "requestheader-username-headers": "X-Remote-User",
        "requestheader-group-headers": "X-Remote-Group",
        "requestheader-extra-headers-prefix": "X-Remote-Extra-",
        "proxy-client-cert-file": keys / "front.crt",
        "proxy-client-key-file": keys / "front.key",
        "kubelet-client-certificate": keys / "admin.crt",
        "kubelet-client-key": keys / "admin.key",
        "kubelet-preferred-address-types": "InternalIP",  # else it resolves the node's name
        "audit-policy-file": AUDIT_POLICY,
        "audit-log-path": audit_log(state),
    }
    # A fifth of its CPU time went into collecting garbage of a small heap (measured by its own
    # profile, 2 cores); with this it takes up to 1 GiB.
    spare = {"GOGC": os.environ.get("GOGC", "400")}
    return Process(state, "kube-apiserver", [str(program), *_flags(flags)], spare)


def _manager(state: State, programs: dict[str, Path], keys: Path) -> Process:
    flags = {
        "kubeconfig": state.kubeconfig,
        "service-account-private-key-file": keys / "sa.key",
        "root-ca-file": keys / "ca.crt",
        "leader-elect": "false",
        "bind-address": "127.0.0.1",
        "secure-port": state.port + _MANAGER,
        "controllers": "*,-nodeipam,-cloud-node-lifecycle",
        "kube-api-qps": 500,  # its own 20 per second would bound every figure of a fleet
        "kube-api-burst": 1000,
        "cert-dir": state.folder / "certs-manager",
    }
    program = programs["kube-controller-manager"]
    return Process(state, program.name, [str(program), *_flags(flags)])


def _scheduler(state: State, programs: dict[str, Path]) -> Process:
    flags = {
        "kubeconfig": state.kubeconfig,
        "leader-elect": "false",
        "bind-address": "127.0.0.1",
        "secure-port": state.port + _SCHEDULER,
        "cert-dir": state.folder / "certs-scheduler",
    }
    program = programs["kube-scheduler"]
    return Process(state, program.name, [str(program), *_flags(flags)])


def _kwok(state: State, program: Path, keys: Path) -> Process:
    stages = state.folder / "stages.yaml"  # an installed kwok has none built in
    stages.write_text("\n---\n".join(f.read_text() for f in sorted(STAGES.glob("*.yaml"))))
    flags = {
        "config": stages,
        "kubeconfig": state.kubeconfig,
        "manage-all-nodes": "false",
        "manage-nodes-with-annotation-selector": "kwok.x-k8s.io/node=fake",
        "cidr": "10.1.0.0/16",
        "node-ip": "127.0.0.1",
        "node-port": state.port + _KWOK,
        "server-address": f"127.0.0.1:{state.port + _KWOK}",
        "tls-cert-file": keys / "kwok.crt",
        "tls-private-key-file": keys / "kwok.key",
        "node-lease-duration-seconds": 40,
    }
    return Process(state, "kwok", [str(program), *_flags(flags)])


def _flags(flags: dict[str, object]) -> list[str]:
    return [f"--{name}={value}" for name, value in flags.items()]
