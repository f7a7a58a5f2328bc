"""A response of server-sent events that closes its source when the client goes away. Knows no event's content."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from pydantic_core import to_json
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from service.http.disconnect import ClientGone, while_connected

DONE = b"data: [DONE]\n\n"
KEEP_ALIVE = b": keep-alive\n\n"
"""A comment, which clients pass over."""


def event_of(value: object) -> bytes:
    return b"data: %b\n\n" % to_json(value)


class EventStream(Response):
    """`events` yields whole events, "data: ...\\n\\n"; `close` frees what they are made from.

    Starlette's own StreamingResponse does not close its iterator when the client goes away between two events; here
    that is the point, since generations hang on it. `close` is called on every way out, even before the first event.
    After `keep_alive_s` without an event a comment is sent: proxies drop what is silent, and a long prefill is.
    """

    media_type = "text/event-stream"

    def __init__(self, events: AsyncGenerator[bytes, None], close: Callable[[], None], keep_alive_s: float) -> None:
        super().__init__(headers={"cache-control": "no-cache", "x-accel-buffering": "no"})
        del self.headers["content-length"]
        self._events = events
        self._close = close
        self._keep_alive_s = keep_alive_s
        self._num_sent = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            async with aclosing(self._events):
                await while_connected(receive, self._send_all(send))
        except ClientGone:
            return
        finally:
            self._close()

    async def _send_all(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        keeping_alive = asyncio.ensure_future(self._keep_alive(send))
        try:
            async for event in self._events:
                self._num_sent += 1
                await send({"type": "http.response.body", "body": event, "more_body": True})
        finally:
            keeping_alive.cancel()
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _keep_alive(self, send: Send) -> None:
        # Beside the events: a server writes what one `send` gets as a whole, and looks at the clock but rarely here.
        while True:
            num_sent = self._num_sent
            await asyncio.sleep(self._keep_alive_s)
            if self._num_sent == num_sent:
                await send({"type": "http.response.body", "body": KEEP_ALIVE, "more_body": True})
