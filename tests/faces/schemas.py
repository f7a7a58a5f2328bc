"""JSON schemas of growing difficulty, whose answers end, parse and validate; and schemas that must be refused."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx
import jsonschema

from tests.end_to_end.requests import CHAT, COMPLETIONS
from tests.service.structured.schemas import NUM_SCHEMAS, schema_of

MAX_TOKENS = 4000
LIMIT_S = 600.0
ENDLESS = "the answer has no end"
REFUSED: tuple[tuple[Any, str], ...] = (
    ({"type": "tree"}, "Invalid type"),
    ({"type": 3}, "type"),
    ({"$ref": "#/$defs/nowhere"}, "nowhere"),
    ({"$ref": "https://example.org/schema.json"}, "https"),
    ({"type": "string", "pattern": "("}, "unclosed group"),
    ({"type": "string", "pattern": "(?=a)b"}, "look-around"),
    ({"type": "string", "minLength": 5, "maxLength": 3}, ""),
    ({"type": "integer", "minimum": 5, "maximum": 3}, ""),
    ({"allOf": [{"type": "string"}, {"type": "null"}]}, "Unsatisfiable"),
    ({"not": {"type": "string"}}, "not"),
    ({"type": "array", "items": {"type": "null"}, "minItems": 3, "maxItems": 1}, ""),
    ({"enum": []}, ""),
    ({"type": "string", "format": "no-such-format"}, "no-such-format"),
    ({"type": "object", "properties": {f"p{n}": {} for n in range(3000)}, "additionalProperties": False}, ""),
)
"""A schema, and a word of the reason. The last one is found too large when it is compiled, or a token later."""
CODES = ("invalid_grammar", "output_stuck")


@dataclass(frozen=True, slots=True)
class Study:
    num_valid: int
    num_tokens: int
    failures: tuple[str, ...]


async def ask_all(url: str, concurrency: int, say: Callable[[str], None], num_schemas: int = NUM_SCHEMAS) -> Study:
    """Every second one as a chat; the easy ones greedily, the others drawn."""
    slots = asyncio.Semaphore(concurrency)
    async with httpx.AsyncClient(base_url=url, timeout=LIMIT_S) as client:
        asked = [asyncio.ensure_future(_ask(client, slots, index)) for index in range(num_schemas)]
        for number, one in enumerate(asyncio.as_completed(asked), 1):
            await one
            if number % 20 == 0:
                say(f"{number} of {num_schemas} answers")
    answers = [one.result() for one in asked]
    failures = tuple(failure for _, failure in answers if failure)
    return Study(len(answers) - len(failures), sum(count for count, _ in answers), failures)


async def refused(url: str) -> list[str]:
    """What should have been refused by a 400 with a reason, and was not."""
    failures = []
    async with httpx.AsyncClient(base_url=url, timeout=LIMIT_S) as client:
        for schema, word in REFUSED:
            body = {"prompt": "x", "response_format": _format(schema), "max_tokens": 8}
            response = await client.post(COMPLETIONS, json=body)
            error = response.json().get("error", {})
            message = error.get("message", "")
            reason = message.removeprefix("the output format is not usable: ")
            if response.status_code != 400 or error.get("code") not in CODES or not reason:
                failures.append(f"{str(schema)[:100]}: {response.status_code} {response.text[:200]}")
            elif word not in reason:
                failures.append(f"{str(schema)[:100]}: its reason has no {word!r}: {reason}")
    return failures


async def _ask(client: httpx.AsyncClient, slots: asyncio.Semaphore, index: int) -> tuple[int, str | None]:
    schema = schema_of(index)
    sampling = {"temperature": 0} if index % 4 == 0 else {"temperature": 1.0, "seed": index}
    body = {"response_format": _format(schema), "max_tokens": MAX_TOKENS, **sampling}
    if index % 2:
        path, prompt = CHAT, {"messages": [{"role": "user", "content": f"Example {index} of such an object, as JSON."}]}
    else:
        path, prompt = COMPLETIONS, {"prompt": f"Example {index} of such an object, as JSON:\n"}
    async with slots:
        response = await client.post(path, json=body | prompt)
    if response.status_code != 200:
        return 0, f"schema {index}: {response.status_code} {response.text[:300]}"
    answer = response.json()
    choice, num_tokens = answer["choices"][0], answer["usage"]["completion_tokens"]
    text = choice["text"] if path == COMPLETIONS else choice["message"]["content"]
    return num_tokens, _fault(index, schema, text, choice["finish_reason"])


def _fault(index: int, schema: dict[str, Any], text: str, finish_reason: str) -> str | None:
    if finish_reason != "stop":
        return f"schema {index}: {ENDLESS}, but {finish_reason}: {text[-200:]!r}"
    try:
        checker = jsonschema.Draft202012Validator.FORMAT_CHECKER
        jsonschema.validate(json.loads(text), schema, jsonschema.Draft202012Validator, format_checker=checker)
    except ValueError as error:
        return f"schema {index}: {error}: {text[:300]!r}"
    except jsonschema.ValidationError as error:
        return f"schema {index}: {error.message}: {text[:300]!r}"
    return None


def _format(schema: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "example", "schema": schema}}
