"""The front end: HTTP in, a call to a replica, its answer out as it comes. Knows no Ray, no engine and no routing.

A replica that falls before its answer began costs nobody anything: another is asked. One that falls later has lost its
answer, and says so: an error event in a stream, a connection cut off otherwise.
"""

import json
from collections.abc import AsyncIterator, Callable

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from service.cluster.affinity import affinity_of
from service.cluster.call import Call, Head

Ask = Callable[[Call], AsyncIterator[Head | bytes]]
NUM_TRIES = 4
HOP_BY_HOP = {b"connection", b"keep-alive", b"transfer-encoding", b"content-length", b"upgrade", b"te", b"trailer"}
OF_A_REPLICA = ("/metrics", "/debug", "/admin")
"""What one replica would say of itself alone; which one, nobody could tell."""


class FrontEnd:
    """`ask` sends a call to some replica; `is_lost` says of an error whether the replica is gone rather than wrong."""

    def __init__(self, ask: Ask, is_lost: Callable[[Exception], bool], max_body: int) -> None:
        self._ask = ask
        self._is_lost = is_lost
        self._max_body = max_body
        self.num_retried = 0

    async def answer(self, request: Request) -> Response:
        if request.url.path.startswith(OF_A_REPLICA):
            return _error(404, "each replica has its own; the cluster's figures are Ray's")
        body = bytearray()
        async for piece in request.stream():
            body += piece
            if len(body) > self._max_body:
                return _error(413, f"a body has at most {self._max_body} bytes")
        call = _call(request, bytes(body))
        for _ in range(NUM_TRIES):
            pieces = self._ask(call)
            try:
                head, first = await _begun(pieces)
            except Exception as error:
                if not self._is_lost(error):
                    raise
                self.num_retried += 1
                continue
            headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in head.headers}
            is_stream = headers.get("content-type", "").startswith("text/event-stream")
            return StreamingResponse(self._rest(first, pieces, is_stream), head.status, headers)
        return _error(503, f"{NUM_TRIES} replicas in a row were lost", {"retry-after": "5"})

    async def _rest(
        self, first: bytes | None, pieces: AsyncIterator[Head | bytes], is_stream: bool
    ) -> AsyncIterator[bytes]:
        if first is not None:
            yield first
        try:
            async for piece in pieces:
                assert isinstance(piece, bytes), "one head, then the body"
                yield piece
        except Exception as error:
            if not (is_stream and self._is_lost(error)):
                raise
            said = {"message": "the replica was lost in the middle of the answer", "type": "server_error"}
            yield f"data: {json.dumps({'error': {**said, 'code': 'replica_lost'}})}\n\n".encode()


async def _begun(pieces: AsyncIterator[Head | bytes]) -> tuple[Head, bytes | None]:
    """The head is kept until a piece of the body is there: until then another replica can be asked."""
    head = await anext(pieces)
    assert isinstance(head, Head), "a head comes first"
    first = await anext(pieces, None)
    assert not isinstance(first, Head), "there is one head"
    return head, first


def _call(request: Request, body: bytes) -> Call:
    kept = tuple((name, value) for name, value in request.headers.raw if name not in HOP_BY_HOP)
    headers = (*kept, (b"content-length", str(len(body)).encode()))
    affinity = affinity_of(body) if body else None
    return Call(request.method, request.url.path, request.url.query.encode(), headers, body, affinity)


def _error(status: int, message: str, headers: dict[str, str] | None = None) -> Response:
    kind = "server_error" if status >= 500 else "invalid_request_error"
    return JSONResponse({"error": {"message": message, "type": kind, "code": None, "param": None}}, status, headers)
