"""Requests made by schemathesis from the server's own OpenAPI document, and what must hold of every answer.

No 5xx, no status or content type that is not documented, no body that breaks its schema; streams too, event by event.
A generated request seldom reaches the model, so of two requests that fit the schema one is tamed: no other model's
name, few of the optional fields, few tokens, streamed or not.
"""

from __future__ import annotations

import contextlib
import json
import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import jsonschema
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
CHUNKS = {"/v1/completions": "CompletionChunk", "/v1/chat/completions": "ChatCompletionChunk"}
"""Routes that stream where they are asked to, and the schema of an event."""
STREAMS = {**CHUNKS, "/v2/models/{name}/generate_stream": "GenerateResponse"}
GENERATING = {*STREAMS, "/v2/models/{name}/generate"}
SHARE_KEPT = 0.2
"""Of a tamed body's optional fields."""
MAX_TOKENS = 12


@dataclass
class Tally:
    """Of one route."""

    statuses: Counter[int] = field(default_factory=Counter)
    num_streams: int = 0

    @property
    def num_cases(self) -> int:
        return self.statuses.total()

    @property
    def num_plain(self) -> int:
        return self.num_cases - self.num_streams


class Fuzz:
    def __init__(self, url: str, num_cases: int, seed: int) -> None:
        """`num_cases`: of each way of generating, on each route that generates; a quarter on the others."""
        self._schema = schemathesis.openapi.from_url(f"{url}/openapi.json")
        self._components: Mapping[str, Any] = self._schema.raw_schema["components"]["schemas"]
        self._num_cases = num_cases
        self._seed = seed
        self._model = ""
        self.tallies: dict[str, Tally] = {}

    def run(self) -> None:
        """Raises what schemathesis raises, with the request that does it again."""
        for result in self._schema.get_all_operations():
            operation = result.ok()
            if operation.path == "/v1/models":
                self._model = operation.Case().call().json()["data"][0]["id"]
        for result in self._schema.get_all_operations():
            operation = result.ok()
            tally = self.tallies.setdefault(operation.label, Tally())
            for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
                self._try(operation, mode, tally)

    def _try(self, operation: Any, mode: GenerationMode, tally: Tally) -> None:
        num_cases = self._num_cases if operation.path in GENERATING else max(1, self._num_cases // 4)

        @seed(self._seed)
        @settings(
            max_examples=num_cases,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
            phases=(Phase.generate,),
        )
        @given(case=operation.as_strategy(generation_mode=mode), draw=st.randoms(use_true_random=False))
        def try_one(case: Any, draw: random.Random) -> None:
            if mode is GenerationMode.POSITIVE and operation.path in GENERATING:
                self._tame(case, draw)
            if mode is GenerationMode.POSITIVE and operation.path == "/debug/trace":
                case.query = {**(case.query or {}), "timeout_s": 0.1}  # nothing runs that could be traced
            response = case.call(timeout=120)
            tally.statuses[response.status_code] += 1
            case.validate_response(response, checks=CHECKS)
            if response.headers.get("content-type", [""])[0].startswith("text/event-stream"):
                tally.num_streams += 1
                self._check_stream(operation.path, response.text)

        # A route without parameters has but one request, and none that is wrong.
        if mode is GenerationMode.POSITIVE or operation.body or operation.path_parameters or operation.query:
            with contextlib.suppress(Unsatisfiable):  # nothing that is wrong can be said to it
                try_one()

    def _tame(self, case: Any, draw: random.Random) -> None:
        if "name" in (case.path_parameters or {}):
            case.path_parameters["name"] = self._model
        if draw.random() < 0.5 or not isinstance(case.body, dict):
            return
        body = {name: value for name, value in case.body.items() if draw.random() < SHARE_KEPT}
        body.pop("model", None)
        limits = {"max_tokens": draw.randint(1, MAX_TOKENS)}
        match case.operation.path:
            case "/v1/completions":
                prompt = draw.choice(["A sponge is", "é", ["one", "two"], [5, 6, 7], [[5], [6, 7]]])
                body |= {"prompt": prompt, **limits, "stream": draw.random() < 0.5}
            case "/v1/chat/completions":
                messages = [{"role": "user", "content": draw.choice(["Hi", "What is a sponge?"])}]
                body |= {"messages": messages, **limits, "stream": draw.random() < 0.5}
            case _:
                parameters = body.get("parameters")
                kept = parameters if isinstance(parameters, dict) else {}
                kept = {name: value for name, value in kept.items() if draw.random() < SHARE_KEPT}
                body |= {"text_input": "A sponge is", "parameters": kept | limits}
        if not body.get("stream"):
            body.pop("stream_options", None)
        case.body = body

    def _check_stream(self, path: str, text: str) -> None:
        """Whole events; each a chunk, or an error that is no 5xx; [DONE] last, where OpenAI's clients wait for it."""
        blocks = [block for block in text.split("\n\n") if block and not block.startswith(":")]
        assert text.endswith("\n\n"), f"a stream that ends within an event: {text[-200:]!r}"
        assert all(block.startswith("data: ") for block in blocks), blocks
        values = [block.removeprefix("data: ") for block in blocks]
        if path in CHUNKS:
            assert values.pop() == "[DONE]", values
        for value in map(json.loads, values):
            name = "Error" if "error" in value else STREAMS[path]
            schema = {"$ref": f"#/components/schemas/{name}", "components": {"schemas": self._components}}
            jsonschema.validate(value, schema)
            if name == "Error":
                kind = value["error"]["type"]
                assert kind == "invalid_request_error", f"an error in a stream that is the server's doing: {value}"
