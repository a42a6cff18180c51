"""What goes over the wire, against a real HTTP server that answers as told."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from kubernetes.aio.client.configuration import Configuration

from xpullm.controller.client import Api
from xpullm.controller.connection import kopf_login, new_client
from xpullm.controller.errors import ApiError, ExpiredError, UnavailableError
from xpullm.controller.kinds import DEPLOYMENT, LLMDEPLOYMENT, POD
from xpullm.controller.server import Servers

Answer = tuple[int, Any]


class Wire:
    """Requests as they came, and answers to give in order."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, dict[str, str], dict[str, str], Any]] = []
        self.answers: list[Answer] = []
        self.counted: list[tuple[str, str, int]] = []

    async def handle(self, request: web.Request) -> web.Response:
        text = await request.text()
        headers = {k: request.headers[k] for k in ("User-Agent", "Content-Type", "Authorization")}
        self.requests.append(
            (
                request.method,
                request.path,
                dict(request.query),
                headers,
                json.loads(text) if text else None,
            )
        )
        status, body = self.answers.pop(0)
        text = body if isinstance(body, str) else json.dumps(body)
        return web.Response(status=status, text=text, content_type="application/json")


@pytest.fixture
async def wire() -> AsyncIterator[tuple[Wire, Api, Configuration]]:
    wire = Wire()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", wire.handle)
    servers = Servers()
    await servers.start(app, "127.0.0.1", 0)
    configuration = Configuration()
    configuration.host = f"http://127.0.0.1:{servers.ports[0]}"
    configuration.api_key["BearerToken"] = "Bearer secret"
    api = Api(new_client(configuration), lambda *seen: wire.counted.append(seen[:3]))
    yield wire, api, configuration
    await api.close()
    await servers.stop()


async def test_the_events_of_one_object_are_selected_by_the_server_and_one_page_is_read(
    wire: tuple[Wire, Api, Configuration],
) -> None:
    told, api, _ = wire
    page = {"metadata": {"resourceVersion": "1", "continue": "more"}, "items": [{"a": 1}, "x"]}
    told.answers = [(200, page)]
    assert await api.events("ns", "u-1") == ({"a": 1},)
    method, path, query, _, _ = told.requests[0]
    assert (method, path) == ("GET", "/apis/events.k8s.io/v1/namespaces/ns/events")
    assert query == {"fieldSelector": "regarding.uid=u-1", "limit": "100"}
    assert told.counted == [("list", "events", 200)]


async def test_apply_names_manager_force_and_strictness(
    wire: tuple[Wire, Api, Configuration],
) -> None:
    told, api, _ = wire
    stored = {"kind": "Deployment", "unknown": {"kept": True}}
    told.answers = [(200, stored)]
    manifest = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"namespace": "ns", "name": "m", "resourceVersion": "7"},
    }
    assert await api.apply(manifest) == stored
    method, path, query, headers, body = told.requests[0]
    assert (method, path) == ("PATCH", "/apis/apps/v1/namespaces/ns/deployments/m")
    assert query == {"fieldManager": "xpullm", "force": "true", "fieldValidation": "Strict"}
    assert headers["Content-Type"] == "application/apply-patch+yaml"
    assert headers["User-Agent"].startswith("xpullm/")
    assert headers["Authorization"] == "Bearer secret"
    assert body == manifest
    assert told.counted == [("patch", "deployments", 200)]


async def test_a_listing_follows_its_pages(wire: tuple[Wire, Api, Configuration]) -> None:
    told, api, _ = wire
    told.answers = [
        (200, {"metadata": {"resourceVersion": "9", "continue": "x"}, "items": [{"a": 1}]}),
        (200, {"metadata": {"resourceVersion": "9"}, "items": [{"a": 2}]}),
    ]
    items, version = await api.list(POD, "ns")
    assert [i["a"] for i in items] == [1, 2]
    assert [(i["apiVersion"], i["kind"]) for i in items] == [("v1", "Pod")] * 2
    assert version == 9
    selector = {"labelSelector": "app.kubernetes.io/managed-by=xpullm", "limit": "500"}
    assert [r[2] for r in told.requests] == [selector, {**selector, "continue": "x"}]


async def test_a_listing_that_expired_begins_anew_once(
    wire: tuple[Wire, Api, Configuration],
) -> None:
    told, api, _ = wire
    gone = (410, {"kind": "Status", "reason": "Expired", "message": "too old"})
    told.answers = [gone, (200, {"metadata": {"resourceVersion": "9"}, "items": []}), gone, gone]
    assert await api.list(LLMDEPLOYMENT) == ([], 9)
    with pytest.raises(ExpiredError):
        await api.list(LLMDEPLOYMENT)


async def test_delete_names_the_uid(wire: tuple[Wire, Api, Configuration]) -> None:
    told, api, _ = wire
    told.answers = [(200, {"kind": "Status"})]
    await api.delete(DEPLOYMENT, "ns", "m", "uid-1")
    assert told.requests[0][4]["preconditions"] == {"uid": "uid-1"}
    assert told.requests[0][4]["propagationPolicy"] == "Background"


async def test_an_answer_that_is_no_json_is_an_error_of_ours(
    wire: tuple[Wire, Api, Configuration],
) -> None:
    told, api, _ = wire
    told.answers = [(200, "{cut")]
    with pytest.raises(ApiError, match="no JSON object"):
        await api.get(POD, "ns", "p")


async def test_nobody_listening_is_unavailable() -> None:
    configuration = Configuration()
    configuration.host = "http://127.0.0.1:9"
    counted: list[Any] = []
    api = Api(new_client(configuration), lambda *seen: counted.append(seen[:3]))
    with pytest.raises(UnavailableError, match="GET /version"):
        await api.read("/version")
    assert counted == [("get", "", 0)]
    await api.close()


async def test_kopf_logs_in_with_the_same_configuration(
    wire: tuple[Wire, Api, Configuration],
) -> None:
    _, _, configuration = wire
    info = await kopf_login(configuration)
    assert (info.server, info.scheme, info.token) == (configuration.host, "Bearer", "secret")
