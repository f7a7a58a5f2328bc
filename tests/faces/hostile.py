"""Connections of clients that mean no good: how many are held, for how long, who else notices. Knows no route's work.

The server is told to hold few connections, so that 10,000 are far beyond its bound; a caller who means well is served
as soon as it has let go of them, and it ends with the files it began with.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from tests.end_to_end.requests import COMPLETIONS
from tests.end_to_end.server import Server

NUM_CONNECTIONS = 10_000
BATCH = 500
PATIENCE_S = 60.0
"""Longer than any time limit of the server's."""
SPARE_FILES = 64
"""Beyond its connections: listeners, logs, threads' own."""
HEAD = b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
STREAM = json.dumps({"prompt": "a", "max_tokens": 200, "ignore_eos": True, "stream": True}).encode()

Open = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Hostility:
    def __init__(self, server: Server, max_connections: int, say: Callable[[str], None]) -> None:
        self._server = server
        self._max = max_connections
        self._say = say
        self._proc = Path(f"/proc/{server.pid}")
        self._files, self._kib = self._num_files(), self._resident_kib()

    async def run(self, num_connections: int = NUM_CONNECTIONS) -> None:
        """AssertionError for whatever does not hold."""
        await self._many("silent", b"", num_connections)
        await self._many("half a head", HEAD, num_connections)
        await self._many("half a body", HEAD + b"Content-Length: 1000\r\n\r\n{", num_connections)
        whole = HEAD + b"Content-Length: %d\r\n\r\n" % len(STREAM) + STREAM
        await self._many("streams that nobody reads", whole, num_connections)
        await self._grpc(num_connections)
        await self._trickled()
        await self._bombs()
        await self._settled("in the end")

    async def _many(self, kind: str, first: bytes, num_connections: int) -> None:
        """All at once, each says `first` and then nothing; all are let go of by the server, or by us in the end."""
        host, port = self._server.host_and_port
        async with self._open(host, port, first, num_connections) as connections:
            held = await self._bounded()
            await self._still_alive()
        self._say(f"{len(connections):,} x {kind}: {held} files open, bound {self._max} connections")
        await self._settled(kind)

    async def _grpc(self, num_connections: int) -> None:
        host, port = self._server.grpc_address().rsplit(":", 1)
        async with self._open(host, int(port), b"", num_connections) as connections:
            held = await self._bounded()
            await self._still_alive()
            await self._served()
        self._say(f"{len(connections):,} x silent on gRPC's port: {held} files open, HTTP served meanwhile")
        await self._settled("gRPC")

    async def _trickled(self) -> None:
        """Slow loris: a byte a second of a head, and of a body."""
        host, port = self._server.host_and_port
        begun_s = time.monotonic()
        for kind, first in (("head", HEAD), ("body", HEAD + b"Content-Length: 1000\r\n\r\n")):
            reader, writer = await asyncio.open_connection(host, port)
            writer.write(first)
            answer = asyncio.ensure_future(reader.read())
            while not answer.done():
                assert time.monotonic() - begun_s < 2 * PATIENCE_S, f"a {kind} may trickle for ever"
                writer.write(b"x")
                await asyncio.wait((answer,), timeout=1.0)
            assert answer.exception() is not None or b" 200 " not in answer.result()
            writer.close()
            self._say(f"a {kind} that trickles: let go of after {time.monotonic() - begun_s:.0f} s")
            begun_s = time.monotonic()

    async def _bombs(self) -> None:
        """Heads and bodies without measure."""
        host, port = self._server.host_and_port
        huge = 64 << 20
        tries: dict[str, tuple[bytes, bytes, bytes]] = {
            "a header line of 64 MiB": (HEAD + b"X-Bomb: ", b"x" * (1 << 16), b"HTTP/1.1 4"),
            "a million header lines": (HEAD, b"X-Bomb: bomb\r\n" * 4096, b"HTTP/1.1 4"),
            "a body said to have 64 MiB": (HEAD + b"Content-Length: %d\r\n\r\n" % huge, b" " * (1 << 16), b" 413 "),
            "64 MiB in chunks": (
                HEAD + b"Transfer-Encoding: chunked\r\n\r\n",
                b"10000\r\n" + b" " * (1 << 16) + b"\r\n",
                b" 413 ",
            ),
        }
        for kind, (first, piece, wanted) in tries.items():
            num_sent, answer = await self._pour(host, port, first, piece, huge)
            assert wanted in answer[:64] or not answer, f"{kind}: {answer[:200]!r}"
            assert num_sent < huge, f"{kind}: all of it was taken"
            self._say(f"{kind}: {answer.split(bytes([13, 10]))[0].decode() or 'cut off'} after {num_sent >> 10} KiB")

    async def _pour(self, host: str, port: int, first: bytes, piece: bytes, most: int) -> tuple[int, bytes]:
        reader, writer = await asyncio.open_connection(host, port)
        answer = asyncio.ensure_future(reader.read(4096))
        num_sent = 0
        try:
            writer.write(first)
            while num_sent < most and not answer.done():
                writer.write(piece)
                num_sent += len(piece)
                async with asyncio.timeout(PATIENCE_S):
                    await writer.drain()
            return num_sent, await asyncio.wait_for(answer, PATIENCE_S)
        except ConnectionError:
            return num_sent, b"" if not answer.done() or answer.exception() else answer.result()
        finally:
            answer.cancel()
            writer.close()

    @asynccontextmanager
    async def _open(self, host: str, port: int, first: bytes, number: int) -> AsyncIterator[list[Open]]:
        connections: list[Open] = []
        try:
            while len(connections) < number:
                batch = min(BATCH, number - len(connections))
                made = await asyncio.gather(*(self._connect(host, port, first) for _ in range(batch)))
                connections += [connection for connection in made if connection is not None]
                assert any(made), f"nobody gets in after {len(connections)}"
            yield connections
        finally:
            for _, writer in connections:
                writer.transport.abort()
            await asyncio.sleep(0)

    async def _connect(self, host: str, port: int, first: bytes) -> Open | None:
        try:
            async with asyncio.timeout(PATIENCE_S):
                reader, writer = await asyncio.open_connection(host, port, limit=1024)
            writer.write(first)
        except (ConnectionError, TimeoutError):
            return None
        return reader, writer

    async def _bounded(self) -> int:
        """Files that it holds while they all wait. One connection too many is dropped once it has been accepted, and
        the kernel's queue of them is accepted at once: this takes a moment."""
        most = self._files + self._max + SPARE_FILES
        await self._until(lambda: self._num_files() <= most, f"{self._num_files()} files are open, not {most}")
        return self._num_files()

    async def _still_alive(self) -> None:
        """It computes its bounds, not the connections: its memory is what it was, but for what they may hold."""
        grown = self._resident_kib() - self._kib
        assert grown < 256 << 10, f"resident memory grew by {grown} KiB"

    async def _settled(self, kind: str) -> None:
        """A caller who means well is served, and what was held is let go of."""
        await self._served()
        await asyncio.to_thread(self._server.wait_for_metric, "gemmule_kv_blocks_used", 0, PATIENCE_S)
        await self._until(lambda: self._num_files() <= self._files + SPARE_FILES, f"files are left open by {kind}")

    async def _served(self) -> None:
        async def asked() -> bool:
            try:
                async with httpx.AsyncClient(base_url=self._server.url, timeout=PATIENCE_S) as client:
                    body = {"prompt": "a", "max_tokens": 2}
                    return (await client.post(COMPLETIONS, json=body)).status_code == 200
            except httpx.TransportError:
                return False  # still at its bound

        await self._until(asked, "nobody is served any more")

    async def _until(self, holds: Callable[[], bool | Awaitable[bool]], else_: str) -> None:
        give_up_s = time.monotonic() + PATIENCE_S
        while True:
            held = holds()
            if (await held) if not isinstance(held, bool) else held:
                return
            assert time.monotonic() < give_up_s, else_
            await asyncio.sleep(0.2)

    def _num_files(self) -> int:
        return len(list(self._proc.joinpath("fd").iterdir()))

    def _resident_kib(self) -> int:
        status = self._proc.joinpath("status").read_text().splitlines()
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS:"))
