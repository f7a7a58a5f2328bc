"""Adds the request bodies to the OpenAPI document: the routes read them themselves, so FastAPI does not see them."""

from typing import Any

from fastapi import FastAPI
from pydantic.json_schema import models_json_schema

from service.http.body import StrictBody
from service.http.chat_request import ChatRequest
from service.http.completion_request import CompletionRequest

BODIES: tuple[type[StrictBody], ...] = (CompletionRequest, ChatRequest)
REF = "#/components/schemas/{model}"


def body_of(model: type[StrictBody]) -> dict[str, Any]:
    """For a route's `openapi_extra`."""
    schema = {"$ref": REF.format(model=model.__name__)}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def describe_bodies(app: FastAPI) -> None:
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = generate()
            _, definitions = models_json_schema([(model, "validation") for model in BODIES], ref_template=REF)
            document.setdefault("components", {}).setdefault("schemas", {}).update(definitions["$defs"])
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way to extend the document
