"""Gives every request an id and a place in its caller's trace: an ASGI middleware. Knows no body."""

from collections.abc import Awaitable

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.request_context import Operation, current_context
from service.tracing.request_traces import RequestTraces

REQUEST_ID = "x-request-id"


class TraceRequests:
    """Of POST requests: the others ask for nothing that takes time."""

    def __init__(self, app: ASGIApp, traces: RequestTraces) -> None:
        self._app = app
        self._traces = traces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        operation = Operation.CHAT if "chat" in scope["path"] else Operation.TEXT_COMPLETION
        # The path is the caller's word: as a span's name it is cut, as a label it would not be allowed at all.
        name = f"POST {scope['path'][:100]}"
        trace = self._traces.begin(name, operation, headers.get("traceparent"), headers.get(REQUEST_ID))
        status = 499  # until the head of a response is sent

        def traced(message: Message) -> Awaitable[None]:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                own = (REQUEST_ID.encode(), trace.context.request_id.encode("latin-1", "replace"))
                message = {**message, "headers": [*message.get("headers", ()), own]}
            elif message.get("body"):
                trace.first_byte()
            return send(message)

        token = current_context.set(trace.context)
        try:
            await self._app(scope, receive, traced)
        finally:
            current_context.reset(token)
            trace.end(status, status >= 500)
