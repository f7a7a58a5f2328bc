"""The body of POST /v1/completions: OpenAI's names. Knows no tokenizer: an id's range is checked further down."""

from dataclasses import replace
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field, model_validator

from service.engine.request import SamplingParams
from service.errors import BadRequest, Unsupported
from service.generate.options import MAX_COUNT
from service.http.sampling_fields import MAX_SAMPLES, SamplingFields

MAX_PROMPTS = 128
DEFAULT_MAX_TOKENS = 16

Prompt = str | tuple[int, ...]


def _prompts(value: Any) -> Any:
    """Text, texts, token ids or lists of token ids -> a tuple of prompts, none empty."""
    if isinstance(value, str):
        prompts: tuple[Prompt, ...] = (value,)
    elif not isinstance(value, list):
        raise ValueError("must be a string, a list of strings, a list of token ids or a list of such lists")
    elif not value:
        raise ValueError("must not be empty")
    elif isinstance(value[0], int):
        prompts = (_token_ids(value),)
    elif isinstance(value[0], str):
        if not all(isinstance(text, str) for text in value):
            raise ValueError("must not mix strings with other values")
        prompts = tuple(value)
    else:
        prompts = tuple(_token_ids(ids) for ids in value)
    if len(prompts) > MAX_PROMPTS:
        raise ValueError(f"at most {MAX_PROMPTS} prompts in one request, not {len(prompts)}")
    if not all(prompts):
        raise ValueError("must not be empty")
    return prompts


def _token_ids(value: Any) -> tuple[int, ...]:
    if not isinstance(value, list) or not all(type(token_id) is int for token_id in value):
        raise ValueError("a list of token ids holds integers only")
    if not all(0 <= token_id <= MAX_COUNT for token_id in value):
        raise ValueError("a token id is not negative and below the vocabulary's size")
    return tuple(value)


class CompletionRequest(SamplingFields):
    REFUSED: ClassVar[dict[str, tuple[object, ...]]] = SamplingFields.REFUSED | {
        "suffix": ("",),
    }

    prompt: Annotated[tuple[Prompt, ...], BeforeValidator(_prompts)] = Field(
        description="A string, a list of strings, a list of token ids, or a list of such lists."
    )
    max_tokens: int | None = Field(
        None,
        ge=0,
        le=MAX_COUNT,
        description=f"Tokens to generate; {DEFAULT_MAX_TOKENS} if not given, 0 only with echo.",
    )
    logprobs: int | None = Field(None, ge=0, le=20, description="Log probabilities, and this many alternatives each.")

    best_of: int | None = Field(
        None, ge=1, le=MAX_SAMPLES, description="Make this many, send the n likeliest; not streamed."
    )
    echo: bool | None = Field(
        None, description="Send the prompt before its completion; with logprobs, those of its tokens too."
    )

    @model_validator(mode="after")
    def _agree(self) -> "CompletionRequest":
        if self.best_of is not None:
            if self.best_of < self.num_choices:
                raise BadRequest(f"'best_of' is {self.best_of}, less than 'n': {self.num_choices}", param="best_of")
            if self.stream and self.best_of > self.num_choices:
                raise Unsupported("'best_of' more than 'n' cannot be streamed: the best is known last", param="best_of")
        if self.max_tokens == 0 and not self.echo:
            raise BadRequest(
                "'max_tokens' is 0: a completion of no tokens says nothing without 'echo'", param="max_tokens"
            )
        num_outputs = len(self.prompt) * (self.best_of or self.num_choices)
        if num_outputs > MAX_SAMPLES:
            raise BadRequest(f"at most {MAX_SAMPLES} outputs in one request, not {num_outputs}", param="n")
        return self

    def sampling_params(self) -> SamplingParams:
        max_tokens = DEFAULT_MAX_TOKENS if self.max_tokens is None else self.max_tokens
        ranks = self.best_of is not None and self.best_of > self.num_choices
        sampling = self.sampling(max(1, max_tokens), 0 if ranks and self.logprobs is None else self.logprobs)
        return replace(sampling, prompt_logprobs=self.logprobs) if self.echo else sampling
