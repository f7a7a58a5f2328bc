"""httpx's requests over aiohttp, whose parser is native. Knows no load and no event.

A load test often shares its cores with what it measures. A streamed chunk takes 90 to 130 us of a core with httpx's own
transport on asyncio's own loop, 36 to 41 with this one on uvloop.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import aiohttp
import httpx

Trace = Callable[[str, dict[str, Any]], Awaitable[None]]
CONNECTING = "connection.connect_tcp.started"
"""What httpx calls it; the only event that a request's `trace` extension hears."""


class AiohttpTransport(httpx.AsyncBaseTransport):
    """As many connections as there are requests; they are kept."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if self._session is None:  # needs the event loop that runs
            tracing = aiohttp.TraceConfig()
            tracing.on_connection_create_start.append(_tell_of_connection)
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0),
                trace_configs=[tracing],
                auto_decompress=False,
                trust_env=True,  # proxies and netrc, as httpx has it
            )
        limits = request.extensions.get("timeout", {})
        try:
            response = await self._session.request(
                request.method,
                str(request.url),
                headers=request.headers.multi_items(),
                data=await request.aread() or None,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(sock_connect=limits.get("connect"), sock_read=limits.get("read")),
                trace_request_ctx=request.extensions.get("trace"),
            )
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _as_httpx(error) from error
        return httpx.Response(response.status, headers=response.raw_headers, stream=_Stream(response), request=request)

    async def aclose(self) -> None:
        if self._session is not None:
            await self._session.close()


class _Stream(httpx.AsyncByteStream):
    """What arrives, piece by piece, as soon as it does."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for piece in self._response.content.iter_any():
                yield piece
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _as_httpx(error) from error

    async def aclose(self) -> None:
        if self._response.content.is_eof():
            self._response.release()
        else:
            self._response.close()  # the server shall stop


async def _tell_of_connection(_: aiohttp.ClientSession, context: SimpleNamespace, __: Any) -> None:
    trace: Trace | None = context.trace_request_ctx
    if trace is not None:
        await trace(CONNECTING, {})


def _as_httpx(error: Exception) -> httpx.HTTPError:
    said = str(error) or type(error).__name__
    match error:
        case aiohttp.ConnectionTimeoutError():
            return httpx.ConnectTimeout(said)
        case TimeoutError():
            return httpx.ReadTimeout(said)
        case aiohttp.ClientConnectorError():
            return httpx.ConnectError(said)
        case aiohttp.InvalidURL() | aiohttp.NonHttpUrlClientError():
            return httpx.UnsupportedProtocol(said)
        case aiohttp.ServerConnectionError() | aiohttp.ClientPayloadError() | aiohttp.ClientResponseError() | OSError():
            return httpx.RemoteProtocolError(said)  # it has closed the connection, or what it says is no HTTP
        case _:
            return httpx.TransportError(said)
