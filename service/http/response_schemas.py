"""The shapes of responses, for the OpenAPI document alone: what the routes send is made elsewhere, and tested against
this."""

from typing import Any

TEXT = {"type": "string"}
COUNT = {"type": "integer", "minimum": 0}
NUMBER = {"type": "number"}
FLAG = {"type": "boolean"}
IDS = {"type": "array", "items": COUNT}
FINISH_REASON = {"type": ["string", "null"], "enum": ["stop", "length", "tool_calls", "abort", None]}


def _object(required: dict[str, Any], optional: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"type": "object", "required": list(required), "properties": required | (optional or {})}


def _list(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


ERROR = _object(
    {"error": _object({"message": TEXT, "type": TEXT, "param": {"type": ["string", "null"]}, "code": TEXT})}
)
USAGE = _object(
    {"prompt_tokens": COUNT, "completion_tokens": COUNT, "total_tokens": COUNT},
    {"prompt_tokens_details": _object({"cached_tokens": COUNT})},
)
TIMINGS = _object(
    {"cache_n": COUNT}
    | {f"prompt_{name}": NUMBER for name in ("n", "ms", "per_token_ms", "per_second")}
    | {f"predicted_{name}": NUMBER for name in ("n", "ms", "per_token_ms", "per_second")}
)
COMPLETION_CHOICE = _object(
    {"index": COUNT, "text": TEXT, "logprobs": {"type": ["object", "null"]}, "finish_reason": FINISH_REASON},
    {"token_ids": IDS},
)
FUNCTION_CALL = _object({"id": TEXT, "type": TEXT, "function": _object({"name": TEXT, "arguments": TEXT})})
MESSAGE = _object(
    {"role": TEXT, "content": {"type": ["string", "null"]}, "refusal": {"type": ["string", "null"]}},
    {"tool_calls": _list(FUNCTION_CALL), "reasoning_content": {"type": ["string", "null"]}},
)
CHAT_CHOICE = _object(
    {"index": COUNT, "message": MESSAGE, "logprobs": {"type": ["object", "null"]}, "finish_reason": FINISH_REASON},
    {"token_ids": IDS},
)
CALL_DELTA = _object(
    {"index": COUNT, "function": _object({"arguments": TEXT}, {"name": TEXT})}, {"id": TEXT, "type": TEXT}
)
DELTA = _object(
    {},
    {
        "role": TEXT,
        "content": {"type": ["string", "null"]},
        "refusal": {"type": ["string", "null"]},
        "reasoning_content": TEXT,
        "tool_calls": _list(CALL_DELTA),
    },
)
CHAT_DELTA = _object(
    {"index": COUNT, "delta": DELTA, "logprobs": {"type": ["object", "null"]}, "finish_reason": FINISH_REASON},
    {"token_ids": IDS},
)
MODEL = _object({"id": TEXT, "object": TEXT, "created": COUNT, "owned_by": TEXT, "max_model_len": COUNT})
TENSOR = _object({"name": TEXT, "datatype": TEXT, "shape": _list({"type": "integer"})})
COST = _object(
    {
        "kernel": TEXT,
        **dict.fromkeys(("calls", "bytes", "operations", "seconds", "share"), NUMBER),
        "gigabytes_per_s": NUMBER,
        "gigaoperations_per_s": NUMBER,
    }
)


def _response(object: str, choice: dict[str, Any]) -> dict[str, Any]:
    head = {"id": TEXT, "object": {"const": object}, "created": COUNT, "model": TEXT, "choices": _list(choice)}
    return _object(head | {"usage": _ref("Usage")}, {"timings": _ref("Timings")})


def _chunk(object: str, choice: dict[str, Any]) -> dict[str, Any]:
    """An event of a stream; the last one has the timings, one without choices the usage."""
    head = {"id": TEXT, "object": {"const": object}, "created": COUNT, "model": TEXT, "choices": _list(choice)}
    usage = {"anyOf": [_ref("Usage"), {"type": "null"}]}
    return _object(head, {"usage": usage, "timings": _ref("Timings")})


SCHEMAS: dict[str, dict[str, Any]] = {
    "Error": ERROR,
    "Usage": USAGE,
    "Timings": TIMINGS,
    "Completion": _response("text_completion", COMPLETION_CHOICE),
    "ChatCompletion": _response("chat.completion", CHAT_CHOICE),
    "CompletionChunk": _chunk("text_completion", COMPLETION_CHOICE),
    "ChatCompletionChunk": _chunk("chat.completion.chunk", CHAT_DELTA),
    "Model": MODEL,
    "Models": _object({"object": TEXT, "data": _list(_ref("Model"))}),
    "Health": _object({"status": {"enum": ["live", "stalled", "loading", "ready", "draining"]}}),
    "Trace": {"type": ["object", "array"]},
    "Version": _object({"version": TEXT}),
    "Kernels": _object(
        {
            "model": TEXT,
            "ops": _list(
                _object(
                    {
                        "op": TEXT,
                        "count": COUNT,
                        "packing": {"type": ["object", "null"]},
                        "prefill": _ref("KernelCost"),
                        "decode": _ref("KernelCost"),
                    }
                )
            ),
        }
    ),
    "KernelCost": COST,
    "TokenizeResponse": _object(
        {"tokens": {"type": "array"}, "count": COUNT, "max_model_len": COUNT}, {"token_strs": _list(TEXT)}
    ),
    "DetokenizeResponse": _object({"content": TEXT, "prompt": TEXT}),
    "TemplateResponse": _object({"prompt": TEXT}),
    "ServerMetadata": _object({"name": TEXT, "version": TEXT, "extensions": _list(TEXT)}),
    "Liveness": _object({"live": FLAG}),
    "Readiness": _object({"ready": FLAG}, {"name": TEXT}),
    "ModelMetadata": _object(
        {"name": TEXT, "versions": _list(TEXT), "platform": TEXT, "inputs": _list(TENSOR), "outputs": _list(TENSOR)}
    ),
    "GenerateResponse": _object(
        {"text_output": TEXT, "model_name": TEXT, "model_version": TEXT, "details": {"type": "object"}}, {"id": TEXT}
    ),
}
