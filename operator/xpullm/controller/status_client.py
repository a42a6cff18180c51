"""One GET of a supervisor's /status: short, bounded, and only ever to a pod's own address."""

from __future__ import annotations

import ipaddress

import aiohttp

from xpullm.controller.engine_figures import BODY_BYTES
from xpullm_runtime.config import RUNTIME_PORT

TOTAL_SECONDS = 5.0


class StatusError(OSError):
    """No usable answer."""


class StatusClient:
    """Connections are not kept: a pod is asked once, or once a minute."""

    def __init__(self, port: int = RUNTIME_PORT, *, loopback: bool = False) -> None:
        self._port = port
        self._loopback = loopback  # for tests: pods never have such an address
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=TOTAL_SECONDS),
            connector=aiohttp.TCPConnector(force_close=True),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,  # no small answer may become a large one
        )

    async def fetch(self, address: str) -> bytes:
        """The body of a 200.

        Raises:
            OSError: the address is no pod's, or there was no such answer in time and size.
        """
        host = self._host(address)
        url = f"http://{host}:{self._port}/status"
        try:
            async with self._session.get(url, allow_redirects=False) as response:
                if response.status != 200:
                    raise StatusError(f"answered {response.status}")
                body = bytearray()
                async for chunk in response.content.iter_any():
                    body += chunk
                    if len(body) > BODY_BYTES:
                        raise StatusError(f"answered more than {BODY_BYTES} bytes")
                return bytes(body)
        except (aiohttp.ClientError, ValueError) as error:
            raise StatusError(f"{type(error).__name__}: {error}") from error

    def _host(self, address: str) -> str:
        """As in a URL. The API server's word is not enough: no request may go to the operator's own
        machine or to a cloud's metadata address."""
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError as error:
            raise StatusError(f"{address[:64]!r} is no address") from error
        # Before Python 3.13 ::ffff:127.0.0.1 was no loopback address (python/cpython#117566).
        parsed = getattr(parsed, "ipv4_mapped", None) or parsed
        own = parsed.is_loopback and not self._loopback
        if own or parsed.is_link_local or parsed.is_multicast or parsed.is_unspecified:
            raise StatusError(f"{parsed} is no pod's address")
        return f"[{parsed}]" if parsed.version == 6 else str(parsed)

    async def close(self) -> None:
        await self._session.close()
