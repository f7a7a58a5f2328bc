"""Errors -> OpenAI-shaped bodies: {"error": {message, type, param, code}}. Knows no route."""

import logging
from collections.abc import Mapping

from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response

from service.errors import GemmuleError, QueueFull
from service.http.disconnect import ClientGone
from service.metrics.http_metrics import CLIENT_CLOSED_REQUEST

log = logging.getLogger(__name__)


def install_error_handlers(app: FastAPI) -> None:
    app.add_exception_handler(GemmuleError, _gemmule_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(ClientGone, _client_gone)
    app.add_exception_handler(ClientDisconnect, _client_gone)  # within the request's body
    app.add_exception_handler(Exception, _unexpected)


def error_body(error: GemmuleError) -> dict[str, object]:
    return _body(str(error), error.kind, error.param, error.code)


def _body(message: str, kind: str, param: str | None, code: str) -> dict[str, object]:
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


async def _gemmule_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, GemmuleError)
    request.app.state.metrics.rejections.count(error)
    headers: Mapping[str, str] = {}
    if isinstance(error, QueueFull):
        headers = {"retry-after": str(max(1, round(error.retry_after_s)))}
    if error.status >= 500:
        log.warning("%s: %d %s: %s", request.url.path, error.status, error.code, error)
    return JSONResponse(error_body(error), error.status, headers)


async def _http_error(request: Request, error: Exception) -> Response:
    """What the router itself refuses: an unknown path, a wrong method."""
    assert isinstance(error, HTTPException)
    match error.status_code:
        case 404:
            body = _body(
                f"no such path: {request.method} {request.url.path}", "invalid_request_error", None, "not_found"
            )
        case 405:
            message = f"{request.method} is not allowed on {request.url.path}"
            body = _body(message, "invalid_request_error", None, "method_not_allowed")
        case _:
            body = _body(str(error.detail), "invalid_request_error", None, "invalid_request")
    return JSONResponse(body, error.status_code, error.headers)


async def _client_gone(request: Request, error: Exception) -> Response:
    # Nobody reads it; the metrics count it.
    return Response(status_code=CLIENT_CLOSED_REQUEST)


async def _unexpected(request: Request, error: Exception) -> Response:
    """A bug of ours: the client learns that, the log (written by the server from the re-raised error) learns why."""
    return JSONResponse(_body("internal error", "server_error", None, "internal_error"), 500)
