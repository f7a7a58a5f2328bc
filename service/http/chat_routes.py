"""POST /v1/chat/completions: a conversation is answered. The work is done by service.generate."""

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from service.http.body import json_body
from service.http.chat_format import ChatFormat
from service.http.chat_request import ChatRequest
from service.http.openapi import body_of, json_of
from service.http.respond import respond

router = APIRouter()

Body = Annotated[ChatRequest, Depends(json_body(ChatRequest))]


EXAMPLE = {"messages": [{"role": "user", "content": "What is a sponge?"}], "max_tokens": 64}


@router.post(
    "/v1/chat/completions",
    summary="Answer a conversation.",
    openapi_extra=body_of(ChatRequest, EXAMPLE),
    responses=json_of("ChatCompletion", streams=True),
)
async def chat(request: Request, body: Body) -> Response:
    make_format = partial(
        ChatFormat,
        num_choices=body.num_choices,
        logprobs=bool(body.logprobs),
        with_token_ids=bool(body.return_token_ids),
    )
    return await respond(
        request, body, [body.chat()], body.sampling_params(), id_prefix="chatcmpl", make_format=make_format
    )
