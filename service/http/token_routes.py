"""/tokenize, /detokenize and /apply-template, as llama-server and vLLM have them. The work is below."""

from typing import Annotated, ClassVar

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse
from pydantic import Field, model_validator

from service.errors import BadRequest
from service.generate.conversation import MAX_MESSAGES, Message, chat_of
from service.generate.generator import Generator
from service.generate.options import TokenId
from service.generate.serving import ServedModel
from service.http.body import StrictBody, json_body
from service.http.openapi import body_of, json_of

MAX_TOKENS = 1 << 20

router = APIRouter()


class TokenizeRequest(StrictBody):
    """llama-server says `content`, vLLM `prompt` or `messages`."""

    model: str | None = Field(None, description="The served model's name; may be left out.")
    content: str | None = Field(None, description="The text.")
    prompt: str | None = Field(None, description="The same.")
    messages: list[Message] | None = Field(
        None, min_length=1, max_length=MAX_MESSAGES, description="A conversation, as the chat template writes it."
    )
    add_special: bool | None = Field(None, description="Begin with the model's begin token; false for `content`.")
    add_special_tokens: bool | None = Field(None, description="The same; true for `prompt`.")
    with_pieces: bool | None = Field(None, description="Send each token with its text, or its bytes.")
    return_token_strs: bool | None = Field(None, description="Send the tokens' texts, too.")

    @model_validator(mode="after")
    def _one(self) -> "TokenizeRequest":
        if sum(given is not None for given in (self.content, self.prompt, self.messages)) != 1:
            raise BadRequest("one of 'content', 'prompt' and 'messages' is required", param="content")
        return self

    @property
    def begins(self) -> bool:
        given = self.add_special if self.add_special is not None else self.add_special_tokens
        return self.prompt is not None if given is None else given


class DetokenizeRequest(StrictBody):
    model: str | None = Field(None, description="The served model's name; may be left out.")
    tokens: list[TokenId] = Field(max_length=MAX_TOKENS, description="Token ids.")


class TemplateRequest(StrictBody):
    HARMLESS: ClassVar[frozenset[str]] = frozenset({"add_generation_prompt"})

    model: str | None = Field(None, description="The served model's name; may be left out.")
    messages: list[Message] = Field(min_length=1, max_length=MAX_MESSAGES, description="The conversation.")


@router.post(
    "/tokenize",
    summary="The token ids of a text or a conversation.",
    openapi_extra=body_of(TokenizeRequest, {"content": "What is a sponge?"}),
    responses=json_of("TokenizeResponse"),
)
async def tokenize(
    request: Request, body: Annotated[TokenizeRequest, Depends(json_body(TokenizeRequest))]
) -> JSONResponse:
    model = _model(request, body.model)
    text = body.content if body.content is not None else body.prompt
    prompt = chat_of(body.messages or ()) if text is None else text
    ids = await model.generator.tokenize(prompt, add_special=body.begins)
    shown: dict[str, object] = {"tokens": ids, "count": len(ids), "max_model_len": model.max_context}
    if body.with_pieces:
        shown["tokens"] = [{"id": id, "piece": _piece(model.generator, id)} for id in ids]
    if body.return_token_strs:
        shown["token_strs"] = [model.generator.token_bytes(id).decode(errors="replace") for id in ids]
    return JSONResponse(shown)


@router.post(
    "/detokenize",
    summary="The text of token ids, special ones by their names.",
    openapi_extra=body_of(DetokenizeRequest, {"tokens": [1, 2, 3]}),
    responses=json_of("DetokenizeResponse"),
)
async def detokenize(
    request: Request, body: Annotated[DetokenizeRequest, Depends(json_body(DetokenizeRequest))]
) -> JSONResponse:
    text = _model(request, body.model).generator.detokenize(body.tokens)
    return JSONResponse({"content": text, "prompt": text})


@router.post(
    "/apply-template",
    summary="The prompt that the chat template makes of a conversation.",
    openapi_extra=body_of(TemplateRequest, {"messages": [{"role": "user", "content": "What is a sponge?"}]}),
    responses=json_of("TemplateResponse"),
)
async def apply_template(
    request: Request, body: Annotated[TemplateRequest, Depends(json_body(TemplateRequest))]
) -> JSONResponse:
    return JSONResponse({"prompt": await _model(request, body.model).generator.render(chat_of(body.messages))})


def _model(request: Request, name: str | None) -> ServedModel:
    model: ServedModel = request.app.state.serving.described(name)
    return model


def _piece(generator: Generator, token_id: int) -> str | list[int]:
    """A part of a character has no text; llama-server sends its bytes."""
    piece = generator.token_bytes(token_id)
    try:
        return piece.decode()
    except UnicodeDecodeError:
        return list(piece)
