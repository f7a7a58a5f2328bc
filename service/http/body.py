"""Request body -> validated model, or one typed error that names the field. Knows no field of any route."""

import asyncio
import json
from collections.abc import Callable, Coroutine
from typing import Any, ClassVar, TypeVar

from fastapi import Request
from pydantic import BaseModel, ConfigDict, model_validator

from service.errors import BadRequest, BodyTooLarge, RequestTimeout, Unsupported
from service.generate.validation import parse_json

Model = TypeVar("Model", bound="StrictBody")


class StrictBody(BaseModel):
    """A body in which nothing is silently ignored: every field is used, known to be harmless, or refused."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, protected_namespaces=())

    HARMLESS: ClassVar[frozenset[str]] = frozenset()
    """Fields of the API that cannot change what is generated: accepted and dropped."""

    REFUSED: ClassVar[dict[str, tuple[object, ...]]] = {}
    """Fields of the API that we do not act on, each with the values under which it says nothing (None always does)."""

    @model_validator(mode="before")
    @classmethod
    def _sift(cls, body: object) -> object:
        if not isinstance(body, dict):
            raise BadRequest("the request body must be a JSON object")
        kept: dict[str, object] = {}
        for name, value in body.items():
            if name in cls.REFUSED:
                if value is not None and not _says_nothing(value, cls.REFUSED[name]):
                    raise Unsupported(f"'{name}' is not supported{_unless(cls.REFUSED[name])}", param=name)
            elif name not in cls.HARMLESS:
                kept[name] = value
        return kept


def json_body(model: type[Model]) -> Callable[[Request], Coroutine[Any, Any, Model]]:
    """A FastAPI dependency that reads the body within `app.state.max_body` bytes and validates it in one pass."""

    async def read(request: Request) -> Model:
        return parse_json(model, await _bounded_body(request, request.app.state.max_body))

    return read


async def _bounded_body(request: Request, limit: int) -> bytes:
    chunks = []
    num_bytes = 0
    try:
        async with asyncio.timeout(request.app.state.body_timeout_s):
            async for chunk in request.stream():
                num_bytes += len(chunk)
                if num_bytes > limit:
                    raise BodyTooLarge(f"the request body is longer than {limit} bytes")
                chunks.append(chunk)
    except TimeoutError:
        raise RequestTimeout(f"the request body was not complete after {num_bytes} bytes") from None
    return b"".join(chunks)


def _says_nothing(value: object, neutral: tuple[object, ...]) -> bool:
    # 1 == True in Python, not in JSON; 0 and 0.0 are one number in JSON.
    return any(value == other and isinstance(value, bool) == isinstance(other, bool) for other in neutral)


def _unless(neutral: tuple[object, ...]) -> str:
    return f" (only {json.dumps(neutral[0])} is accepted)" if neutral else ""
