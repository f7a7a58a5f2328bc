"""Before every route: who may call, and what browsers must not do with the answer. Middleware. Knows no body."""

from contextlib import ExitStack

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.access import Access
from service.errors import GemmuleError, Unauthenticated
from service.http.error_response import error_body

OPEN_PATHS = frozenset(
    {"/", "/page.css", "/page.js", "/health/live", "/health/ready", "/v2/health/live", "/v2/health/ready", "/metrics"}
)
"""No key is asked for: probes and scrapers have none, and the page asks its user for one."""

SECURITY_HEADERS = {
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}


class Guard:
    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        with ExitStack() as admitted:
            if scope["path"] not in OPEN_PATHS:
                try:
                    admitted.enter_context(self._access.admitted(Headers(scope=scope).get("authorization")))
                except GemmuleError as error:
                    challenge = {"www-authenticate": "Bearer"} if isinstance(error, Unauthenticated) else None
                    await JSONResponse(error_body(error), error.status, challenge)(scope, receive, guarded)
                    return
            await self._app(scope, receive, guarded)
