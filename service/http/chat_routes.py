"""POST /v1/chat/completions: a conversation is answered. The work is done by service.generate."""

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from service.generate.chat_output import ChatParsing
from service.generate.generator import Generator
from service.generate.prompt import Chat
from service.generate.reasoning import BEGIN
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
    generator = request.app.state.serving.model(body.model).generator
    chat = body.chat()
    make_format = partial(
        ChatFormat,
        num_choices=body.num_choices,
        logprobs=bool(body.logprobs),
        with_token_ids=bool(body.return_token_ids),
        parsing=await parsing_of(generator, body, chat),
    )
    if functions := body.required_functions():
        required = generator.tool_format.output_format(functions, parallel=bool(body.parallel_tool_calls))
    else:
        required = None
    return await respond(
        request,
        body,
        [chat],
        body.sampling_params(),
        id_prefix="chatcmpl",
        make_format=make_format,
        output_format=required,
    )


async def parsing_of(generator: Generator, body: ChatRequest, chat: Chat) -> ChatParsing:
    """What the answers are looked through for."""
    begins_thinking = body.wants_reasoning and (await generator.render(chat)).rstrip().endswith(BEGIN)
    return ChatParsing(
        tool_format=generator.tool_format if body.offered_tools else None,
        tool_names=frozenset(tool.function.name for tool in body.offered_tools),
        reasoning=body.wants_reasoning,
        begins_thinking=begins_thinking,
    )
