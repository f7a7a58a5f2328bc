"""From a validated body to a response: admit, then stream or collect, as long as the client is there.

What both completion routes share; what they differ in is a Format.
"""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing, closing
from secrets import token_hex
from typing import Protocol

from fastapi import Request
from fastapi.responses import JSONResponse
from starlette.responses import Response

from service.engine.request import SamplingParams
from service.errors import GemmuleError
from service.generate.choices import Choices
from service.generate.prompt import Prompt
from service.generate.samples import best
from service.generate.serving import Serving
from service.generate.text import TextEvent, Usage
from service.http.disconnect import while_connected
from service.http.error_response import error_body
from service.http.event_stream import DONE, EventStream, event_of
from service.http.sampling_fields import SamplingFields
from service.structured.output_format import OutputFormat

Body = dict[str, object]


class Format(Protocol):
    """The shape of one response."""

    def response(self, outputs: Sequence[TextEvent], usages: Sequence[Usage]) -> Body:
        """`usages`: of all that was made for them."""
        ...

    def first_chunks(self) -> list[Body]: ...
    def chunk(self, choice: int, event: TextEvent) -> list[Body]: ...
    def usage_chunk(self, usages: Sequence[Usage]) -> Body: ...


MakeFormat = Callable[[str, int, str], Format]
"""(response id, created, model name) -> the format."""


async def respond(
    request: Request,
    body: SamplingFields,
    prompts: Sequence[Prompt],
    sampling: SamplingParams,
    *,
    id_prefix: str,
    make_format: MakeFormat,
    best_of: int | None = None,
    output_format: OutputFormat | None = None,
) -> Response:
    """`best_of`: outputs of each prompt, of which the best `body.n` are sent; without, that many are made.

    `output_format` wins over the body's.
    """
    serving: Serving = request.app.state.serving
    model = serving.model(body.model)
    response_id = f"{id_prefix}-{token_hex(12)}"
    num_samples = body.num_choices if best_of is None else best_of
    requests = body.requests(response_id, prompts, sampling, num_samples, output_format)
    shape = make_format(response_id, serving.now_s(), model.name)
    choices = await while_connected(request.receive, Choices.admit(model.generator, response_id, requests))
    if body.stream:
        wants_usage = body.stream_options is not None and bool(body.stream_options.include_usage)
        events = _events(choices, shape, len(requests), wants_usage)
        return EventStream(events, choices.close, request.app.state.sse_keep_alive_s)
    with closing(choices):
        outputs = await while_connected(request.receive, choices.collect())
    usages = [output.usage for output in outputs]
    return JSONResponse(shape.response(best(outputs, num_samples, body.num_choices), usages))


async def _events(choices: Choices, shape: Format, num_choices: int, wants_usage: bool) -> AsyncGenerator[bytes, None]:
    usages = [Usage(0, 0)] * num_choices
    try:
        for chunk in shape.first_chunks():
            yield _event_of(chunk, wants_usage)
        async with aclosing(choices.events()) as events:
            async for choice, event in events:
                usages[choice] = event.usage
                for chunk in shape.chunk(choice, event):
                    yield _event_of(chunk, wants_usage)
        if wants_usage:
            yield event_of(shape.usage_chunk(usages))
    except GemmuleError as error:
        # The status is gone with the head of the response; OpenAI's clients raise on this event.
        yield event_of(error_body(error))
    yield DONE


def _event_of(chunk: Body, wants_usage: bool) -> bytes:
    """With include_usage every chunk has the field: null in all but the last."""
    return event_of({**chunk, "usage": None} if wants_usage else chunk)
