"""An HTTP connection of uvicorn's, bounded: how many there are, how long its head is and may take. Knows no route.

uvicorn itself waits for a head for ever, and a client that sends a byte a minute holds a socket as long; httptools'
native parser, which spares a streamed token much of the CPU that h11's costs it, knows no end of a head, and goes on to
read a body that was answered before its end, for ever.
"""

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_S = 10.0
"""From the connection, or from the first byte of a further request, to the end of its head."""
MOST_HEAD_BYTES = 64 << 10
LINGER_S = 2.0
"""From an answer to the end of the body that it did not wait for. Closed sooner, a client whose body is on its way
would send its next request into a connection that ends."""


class HeadTimer:
    """Closes a connection whose head does not come to its end."""

    def __init__(self, loop: asyncio.AbstractEventLoop, transport: asyncio.Transport) -> None:
        self._loop = loop
        self._transport = transport
        self._handle: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """No effect while it runs."""
        if self._handle is None and not self._transport.is_closing():
            self._handle = self._loop.call_later(HEAD_S, self._give_up)

    def stop(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _give_up(self) -> None:
        self._handle = None
        if not self._transport.is_closing():
            self._transport.close()


class BoundedConnection(HttpToolsProtocol):
    """`limit_concurrency` of uvicorn's configuration is how many there may be: one more is dropped at once."""

    _head_timer: HeadTimer
    _awaits_head = True
    """Its first byte or its last is still to come; between two requests there is nothing to wait for."""
    _num_head_bytes = 0
    _awaits_body = False
    _lingering: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._head_timer = HeadTimer(self.loop, transport)
        assert self.limit_concurrency is not None
        if len(self.connections) >= self.limit_concurrency:
            transport.abort()
            return
        self._head_timer.start()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if not self._awaits_head:
            self._num_head_bytes = 0
            self._head_timer.stop()
            return
        self._num_head_bytes += len(data)
        if self._num_head_bytes > MOST_HEAD_BYTES and not self.transport.is_closing():
            self.send_400_response("The head of the request is too long.")
        self._head_timer.start()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_timer.stop()
        self._stop_lingering()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        # The rest of a body that was answered already might come a byte a minute, and is nobody's.
        if not self.pipeline and self._awaits_body:
            self._lingering = self.loop.call_later(LINGER_S, self.transport.close)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._awaits_head = self._awaits_body = True

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        self._awaits_head = False

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._awaits_body = False
        self._stop_lingering()

    def _stop_lingering(self) -> None:
        if self._lingering is not None:
            self._lingering.cancel()
            self._lingering = None
