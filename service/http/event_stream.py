"""A response of server-sent events that closes its source when the client goes away. Knows no event's content."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from service.http.disconnect import ClientGone, while_connected

DONE = b"data: [DONE]\n\n"


class EventStream(Response):
    """`events` yields whole events, "data: ...\\n\\n". Starlette's own StreamingResponse does not close its iterator
    when the client goes away between two events; here that is the point, since a generation hangs on it."""

    media_type = "text/event-stream"

    def __init__(self, events: AsyncGenerator[bytes, None]) -> None:
        super().__init__(headers={"cache-control": "no-cache", "x-accel-buffering": "no"})
        del self.headers["content-length"]
        self._events = events

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with aclosing(self._events):
            try:
                await while_connected(receive, self._send_all(send))
            except ClientGone:
                return

    async def _send_all(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async for event in self._events:
            await send({"type": "http.response.body", "body": event, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
