"""A client's values -> a validated model, or one typed error that names the field. Knows no field and no transport."""

from typing import TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from service.errors import BadRequest, UnknownField

MAX_SHOWN = 100
"""Characters of a client's own words that an error repeats."""

Model = TypeVar("Model", bound=BaseModel)


def parse_json(model: type[Model], body: bytes) -> Model:
    """Raises BadRequest."""
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        raise _refusal(error) from None


def parse_values(model: type[Model], values: dict[str, object]) -> Model:
    """Raises BadRequest."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise _refusal(error) from None


def _refusal(error: ValidationError) -> BadRequest:
    problem: ErrorDetails = error.errors(include_url=False)[0]
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
