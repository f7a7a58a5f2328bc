"""The OpenAPI document: bodies, which the routes read themselves, and responses, with examples. Knows no route."""

from typing import Any

from fastapi import FastAPI
from pydantic.json_schema import models_json_schema

from service.http.body import StrictBody
from service.http.response_schemas import SCHEMAS

REF = "#/components/schemas/{model}"
DONE = "[DONE]"
ERROR_STATUSES = (400, 401, 404, 405, 413, 429, 500, 503)

Responses = dict[int | str, dict[str, Any]]

_bodies: dict[str, type[StrictBody]] = {}


def body_of(model: type[StrictBody], example: dict[str, Any]) -> dict[str, Any]:
    """For a route's `openapi_extra`."""
    _bodies[model.__name__] = model
    content = {"schema": {"$ref": REF.format(model=model.__name__)}, "example": example}
    return {"requestBody": {"required": True, "content": {"application/json": content}}}


def json_of(name: str, *statuses: int, description: str = "OK", streams: bool = False) -> Responses:
    """For a route's `responses`: a JSON body of the schema, or one of the errors."""
    content: dict[str, Any] = {"application/json": {"schema": {"$ref": REF.format(model=name)}}}
    if streams:
        content |= _events(f"{name}Chunk")
    return {status: {"description": description, "content": content} for status in statuses or (200,)} | {
        status: response for status, response in _errors().items() if status not in statuses
    }


def stream_of(name: str) -> Responses:
    return {200: {"description": "Server-sent events.", "content": _events(name)}} | _errors()


def _events(name: str) -> dict[str, Any]:
    """The schema is that of one event, as tools read it for streams before OpenAPI 3.2's `itemSchema`."""
    one_of = {"anyOf": [{"$ref": REF.format(model=name)}, {"$ref": REF.format(model="Error")}]}
    chunk = {"type": "string", "contentMediaType": "application/json", "contentSchema": one_of}
    event = {"type": "object", "required": ["data"], "properties": {"data": {"anyOf": [{"const": DONE}, chunk]}}}
    return {"text/event-stream": {"schema": event}}


def _errors() -> Responses:
    content = {"application/json": {"schema": {"$ref": REF.format(model="Error")}}}
    return {status: {"description": "See `error.code`.", "content": content} for status in ERROR_STATUSES}


def describe_bodies(app: FastAPI) -> None:
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = generate()
            wanted = [(model, "validation") for model in _bodies.values()]
            _, definitions = models_json_schema(wanted, ref_template=REF)  # type: ignore[arg-type]
            schemas = document.setdefault("components", {}).setdefault("schemas", {})
            for unused in ("HTTPValidationError", "ValidationError"):
                schemas.pop(unused, None)
            schemas |= definitions["$defs"] | SCHEMAS
            for operations in document["paths"].values():
                for operation in operations.values():
                    # FastAPI's own shape of an error; no route of ours sends it.
                    operation["responses"].pop("422", None)
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way to extend the document
