"""An HTTP connection of uvicorn's, bounded: how many there are, how long a request's head may take. Knows no route.

uvicorn itself waits for a head for ever, and a client that sends a byte a minute holds a socket as long. There are two:
this one, in Python, and service.http.fast_connection, which parses natively, where httptools is installed.
"""

import asyncio
from importlib.util import find_spec

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_S = 10.0
"""From the connection, or from the first byte of a further request, to the end of its head."""


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


class BoundedConnection(H11Protocol):
    """`limit_concurrency` of uvicorn's configuration is how many there may be: one more is dropped at once."""

    _head_timer: HeadTimer

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
        if self.conn.their_state is not h11.IDLE:
            self._head_timer.stop()
        else:
            self._head_timer.start()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_timer.stop()
        super().connection_lost(exc)


def connection_type() -> type[asyncio.Protocol]:
    """The fastest that is installed."""
    if find_spec("httptools") is None:
        return BoundedConnection
    from service.http.fast_connection import FastConnection

    return FastConnection
