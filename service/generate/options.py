"""How a client may ask for tokens to be drawn and to end: names, ranges and defaults, the same on every face.

The names and ranges are OpenAI's, with the further samplers of vLLM and llama-server; None means not given.
Knows no prompt, no transport and no engine thread.
"""

import math
from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from service.engine.request import MAX_PRIORITY, DrafterKind, Dry, MirostatParams, SamplingParams
from service.errors import Unsupported
from service.generate.prompt import Prompt
from service.generate.request import GenerationRequest
from service.generate.samples import seeded
from service.structured.output_format import Kind, OutputFormat

MAX_STOP_STRINGS = 16
MAX_STOP_CHARS = 1024
MAX_COUNT = (1 << 31) - 1
DRY_BREAKERS = ("\n", ":", '"', "*")
BAN = -100
"""The logit bias by which OpenAI's clients mean "never"."""

TokenId = Annotated[int, Field(ge=0, le=MAX_COUNT)]


def _stop_strings(value: Any) -> Any:
    """A string or a list of strings -> a tuple of strings, none empty: what `stop` means."""
    if value is None:
        return ()
    stops = (value,) if isinstance(value, str) else value
    if not isinstance(stops, (list, tuple)) or not all(isinstance(stop, str) for stop in stops):
        raise ValueError("must be a string or a list of strings")
    if len(stops) > MAX_STOP_STRINGS:
        raise ValueError(f"at most {MAX_STOP_STRINGS} stop strings, not {len(stops)}")
    for stop in stops:
        if not 0 < len(stop) <= MAX_STOP_CHARS:
            raise ValueError(f"a stop string has 1 to {MAX_STOP_CHARS} characters, not {len(stop)}")
    return tuple(stops)


def _bias(value: Any) -> Any:
    """JSON's keys are strings."""
    if not isinstance(value, dict):
        return value
    biases: dict[int, Any] = {}
    for key, bias in value.items():
        if isinstance(key, str) and not (key.isascii() and key.isdecimal() and len(key) <= 10):
            raise ValueError(f"{key[:20]!r} is no token id")
        biases[int(key)] = bias
    return biases


class StructuredOutputs(BaseModel):
    """vLLM's names. Exactly one of them."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    json_schema: dict[str, Any] | str | None = Field(
        None, alias="json", description="A JSON schema, as an object or as text."
    )
    json_object: bool | None = Field(None, description="Any JSON object.")
    regex: str | None = Field(None, min_length=1, description="A regular expression that the whole output matches.")
    choice: list[Annotated[str, Field(min_length=1)]] | None = Field(
        None, min_length=1, max_length=1024, description="One of these texts."
    )
    grammar: str | None = Field(None, min_length=1, description="Lark, or llama.cpp's GBNF.")

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        given = [self.json_schema, self.json_object or None, self.regex, self.choice, self.grammar]
        if sum(value is not None for value in given) != 1:
            raise ValueError("exactly one of json, json_object, regex, choice and grammar is wanted")
        return self

    def output_format(self) -> OutputFormat:
        if self.json_schema is not None:
            return OutputFormat.json_schema(self.json_schema)
        if self.regex is not None:
            return OutputFormat(Kind.REGEX, self.regex)
        if self.choice is not None:
            return OutputFormat.choice(self.choice)
        if self.grammar is not None:
            return OutputFormat(Kind.GRAMMAR, self.grammar)
        return OutputFormat.json_object()


class SamplingOptions(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, protected_namespaces=())

    temperature: float | None = Field(None, ge=0, le=2, allow_inf_nan=False, description="0 is greedy; 1 if not given.")
    top_p: float | None = Field(None, gt=0, le=1, allow_inf_nan=False, description="Nucleus: most likely tokens.")
    top_k: int | None = Field(None, ge=-1, le=MAX_COUNT, description="Most likely tokens to keep; 0 and -1 keep all.")
    min_p: float | None = Field(None, ge=0, le=1, allow_inf_nan=False, description="Least share of the likeliest.")
    typical_p: float | None = Field(
        None, gt=0, le=1, allow_inf_nan=False, description="Typical sampling: this mass of the most typical tokens."
    )
    xtc_probability: float | None = Field(
        None, ge=0, le=1, allow_inf_nan=False, description="XTC: how often the likeliest tokens are left out."
    )
    xtc_threshold: float | None = Field(
        None,
        gt=0,
        le=1,
        allow_inf_nan=False,
        description="XTC: all that have this but the last; 0.1 if not given.",
    )
    mirostat: Literal[0, 2] | None = Field(
        None, description="2: mirostat 2 instead of top_p, top_k, min_p, typical_p and XTC."
    )
    mirostat_tau: float | None = Field(
        None, gt=0, le=100, allow_inf_nan=False, description="Bits that a token surprises by; 5 if not given."
    )
    mirostat_eta: float | None = Field(
        None, gt=0, le=1, allow_inf_nan=False, description="How fast mirostat follows; 0.1 if not given."
    )
    dry_multiplier: float | None = Field(
        None, ge=0, le=100, allow_inf_nan=False, description="DRY: how much repetitions are punished; 0 is off."
    )
    dry_base: float | None = Field(
        None,
        ge=1,
        le=100,
        allow_inf_nan=False,
        description="DRY: so many times as much a token more; 1.75 if not given.",
    )
    dry_allowed_length: int | None = Field(
        None, ge=1, le=MAX_COUNT, description="DRY: shorter repetitions are let be; 2 if not given."
    )
    dry_penalty_last_n: int | None = Field(
        None, ge=-1, le=MAX_COUNT, description="DRY: tokens that are looked through; -1, as if not given: all; 0: off."
    )
    dry_sequence_breakers: list[Annotated[str, Field(min_length=1, max_length=64)]] | None = Field(
        None, max_length=64, description='DRY: texts across which nothing repeats; "\\n", ":", "\\"", "*" if not given.'
    )
    repetition_penalty: float | None = Field(
        None, gt=0, le=100, allow_inf_nan=False, description="Above 1: tokens of prompt and output become less likely."
    )
    presence_penalty: float | None = Field(
        None, ge=-2, le=2, allow_inf_nan=False, description="Taken off the logit of every token of the output."
    )
    frequency_penalty: float | None = Field(
        None, ge=-2, le=2, allow_inf_nan=False, description="The same, for each time that it is there."
    )
    logit_bias: Annotated[dict[int, Annotated[float, Field(ge=-100, le=100)]] | None, BeforeValidator(_bias)] = Field(
        None, max_length=1024, description="Token ids and what is added to their logits; -100 bans a token."
    )
    allowed_token_ids: list[TokenId] | None = Field(
        None, min_length=1, max_length=1 << 20, description="Only these tokens are ever drawn."
    )
    bad_words: list[Annotated[str, Field(min_length=1, max_length=MAX_STOP_CHARS)]] | None = Field(
        None, max_length=64, description="Words whose tokens are never completed."
    )
    seed: int | None = Field(None, ge=-(1 << 63), lt=1 << 63, description="The same seed gives the same tokens.")
    min_tokens: int | None = Field(None, ge=0, le=MAX_COUNT, description="Tokens before an end of text counts.")
    ignore_eos: bool | None = Field(None, description="Go on after an end of text.")
    stop: Annotated[tuple[str, ...], BeforeValidator(_stop_strings)] = Field(
        (), description="A string or up to 16; generation ends before the first that would appear."
    )
    stop_token_ids: list[TokenId] | None = Field(None, max_length=64, description="Token ids that end the generation.")

    structured_outputs: StructuredOutputs | None = Field(
        None, description="What the output must look like: one of json, json_object, regex, choice and grammar."
    )
    priority: int | None = Field(
        None, ge=-MAX_PRIORITY, le=MAX_PRIORITY, description="Lower is earlier; 0 if not given."
    )
    timeout_s: float | None = Field(
        None, gt=0, le=86400, allow_inf_nan=False, description="End with what there is after so many seconds."
    )
    drafter: Literal["none", "prompt_lookup", "draft_model"] | None = Field(
        None, description="Who guesses tokens, where the server has it; changes no token."
    )
    cache_salt: str | None = Field(
        None, max_length=MAX_STOP_CHARS, description="Share cached prefixes only with requests of the same salt."
    )

    def requests(
        self,
        id: str,
        prompts: Sequence[Prompt],
        sampling: SamplingParams,
        num_samples: int = 1,
        output_format: OutputFormat | None = None,
    ) -> list[GenerationRequest]:
        """`num_samples` for each prompt, one prompt after the other; `output_format` wins over the client's."""
        wanted = output_format or self.output_format()
        return [
            GenerationRequest(
                id=f"{id}-{index * num_samples + sample}",
                prompt=prompt,
                sampling=seeded(sampling, sample),
                stop=self.stop,
                bad_words=tuple(self.bad_words or ()),
                dry_breakers=DRY_BREAKERS if self.dry_sequence_breakers is None else tuple(self.dry_sequence_breakers),
                output_format=wanted,
                priority=self.priority or 0,
                timeout_s=self.timeout_s,
                cache_salt=self.cache_salt or "",
                drafter=None if self.drafter is None else DrafterKind(self.drafter),
            )
            for index, prompt in enumerate(prompts)
            for sample in range(num_samples)
        ]

    def output_format(self) -> OutputFormat | None:
        return None if self.structured_outputs is None else self.structured_outputs.output_format()

    @model_validator(mode="after")
    def _one_mask(self) -> Self:
        if self.allowed_token_ids is not None and self.structured_outputs is not None:
            raise Unsupported("'allowed_token_ids' with structured output is not supported", param="allowed_token_ids")
        return self

    def sampling(self, max_tokens: int | None, logprobs: int | None) -> SamplingParams:
        return SamplingParams(
            temperature=1.0 if self.temperature is None else self.temperature,
            top_k=0 if self.top_k is None else max(0, self.top_k),
            top_p=1.0 if self.top_p is None else self.top_p,
            min_p=self.min_p or 0.0,
            typical_p=1.0 if self.typical_p is None else self.typical_p,
            xtc_probability=self.xtc_probability or 0.0,
            xtc_threshold=0.1 if self.xtc_threshold is None else self.xtc_threshold,
            mirostat=self._mirostat(),
            dry=self._dry(),
            repetition_penalty=1.0 if self.repetition_penalty is None else self.repetition_penalty,
            presence_penalty=self.presence_penalty or 0.0,
            frequency_penalty=self.frequency_penalty or 0.0,
            logit_bias=tuple(
                (token_id, -math.inf if bias == BAN else bias) for token_id, bias in (self.logit_bias or {}).items()
            ),
            allowed_token_ids=None if self.allowed_token_ids is None else frozenset(self.allowed_token_ids),
            seed=self.seed,
            max_tokens=max_tokens,
            min_tokens=self.min_tokens or 0,
            ignore_eos=bool(self.ignore_eos),
            stop_token_ids=frozenset(self.stop_token_ids or ()),
            logprobs=logprobs,
        )

    def _mirostat(self) -> MirostatParams | None:
        if not self.mirostat:
            return None
        given = {"tau": self.mirostat_tau, "eta": self.mirostat_eta}
        return MirostatParams(**{name: value for name, value in given.items() if value is not None})

    def _dry(self) -> Dry | None:
        if not self.dry_multiplier or self.dry_penalty_last_n == 0:
            return None
        last_n = self.dry_penalty_last_n
        return Dry(
            multiplier=self.dry_multiplier,
            base=1.75 if self.dry_base is None else self.dry_base,
            allowed_length=2 if self.dry_allowed_length is None else self.dry_allowed_length,
            last_n=None if last_n is None or last_n < 0 else last_n,
        )


class GenerationOptions(SamplingOptions):
    """With what OpenAI's two routes say in different ways."""

    max_tokens: int | None = Field(
        None, ge=1, le=MAX_COUNT, description="Tokens to generate; what the context leaves if not given."
    )
    logprobs: int | None = Field(None, ge=0, le=20, description="Log probabilities, and this many alternatives each.")

    def params(self) -> SamplingParams:
        return self.sampling(self.max_tokens, self.logprobs)
