"""gemmule.v1.Inference: messages in, messages out. The work is done by service.generate."""

from collections.abc import Sequence
from contextlib import closing
from secrets import token_hex

from service.engine.request import FinishReason
from service.errors import BadRequest
from service.generate.choices import Choices
from service.generate.conversation import Conversation
from service.generate.options import GenerationOptions
from service.generate.prompt import Chat, Prompt
from service.generate.serving import ServedModel, Serving
from service.generate.text import TextEvent, TokenLogprob, Usage
from service.generate.validation import parse_values
from service.rpc.methods import Call
from service.rpc.proto.gemmule.v1 import inference_pb2 as pb
from service.rpc.values import values_of

REASONS = {
    None: pb.FINISH_REASON_UNSPECIFIED,
    FinishReason.STOP: pb.FINISH_REASON_STOP,
    FinishReason.LENGTH: pb.FINISH_REASON_LENGTH,
    FinishReason.ABORT: pb.FINISH_REASON_ABORT,
}


class Inference:
    def __init__(self, serving: Serving) -> None:
        self._serving = serving

    async def generate(self, request: pb.GenerateRequest, call: Call) -> pb.GenerateResponse:
        model, request_id, choices = await self._admit(request)
        with closing(choices):
            (output,) = await choices.collect()
        return pb.GenerateResponse(
            request_id=request_id,
            model=model.name,
            text=output.text,
            finish_reason=REASONS[output.finish_reason],
            usage=_usage(output.usage),
            token_ids=output.token_ids,
            tokens=_tokens(output.tokens),
        )

    async def generate_stream(self, request: pb.GenerateRequest, call: Call) -> None:
        _, request_id, choices = await self._admit(request)
        with closing(choices):
            async for _, event in choices.events():
                await call.write(_chunk(request_id, event))

    async def _admit(self, request: pb.GenerateRequest) -> tuple[ServedModel, str, Choices]:
        model = self._serving.model(request.model or None)
        options = parse_values(GenerationOptions, values_of(request.options))
        request_id = request.request_id or f"gen-{token_hex(12)}"
        requests = options.requests(request_id, [_prompt(request)], options.params())
        return model, request_id, await Choices.admit(model.generator, request_id, requests)

    async def tokenize(self, request: pb.TokenizeRequest, call: Call) -> pb.TokenizeResponse:
        generator = self._serving.described(request.model or None).generator
        prompt = _chat(request.chat) if request.WhichOneof("prompt") == "chat" else request.text
        add_special = request.add_special if request.HasField("add_special") else True
        ids = await generator.tokenize(prompt, add_special=add_special)
        return pb.TokenizeResponse(token_ids=ids, pieces=map(generator.token_bytes, ids) if request.with_pieces else ())

    async def detokenize(self, request: pb.DetokenizeRequest, call: Call) -> pb.DetokenizeResponse:
        generator = self._serving.described(request.model or None).generator
        return pb.DetokenizeResponse(text=generator.detokenize(request.token_ids))


def _prompt(request: pb.GenerateRequest) -> Prompt:
    match request.WhichOneof("prompt"):
        case "text":
            return request.text
        case "token_ids":
            return tuple(request.token_ids.ids)
        case "chat":
            return _chat(request.chat)
    raise BadRequest("one of 'text', 'token_ids' and 'chat' is required", param="prompt")


def _chat(chat: pb.Chat) -> Chat:
    return parse_values(Conversation, values_of(chat)).chat()


def _chunk(request_id: str, event: TextEvent) -> pb.GenerateChunk:
    return pb.GenerateChunk(
        request_id=request_id,
        text=event.text,
        finish_reason=REASONS[event.finish_reason],
        usage=_usage(event.usage),
        token_ids=event.token_ids,
        tokens=_tokens(event.tokens),
    )


def _usage(usage: Usage) -> pb.Usage:
    return pb.Usage(
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        cached_tokens=usage.cached_tokens,
    )


def _tokens(tokens: Sequence[TokenLogprob]) -> list[pb.Token]:
    return [pb.Token(id=token.id, piece=token.bytes, logprob=token.logprob, top=_tokens(token.top)) for token in tokens]
