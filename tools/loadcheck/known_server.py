"""A server of completions whose delays are known, in a process: `python -m tools.loadcheck.known_server`.

Every event is due at a time counted from the request's arrival, so what one is late adds nothing to the next. Written
on asyncio's streams alone: a few microseconds an event, or it would be the server that is measured. Knows no client.
"""

import argparse
import asyncio
import contextlib
import itertools
import json
from dataclasses import dataclass
from typing import Any

NUM_STEPS = 101
"""TTFTs repeat after so many requests; a prime, so that no other period falls into step with it."""


@dataclass(frozen=True, slots=True)
class Delays:
    """TTFT climbs evenly from `ttft_s` to twice that over NUM_STEPS requests, then begins again."""

    ttft_s: float = 0.4
    itl_s: float = 0.05

    def ttft_of(self, number: int) -> float:
        return self.ttft_s * (1 + (number % NUM_STEPS) / (NUM_STEPS - 1))


class KnownServer:
    def __init__(self, delays: Delays) -> None:
        self._delays = delays
        self._numbers = itertools.count()

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Requests of a connection, one after the other."""
        try:
            while request := await reader.readuntil(b"\r\n\r\n"):
                head = request.decode("latin-1").lower()
                arrived_s = asyncio.get_running_loop().time()
                lengths = [line.split(":")[1] for line in head.split("\r\n") if line.startswith("content-length:")]
                body = await reader.readexactly(int(lengths[0]) if lengths else 0)
                if body:
                    await self._stream(json.loads(body), arrived_s, writer)
                else:
                    _answer_json(writer, {"object": "list", "data": [{"id": "known", "object": "model"}]})
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _stream(self, asked: dict[str, Any], arrived_s: float, writer: asyncio.StreamWriter) -> None:
        clock = asyncio.get_running_loop().time
        number, num_tokens = (
            next(self._numbers),
            int(asked.get("max_tokens") or asked.get("max_completion_tokens") or 16),
        )
        is_chat = "messages" in asked
        kind = "chat.completion.chunk" if is_chat else "text_completion"
        base = {"id": f"known-{number}", "object": kind, "created": 0, "model": "known"}
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        due_s = arrived_s + self._delays.ttft_of(number)
        for token in range(num_tokens):
            await asyncio.sleep(max(0.0, due_s - clock()))
            due_s += self._delays.itl_s
            said = {"delta": {"content": " t"}} if is_chat else {"text": " t"}
            finish = "length" if token == num_tokens - 1 else None
            _write(writer, {**base, "choices": [{"index": 0, **said, "finish_reason": finish}]})
        prompt = asked.get("prompt", "")
        num_prompt = len(prompt) if isinstance(prompt, list) else max(1, len(str(prompt).split()))
        usage = {"prompt_tokens": num_prompt, "completion_tokens": num_tokens, "total_tokens": num_prompt + num_tokens}
        _write(writer, {**base, "choices": [], "usage": usage})
        writer.write(b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n")


def _write(writer: asyncio.StreamWriter, value: object) -> None:
    event = f"data: {json.dumps(value)}\n\n".encode()
    writer.write(b"%x\r\n%b\r\n" % (len(event), event))


def _answer_json(writer: asyncio.StreamWriter, value: object) -> None:
    body = json.dumps(value).encode()
    head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)


async def serve(port: int, delays: Delays) -> None:
    server = await asyncio.start_server(KnownServer(delays).connected, "127.0.0.1", port, backlog=512)
    print(f"listening on http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    async with server:
        await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.loadcheck.known_server", description="known delays")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--ttft", type=float, default=Delays().ttft_s, metavar="S", help="of the first request")
    parser.add_argument("--itl", type=float, default=Delays().itl_s, metavar="S")
    options = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(options.port, Delays(options.ttft, options.itl)))


if __name__ == "__main__":
    main()
