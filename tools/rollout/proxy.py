"""A load balancer in a few lines: round robin over endpoints that may change, streams passed through. Retries nothing.

As a Service of Kubernetes: a request that is sent to a replica which refuses it is lost, so a rehearsal behind it is
worth something.
"""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

PASSED = ("content-type", "cache-control")


class Proxy:
    """`endpoints` are URLs of replicas; the next request goes to the next one."""

    def __init__(self) -> None:
        self.endpoints: list[str] = []
        self.num_passed: dict[str, int] = {}
        self._turn = 0
        self._http = httpx.AsyncClient(timeout=None, limits=httpx.Limits(max_connections=None))

    async def handle(self, request: Request) -> Response:
        if not self.endpoints:
            return PlainTextResponse("no endpoints", 502)
        self._turn += 1
        endpoint = self.endpoints[self._turn % len(self.endpoints)]
        self.num_passed[endpoint] = self.num_passed.get(endpoint, 0) + 1
        headers = {"content-type": request.headers.get("content-type", "application/json")}
        passed = self._http.build_request(
            request.method, endpoint + request.url.path, content=await request.body(), headers=headers
        )
        try:
            response = await self._http.send(passed, stream=True)
        except httpx.HTTPError as error:
            return PlainTextResponse(f"{endpoint}: {error!r}", 502)
        kept = {name: response.headers[name] for name in PASSED if name in response.headers}
        closing = BackgroundTask(response.aclose)
        return StreamingResponse(response.aiter_raw(), response.status_code, kept, background=closing)

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[str]:
        """The proxy's URL."""
        routes = [Route("/{path:path}", self.handle, methods=["GET", "POST"])]
        config = uvicorn.Config(Starlette(routes=routes), lifespan="off", log_level="error")
        server = uvicorn.Server(config)
        # With the protocol named, asyncio switches Nagle's algorithm off on what is accepted.
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen(128)
            running = asyncio.ensure_future(server.serve([listener]))
            try:
                yield f"http://127.0.0.1:{listener.getsockname()[1]}"
            finally:
                server.should_exit = True
                await running
                await self._http.aclose()
