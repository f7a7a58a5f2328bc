"""Sockets and uvicorn, without uvicorn's signals. Knows no route.

uvicorn closes its listeners at the first signal and exits with the signal's status; here the app decides when, so that
the readiness probe can say 503 while running requests end.
"""

import asyncio
import contextlib
import logging
import resource
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from service.errors import StartupError
from service.http.connection import BoundedConnection

log = logging.getLogger(__name__)

BACKLOG = 2048
SPARE_FILES = 512
"""For everything that is no connection."""
FAREWELL_S = 3
"""What a response that is over for the engine gets to reach its client."""


def listen(host: str, port: int) -> socket.socket:
    """A listening socket, before anything slow: a port in use shows at once. Raises StartupError."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise StartupError(f"cannot listen on {host}:{port}: {error.strerror}") from None
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise StartupError(f"cannot listen on {host}:{port}: {error.strerror}") from None
    return listener


def allow_sockets(num_sockets: int) -> None:
    """As many open files as that takes, where the hard limit lets us."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = num_sockets + SPARE_FILES
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def url_of(listener: socket.socket, *, tls: bool = False) -> str:
    host, port = listener.getsockname()[:2]
    scheme = "https" if tls else "http"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextlib.asynccontextmanager
async def answering(
    app: ASGIApp,
    listener: socket.socket,
    *,
    keep_alive_s: float,
    max_connections: int = 2048,
    tls: tuple[Path, Path] | None = None,
) -> AsyncIterator[None]:
    """The listener answers inside the block; at its end the last responses are written, then it is closed.

    `tls`: certificate chain and private key, PEM. StartupError if they are not usable.
    """

    async def cut_off_quietly(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await app(scope, receive, send)
        except asyncio.CancelledError:
            # Only uvicorn cancels, at the end and after FAREWELL_S; it would report that as a crash of ours.
            log.warning("cut off at shutdown: %s %s", scope.get("method"), scope.get("path"))

    config = uvicorn.Config(
        cut_off_quietly,
        http=BoundedConnection,
        limit_concurrency=max_connections + 1,
        ssl_certfile=None if tls is None else tls[0],
        ssl_keyfile=None if tls is None else tls[1],
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        ws="none",
        timeout_keep_alive=max(1, round(keep_alive_s)),
        timeout_graceful_shutdown=FAREWELL_S,
    )
    try:
        config.load()
    except OSError as error:  # of ssl's making, too
        listener.close()
        raise StartupError(f"the TLS certificate or key is not usable: {error.strerror or error}") from None
    server = _Server(config)
    running = asyncio.ensure_future(server.serve(sockets=[listener]))
    try:
        while not server.started and not running.done():
            await asyncio.sleep(0.005)
        if running.done():
            raise StartupError("the HTTP server ended before it had begun") from running.exception()
        yield
    finally:
        server.should_exit = True
        await running
