"""POST /v1/completions: a prompt is continued. The work is done by service.generate."""

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from service.http.body import json_body
from service.http.completion_format import CompletionFormat
from service.http.completion_request import CompletionRequest
from service.http.openapi import body_of
from service.http.respond import respond

router = APIRouter()

Body = Annotated[CompletionRequest, Depends(json_body(CompletionRequest))]


@router.post("/v1/completions", summary="Continue a prompt.", openapi_extra=body_of(CompletionRequest))
async def complete(request: Request, body: Body) -> Response:
    make_format = partial(CompletionFormat, num_choices=len(body.prompt), logprobs=body.logprobs)
    return await respond(request, body, body.prompt, body.sampling_params(), id_prefix="cmpl", make_format=make_format)
