"""The event loop's end of one request: tokens wait here until somebody reads them. Knows no thread."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from types import TracebackType
from typing import Self

from service.engine.request import FinishReason, TokenEvent


class TokenStream:
    """An async iterator of token events; ends after the one with a finish reason.

    A slow reader finds everything since its last visit merged into one event, so what waits is bounded by the request's
    tokens and the engine never waits for anyone. Closing the stream, or cancelling a task that waits for it, aborts the
    request: it takes no part in any step planned from then on.
    """

    def __init__(self, abort: Callable[[], None]) -> None:
        self._abort = abort
        self._unread: TokenEvent | None = None
        self._finish_reason: FinishReason | None = None
        self._is_over = False
        self._is_aborted = False
        self._wake = asyncio.Event()

    def deliver(self, event: TokenEvent) -> None:
        """From the client, on the event loop's thread."""
        assert self._finish_reason is None, "nothing follows a finish reason"
        unread = self._unread
        if unread is not None:
            prompt_tokens = unread.prompt_tokens + event.prompt_tokens
            event = replace(event, tokens=unread.tokens + event.tokens, prompt_tokens=prompt_tokens)
        self._unread = event
        self._finish_reason = event.finish_reason
        self._wake.set()

    def abort(self) -> None:
        """Ask the engine to end it; the reader hears the rest and ABORT. No effect the second time."""
        if not self._is_aborted and not self._is_over and self._finish_reason is None:
            self._is_aborted = True
            self._abort()

    def close(self) -> None:
        """Abort, unless the engine has finished: nothing more is heard. No effect the second time."""
        self.abort()
        self._is_over = True
        self._wake.set()

    async def aclose(self) -> None:
        self.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> TokenEvent:
        try:
            await self._wake.wait()
        except asyncio.CancelledError:
            self.close()
            raise
        if self._is_over:
            raise StopAsyncIteration
        self._wake.clear()
        event, self._unread = self._unread, None
        assert event is not None, "woken without an event"
        if self._finish_reason is not None:
            self.close()
        return event

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
