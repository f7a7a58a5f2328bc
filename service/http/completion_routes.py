"""POST /v1/completions: a prompt is continued. The work is done by service.generate."""

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from service.http.body import json_body
from service.http.completion_format import CompletionFormat
from service.http.completion_request import CompletionRequest
from service.http.openapi import body_of, json_of
from service.http.respond import respond

router = APIRouter()

Body = Annotated[CompletionRequest, Depends(json_body(CompletionRequest))]


EXAMPLE = {"prompt": "A sponge is", "max_tokens": 16, "temperature": 0}


@router.post(
    "/v1/completions",
    summary="Continue a prompt.",
    openapi_extra=body_of(CompletionRequest, EXAMPLE),
    responses=json_of("Completion", streams=True),
)
async def complete(request: Request, body: Body) -> Response:
    echoes = None
    if body.echo:
        generator = request.app.state.serving.model(body.model).generator
        echoes = [prompt if isinstance(prompt, str) else generator.detokenize(prompt) for prompt in body.prompt]
    make_format = partial(
        CompletionFormat,
        num_prompts=len(body.prompt),
        num_samples=body.num_choices,
        logprobs=body.logprobs,
        echoes=echoes,
        with_token_ids=bool(body.return_token_ids),
        keeps_output=body.max_tokens != 0,
    )
    return await respond(
        request,
        body,
        body.prompt,
        body.sampling_params(),
        id_prefix="cmpl",
        make_format=make_format,
        best_of=body.best_of,
    )
