"""The OpenAPI document knows the bodies and its references lead somewhere."""

from typing import Any

from tests.service.fakes import FakeRunner
from tests.service.http.api import api


def references(value: Any) -> list[str]:
    if isinstance(value, dict):
        found = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        return found + [reference for inner in value.values() for reference in references(inner)]
    if isinstance(value, list):
        return [reference for inner in value for reference in references(inner)]
    return []


async def test_bodies_and_references() -> None:
    async with api(FakeRunner()) as client:
        document = (await client.get("/openapi.json")).json()
    schemas = document["components"]["schemas"]
    for path, name in (("/v1/completions", "CompletionRequest"), ("/v1/chat/completions", "ChatRequest")):
        body = document["paths"][path]["post"]["requestBody"]
        assert body["content"]["application/json"]["schema"] == {"$ref": f"#/components/schemas/{name}"}
        assert schemas[name]["additionalProperties"] is False
    assert "prompt" in schemas["CompletionRequest"]["required"]
    used = references(document)
    assert used
    assert {reference.removeprefix("#/components/schemas/") for reference in used} <= set(schemas)
