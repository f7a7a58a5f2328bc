"""An HTTP connection of uvicorn's, bounded: how many there are, how long a request's head may take. Knows no route.

uvicorn itself waits for a head for ever, and a client that sends a byte a minute holds a socket as long.
"""

import asyncio

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

LINGER_S = 2.0
"""What a client gets to read its answer before the connection is closed within its body."""
HEAD_S = 10.0
"""From the connection, or from the first byte of a further request, to the end of its head."""


class BoundedConnection(H11Protocol):
    """`limit_concurrency` of uvicorn's configuration is how many there may be: one more is dropped at once."""

    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        assert self.limit_concurrency is not None
        if len(self.connections) >= self.limit_concurrency:
            transport.abort()
            return
        self._head_timer = self.loop.call_later(HEAD_S, self._give_up)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE:
            self._cancel_head_timer()
        elif self._head_timer is None and not self.transport.is_closing():
            self._head_timer = self.loop.call_later(HEAD_S, self._give_up)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.conn.their_state is h11.SEND_BODY:
            self.loop.call_later(LINGER_S, self._stop_reading)

    def connection_lost(self, exc: Exception | None) -> None:
        self._cancel_head_timer()
        super().connection_lost(exc)

    def _cancel_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _stop_reading(self) -> None:
        """A request has its answer (a refusal, as a rule), and its body goes on and on."""
        answered = self.cycle is not None and self.cycle.response_complete
        if answered and self.conn.their_state is h11.SEND_BODY and not self.transport.is_closing():
            self.transport.close()

    def _give_up(self) -> None:
        self._head_timer = None
        if self.conn.their_state is h11.IDLE and not self.transport.is_closing():
            self.transport.close()
