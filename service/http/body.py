"""Request body -> validated model, or one typed error that names the field. Knows no field of any route."""

import json
from collections.abc import Callable, Coroutine
from typing import Any, ClassVar, TypeVar

from fastapi import Request
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from pydantic_core import ErrorDetails

from service.errors import BadRequest, BodyTooLarge, UnknownField, Unsupported

MAX_SHOWN = 100
"""Characters of a client's own words that an error repeats."""

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
        return parse(model, await _bounded_body(request, request.app.state.max_body))

    return read


def parse(model: type[Model], body: bytes) -> Model:
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        raise _refusal(error.errors(include_url=False)[0], model) from None


async def _bounded_body(request: Request, limit: int) -> bytes:
    chunks = []
    num_bytes = 0
    async for chunk in request.stream():
        num_bytes += len(chunk)
        if num_bytes > limit:
            raise BodyTooLarge(f"the request body is longer than {limit} bytes")
        chunks.append(chunk)
    return b"".join(chunks)


def _refusal(problem: ErrorDetails, model: type[BaseModel]) -> BadRequest:
    location = _path(problem["loc"])
    match problem["type"]:
        case "json_invalid":
            return BadRequest(f"the request body is not valid JSON: {problem['ctx']['error']}")
        case "extra_forbidden":
            return UnknownField(f"unknown field '{location}'", param=location)
        case "missing":
            return BadRequest(f"'{location}' is required", param=location)
        case _:
            message = problem["msg"].removeprefix("Value error, ")
            return BadRequest(f"'{location}': {message[:1].lower()}{message[1:]}", param=location)


def _path(location: tuple[int | str, ...]) -> str:
    """("messages", 0, "role") -> "messages[0].role"."""
    path = ""
    for step in location:
        path += f"[{step}]" if isinstance(step, int) else f".{step}" if path else step
    return path if len(path) <= MAX_SHOWN else path[:MAX_SHOWN] + "..."


def _says_nothing(value: object, neutral: tuple[object, ...]) -> bool:
    # 1 == True in Python, not in JSON; 0 and 0.0 are one number in JSON.
    return any(value == other and isinstance(value, bool) == isinstance(other, bool) for other in neutral)


def _unless(neutral: tuple[object, ...]) -> str:
    return f" (only {json.dumps(neutral[0])} is accepted)" if neutral else ""
