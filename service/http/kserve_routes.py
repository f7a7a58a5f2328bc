"""The Open Inference Protocol v2 over HTTP: /v2/..., with its text generation extension. The work is below."""

from collections.abc import AsyncGenerator
from contextlib import aclosing, closing
from secrets import token_hex
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse
from pydantic import Field
from starlette.responses import Response

from service.errors import GemmuleError, NotFound
from service.generate.choices import Choices
from service.generate.options import GenerationOptions
from service.generate.serving import Phase, ServedModel, Serving
from service.generate.text import TextEvent
from service.generate.validation import parse_values
from service.http.body import StrictBody, json_body
from service.http.disconnect import while_connected
from service.http.error_response import error_body
from service.http.event_stream import EventStream, event_of
from service.http.openapi import body_of, json_of, stream_of

MODEL_VERSION = "1"

router = APIRouter()


class GenerateRequest(StrictBody):
    text_input: str = Field(min_length=1, description="The prompt.")
    parameters: GenerationOptions | None = Field(None, description="Options.")
    id: str | None = Field(None, max_length=256, description="Comes back with the answer.")


Body = Annotated[GenerateRequest, Depends(json_body(GenerateRequest))]
EXAMPLE = {"text_input": "A sponge is", "parameters": {"max_tokens": 16, "temperature": 0}}


@router.get("/v2", summary="The server.", responses=json_of("ServerMetadata"))
async def server(request: Request) -> JSONResponse:
    return JSONResponse({"name": "gemmule", "version": request.app.version, "extensions": ["generate"]})


@router.get("/v2/health/live", summary="The process answers.", responses=json_of("Liveness"))
async def live() -> JSONResponse:
    return JSONResponse({"live": True})


@router.get("/v2/health/ready", summary="Whether requests are taken.", responses=json_of("Readiness", 200, 503))
async def ready(request: Request) -> JSONResponse:
    is_ready = _serving(request).phase is Phase.READY
    return JSONResponse({"ready": is_ready}, 200 if is_ready else 503)


@router.get("/v2/models/{name}", summary="A model's inputs and outputs.", responses=json_of("ModelMetadata"))
@router.get("/v2/models/{name}/versions/{version}", include_in_schema=False)
async def metadata(request: Request, name: str, version: str = MODEL_VERSION) -> JSONResponse:
    model = _model(request, name, version)
    texts = [{"name": "text_input", "datatype": "BYTES", "shape": [1]}]
    outputs = [{"name": "text_output", "datatype": "BYTES", "shape": [1]}]
    return JSONResponse(
        {
            "name": model.name,
            "versions": [MODEL_VERSION],
            "platform": "gemmule_gguf",
            "inputs": texts,
            "outputs": outputs,
        }
    )


@router.get("/v2/models/{name}/ready", summary="Whether it takes requests.", responses=json_of("Readiness", 200, 503))
@router.get("/v2/models/{name}/versions/{version}/ready", include_in_schema=False)
async def model_ready(request: Request, name: str, version: str = MODEL_VERSION) -> JSONResponse:
    model = _model(request, name, version)
    is_ready = _serving(request).phase is Phase.READY
    return JSONResponse({"name": model.name, "ready": is_ready}, 200 if is_ready else 503)


@router.post(
    "/v2/models/{name}/generate",
    summary="Continue a text.",
    openapi_extra=body_of(GenerateRequest, EXAMPLE),
    responses=json_of("GenerateResponse"),
)
@router.post("/v2/models/{name}/versions/{version}/generate", include_in_schema=False)
async def generate(request: Request, name: str, body: Body, version: str = MODEL_VERSION) -> Response:
    model, choices = await _admit(request, name, version, body)
    with closing(choices):
        (output,) = await while_connected(request.receive, choices.collect())
    return JSONResponse(_answer(model, body, output))


@router.post(
    "/v2/models/{name}/generate_stream",
    summary="Continue a text, as server-sent events.",
    openapi_extra=body_of(GenerateRequest, EXAMPLE),
    responses=stream_of("GenerateResponse"),
)
@router.post("/v2/models/{name}/versions/{version}/generate_stream", include_in_schema=False)
async def generate_stream(request: Request, name: str, body: Body, version: str = MODEL_VERSION) -> Response:
    model, choices = await _admit(request, name, version, body)
    return EventStream(_events(model, body, choices), choices.close, request.app.state.sse_keep_alive_s)


async def _events(model: ServedModel, body: GenerateRequest, choices: Choices) -> AsyncGenerator[bytes, None]:
    try:
        async with aclosing(choices.events()) as events:
            async for _, event in events:
                yield event_of(_answer(model, body, event) | {"done": event.finish_reason is not None})
    except GemmuleError as error:
        yield event_of(error_body(error))


async def _admit(request: Request, name: str, version: str, body: GenerateRequest) -> tuple[ServedModel, Choices]:
    _model(request, name, version)
    model = _serving(request).model(name)
    options = body.parameters or parse_values(GenerationOptions, {})
    request_id = f"generate-{token_hex(12)}"
    requests = options.requests(request_id, [body.text_input], options.params())
    return model, await while_connected(request.receive, Choices.admit(model.generator, request_id, requests))


def _answer(model: ServedModel, body: GenerateRequest, event: TextEvent) -> dict[str, object]:
    answer: dict[str, object] = {
        "text_output": event.text,
        "model_name": model.name,
        "model_version": MODEL_VERSION,
        "details": {
            "finish_reason": None if event.finish_reason is None else event.finish_reason.value,
            "logprobs": [{"id": token.id, "text": token.text, "logprob": token.logprob} for token in event.tokens],
        },
    }
    return answer | ({} if body.id is None else {"id": body.id})


def _serving(request: Request) -> Serving:
    serving: Serving = request.app.state.serving
    return serving


def _model(request: Request, name: str, version: str) -> ServedModel:
    model = _serving(request).described(name)
    if version != MODEL_VERSION:
        raise NotFound(f"the model has no version {version[:100]!r}, only {MODEL_VERSION!r}", param="version")
    return model
