"""Requests to the API server: raw dicts in and out, one time limit, one mapping of errors.

The client library's models are not used: they validate answers, so that an unknown server may
answer a write that happened with an exception, and they drop fields that they do not know.
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import aiohttp
from kubernetes.aio.client.api_client import ApiClient

from xpullm.controller.errors import ApiError, ExpiredError, UnavailableError, from_response
from xpullm.controller.kinds import EVENT, MANAGER, Kind, kind_of
from xpullm.controller.types import Object

_CHUNK = 500  # objects per page: client-go's default page size
_TIMEOUT_SECONDS = 15.0
# One source tells of one object 25 times and then once in 5 minutes, and Events live for an hour
# (client-go tools/record/events_cache.go): kubelet, scheduler and attach controller stay below.
_EVENTS = 100
_METHODS = {
    "get": "GET",
    "list": "GET",
    "create": "POST",
    "update": "PUT",
    "patch": "PATCH",
    "delete": "DELETE",
}
# verb, resource, HTTP code (0: no answer), seconds
Observer = Callable[[str, str, int, float], None]


def _ignore(_verb: str, _resource: str, _code: int, _seconds: float) -> None:
    return


class Api:
    """The API server. All methods raise ``ApiError``s (``xpullm.controller.errors``)."""

    def __init__(self, client: ApiClient, observer: Observer = _ignore) -> None:
        self._client = client
        self._observer = observer

    async def close(self) -> None:
        """Close all connections."""
        await self._client.close()  # type: ignore[no-untyped-call]

    async def read(self, path: str) -> dict[str, Any]:
        """A path that is no object: ``/version``, ``/apis/…``."""
        return await self._request("get", "", path)

    async def get(self, kind: Kind, namespace: str, name: str) -> dict[str, Any]:
        """One object."""
        return await self._request("get", kind.plural, kind.path(namespace, name))

    async def pages(
        self, kind: Kind, namespace: str | None = None
    ) -> AsyncIterator[tuple[list[dict[str, Any]], int]]:
        """A listing in pages, each with the version of the whole listing.

        Raises:
            ExpiredError: the listing took longer than the server keeps its version.
        """
        query = {"limit": str(_CHUNK)}
        if kind.selector:
            query["labelSelector"] = kind.selector
        while True:
            page = await self._request("list", kind.plural, kind.path(namespace), query)
            items = page.get("items") or []
            for item in items:  # items of built-in kinds do not say what they are
                item.setdefault("apiVersion", kind.api_version)
                item.setdefault("kind", kind.kind)
            yield items, int(page["metadata"]["resourceVersion"])
            following = page["metadata"].get("continue")
            if not following:
                return
            query["continue"] = following

    async def list(
        self, kind: Kind, namespace: str | None = None
    ) -> tuple[list[dict[str, Any]], int]:
        """A complete listing and its version; begun anew once if it expired on the way."""
        for attempt in (1, 2):
            found: list[dict[str, Any]] = []
            version = 0
            try:
                async for items, at in self.pages(kind, namespace):
                    found += items
                    version = at
            except ExpiredError:
                if attempt == 2:
                    raise
                continue
            return found, version
        raise AssertionError("unreachable")

    async def events(self, namespace: str, uid: str) -> tuple[Object, ...]:
        """Events about one object, one page: the selector is the server's
        (kubernetes pkg/apis/events/v1/conversion.go)."""
        query = {"fieldSelector": f"regarding.uid={uid}", "limit": str(_EVENTS)}
        page = await self._request("list", EVENT.plural, EVENT.path(namespace), query)
        return tuple(item for item in page.get("items") or () if isinstance(item, dict))

    async def apply(self, obj: Object, subresource: str = "") -> dict[str, Any]:
        """Server-side apply of a complete intent; returns the object as stored.

        ``metadata.resourceVersion`` or ``metadata.uid`` in the manifest are preconditions.
        """
        kind = kind_of(obj)
        metadata = obj["metadata"]
        return await self._request(
            "patch",
            f"{kind.plural}/{subresource}" if subresource else kind.plural,
            kind.path(metadata.get("namespace"), metadata["name"], subresource),
            {"fieldManager": MANAGER, "force": "true", "fieldValidation": "Strict"},
            obj,
            "application/apply-patch+yaml",
        )

    async def create(self, obj: Object) -> dict[str, Any]:
        """Create an object that must not exist yet."""
        kind = kind_of(obj)
        path = kind.path(obj["metadata"].get("namespace"))
        query = {"fieldManager": MANAGER, "fieldValidation": "Strict"}
        return await self._request("create", kind.plural, path, query, obj)

    async def update(self, obj: Object) -> dict[str, Any]:
        """Replace an object; its ``resourceVersion`` is the precondition."""
        kind = kind_of(obj)
        metadata = obj["metadata"]
        path = kind.path(metadata.get("namespace"), metadata["name"])
        query = {"fieldManager": MANAGER, "fieldValidation": "Strict"}
        return await self._request("update", kind.plural, path, query, obj)

    async def delete(self, kind: Kind, namespace: str, name: str, uid: str) -> None:
        """Delete the very object with this UID; its dependents follow in the background."""
        body = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": "Background",
            "preconditions": {"uid": uid},
        }
        await self._request("delete", kind.plural, kind.path(namespace, name), body=body)

    async def _request(
        self,
        verb: str,
        resource: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Object | None = None,
        content_type: str = "application/json",
    ) -> dict[str, Any]:
        method, url, headers, data, _ = await self._client.param_serialize(
            _METHODS[verb],
            path,
            query_params=list((query or {}).items()),
            header_params={"Accept": "application/json", "Content-Type": content_type},
            body=body,
            auth_settings=["BearerToken"],
        )
        started = time.monotonic()
        code = 0
        try:
            response = await self._client.call_api(
                method,
                url,
                headers,
                data,
                _request_timeout=aiohttp.ClientTimeout(total=_TIMEOUT_SECONDS),
            )
            raw: bytes = await response.read()  # type: ignore[no-untyped-call]
            code = response.status
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            message = str(error) or f"no answer within {_TIMEOUT_SECONDS:.0f} s"
            raise UnavailableError(
                0, type(error).__name__, f"{method} {path}: {message}"
            ) from error
        finally:
            self._observer(verb, resource, code, time.monotonic() - started)
        if not 200 <= code < 300:
            raise from_response(code, response.headers, raw)
        return _decode(code, raw)


def _decode(code: int, raw: bytes) -> dict[str, Any]:
    try:
        found = json.loads(raw)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise ApiError(code, "BadAnswer", f"the answer is no JSON object: {raw[:80]!r}")
    return found
