"""One request: bounded in time, size and direction."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from xpullm.controller.engine_figures import BODY_BYTES
from xpullm.controller.status_client import StatusClient, StatusError

Serve = Callable[[asyncio.StreamWriter], Awaitable[None]]


async def asked(serve: Serve) -> Any:
    """Ask a server that answers as told; its answer, or the error."""
    requests: list[bytes] = []

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        requests.append(await reader.readuntil(b"\r\n\r\n"))
        try:
            await serve(writer)
        except OSError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    client = StatusClient(server.sockets[0].getsockname()[1], loopback=True)
    try:
        return await client.fetch("127.0.0.1"), requests
    except OSError as error:
        return error, requests
    finally:
        await client.close()
        server.close()


def sends(*parts: bytes) -> Serve:
    async def serve(writer: asyncio.StreamWriter) -> None:
        for part in parts:
            writer.write(part)
        await writer.drain()

    return serve


OK = b"HTTP/1.1 200 OK\r\n"


async def test_the_body_of_a_200() -> None:
    answer, (request,) = await asked(sends(OK, b"Content-Length: 2\r\n\r\n{}"))
    assert answer == b"{}"
    assert request.startswith(b"GET /status HTTP/1.1\r\n")


@pytest.mark.parametrize(
    "parts",
    [
        (b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n",),
        (b"HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/\r\nContent-Length: 0\r\n\r\n",),
        (OK, b"Content-Length: 100\r\n\r\nshort"),
        (OK, b"\r\n", b"x" * (BODY_BYTES + 1)),
        (OK, b"Transfer-Encoding: chunked\r\n\r\n", b"zz\r\n"),
        (OK, b"X: " + b"y" * 20_000 + b"\r\n\r\n"),
        (b"rubbish\r\n\r\n",),
        (),
    ],
    ids=["503", "redirect", "cut", "endless", "bad chunk", "long header", "no http", "nothing"],
)
async def test_anything_else_is_an_error(parts: tuple[bytes, ...]) -> None:
    answer, requests = await asked(sends(*parts))
    assert isinstance(answer, OSError)
    assert len(requests) <= 2  # aiohttp itself tries a dropped connection once more


async def test_what_is_compressed_is_not_unpacked() -> None:
    head = b"Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc"
    answer, _ = await asked(sends(OK, head))
    assert answer == b"abc"


async def test_a_server_that_never_ends_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xpullm.controller.status_client.TOTAL_SECONDS", 0.2)

    async def serve(writer: asyncio.StreamWriter) -> None:
        writer.write(OK + b"\r\n")
        for _ in range(20):
            writer.write(b" ")
            await asyncio.sleep(0.05)

    answer, _ = await asked(serve)
    assert isinstance(answer, TimeoutError)


@pytest.mark.parametrize(
    "address",
    ["", "localhost", "127.0.0.1", "::1", "169.254.169.254", "fe80::1", "224.0.0.1", "0.0.0.0",
     "::ffff:127.0.0.1", "::ffff:169.254.169.254", "::ffff:0.0.0.0", "10.0.0.1/8",
     "10.0.0.1:80@evil", "a" * 500],
)  # fmt: skip
async def test_only_a_pods_address_is_asked(address: str) -> None:
    client = StatusClient()
    with pytest.raises(StatusError):
        await client.fetch(address)
    await client.close()
