"""A live pod as evidence, read with the credentials of the user's kubeconfig.

Only the command line reads logs; the operator never does. The client library is imported here
alone, because its import takes longer than everything else that the command does.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from xpullm.cli.inputs import InputError
from xpullm.cli.seen import Object, Seen, dig, owner_of
from xpullm_runtime.diagnosis import Evidence

LOG_BYTES = 4_000_000
TIMEOUT_SECONDS = 15


def seen_of(namespace: str, name: str, container: str) -> Seen:
    """The pod, its events and its last log; of a pod of ours also what it belongs to.

    Raises:
        InputError: no kubeconfig, no such pod, or no right to read it.
    """
    from kubernetes import client, config
    from kubernetes.client.exceptions import ApiException
    from urllib3.exceptions import HTTPError

    try:
        config.load_kube_config()  # type: ignore[no-untyped-call]
        core = client.CoreV1Api()
        pod = _json(core.read_namespaced_pod(name, namespace, **_RAW))
        uid = dig(pod, "metadata", "uid")
        selector = f"involvedObject.uid={uid}"
        events = _json(
            core.list_namespaced_event(namespace, field_selector=selector, limit=500, **_RAW)
        )
        deployment, llmd = _around(namespace, owner_of(pod))
    except config.ConfigException as error:
        raise InputError(f"kubeconfig: {error}") from error
    except ApiException as error:
        raise InputError(f"pod {namespace}/{name}: {_reason(error)}") from error
    except HTTPError as error:
        reason = getattr(error, "reason", None) or error
        raise InputError(f"the API server of the kubeconfig doesn't answer: {reason}") from error
    items = events.get("items")
    evidence = Evidence(
        log=_log(core, namespace, name, container, pod),
        pod=pod,
        container=container,
        events=items if isinstance(items, list) else (),
    )
    return Seen(f"pod {namespace}/{name}", evidence, deployment, llmd)


_RAW: dict[str, Any] = {"_preload_content": False, "_request_timeout": TIMEOUT_SECONDS}


def _around(namespace: str, owner: str) -> tuple[Object | None, Object | None]:
    """The Deployment and the LLMDeployment of a pod of ours; None where they can't be read: then
    the answer is a more general one."""
    from kubernetes import client
    from kubernetes.client.exceptions import ApiException

    from xpullm.api import GROUP, VERSION

    if not owner:
        return None, None
    try:
        return (
            _json(client.AppsV1Api().read_namespaced_deployment(owner, namespace, **_RAW)),
            _json(
                client.CustomObjectsApi().get_namespaced_custom_object(
                    GROUP, VERSION, namespace, "llmdeployments", owner, **_RAW
                )
            ),
        )
    except ApiException:
        return None, None


def _log(core: Any, namespace: str, name: str, container: str, pod: Mapping[str, Any]) -> str:
    """The log of the run that failed: the one before where the container runs again."""
    from kubernetes.client.exceptions import ApiException

    statuses = dig(pod, "status", "containerStatuses") or []
    mine = [one for one in statuses if dig(one, "name") == container] or statuses[:1]
    if not mine:
        return ""
    previous = dig(mine[0], "state", "terminated") is None and bool(
        dig(mine[0], "lastState", "terminated")
    )
    try:
        answer = core.read_namespaced_pod_log(
            name, namespace, container=mine[0].get("name", container), previous=previous,
            tail_lines=20_000, **_RAW,
        )  # fmt: skip
    except ApiException:
        return ""  # the log is gone with its container; the pod's status still tells
    data: bytes = answer.data
    return data[-LOG_BYTES:].decode(errors="replace")


def _json(answer: Any) -> dict[str, Any]:
    found = json.loads(answer.data)
    return found if isinstance(found, dict) else {}


def _reason(error: Any) -> str:
    try:
        return str(json.loads(error.body)["message"])
    except (TypeError, ValueError, KeyError):
        return f"{error.status} {error.reason}"
