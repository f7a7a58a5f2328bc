"""What the load test wants of a client: to answer one question, and to say when each piece came."""

from typing import Protocol

from loadtest.conversation import Ask, Reply


class Client(Protocol):
    """One server."""

    @property
    def url(self) -> str: ...

    async def ready(self, within_s: float) -> str:
        """Waits until the server answers and returns the name of its model. Raises Unreachable."""
        ...

    async def ask(self, ask: Ask) -> Reply:
        """Raises RequestFailed."""
        ...

    async def close(self) -> None: ...
