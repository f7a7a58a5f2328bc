"""How a client may ask for tokens to be drawn and to end: names, ranges and defaults, the same on every face.

The names and ranges are OpenAI's, with the further samplers of vLLM and llama-server; None means not given.
Knows no prompt, no transport and no engine thread.
"""

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from service.engine.request import SamplingParams

MAX_STOP_STRINGS = 16
MAX_STOP_CHARS = 1024
MAX_COUNT = (1 << 31) - 1


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


class SamplingOptions(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, protected_namespaces=())

    temperature: float | None = Field(None, ge=0, le=2, allow_inf_nan=False, description="0 is greedy; 1 if not given.")
    top_p: float | None = Field(None, gt=0, le=1, allow_inf_nan=False, description="Nucleus: most likely tokens.")
    top_k: int | None = Field(None, ge=-1, le=MAX_COUNT, description="Most likely tokens to keep; 0 and -1 keep all.")
    min_p: float | None = Field(None, ge=0, le=1, allow_inf_nan=False, description="Least share of the likeliest.")
    seed: int | None = Field(None, ge=-(1 << 63), lt=1 << 63, description="The same seed gives the same tokens.")
    min_tokens: int | None = Field(None, ge=0, le=MAX_COUNT, description="Tokens before an end of text counts.")
    ignore_eos: bool | None = Field(None, description="Go on after an end of text.")
    stop: Annotated[tuple[str, ...], BeforeValidator(_stop_strings)] = Field(
        (), description="A string or up to 16; generation ends before the first that would appear."
    )
    stop_token_ids: list[Annotated[int, Field(ge=0, le=MAX_COUNT)]] | None = Field(
        None, max_length=64, description="Token ids that end the generation."
    )

    def sampling(self, max_tokens: int | None, logprobs: int | None) -> SamplingParams:
        return SamplingParams(
            temperature=1.0 if self.temperature is None else self.temperature,
            top_k=0 if self.top_k is None else max(0, self.top_k),
            top_p=1.0 if self.top_p is None else self.top_p,
            min_p=self.min_p or 0.0,
            seed=self.seed,
            max_tokens=max_tokens,
            min_tokens=self.min_tokens or 0,
            ignore_eos=bool(self.ignore_eos),
            stop_token_ids=frozenset(self.stop_token_ids or ()),
            logprobs=logprobs,
        )


class GenerationOptions(SamplingOptions):
    """With what OpenAI's two routes say in different ways."""

    max_tokens: int | None = Field(
        None, ge=1, le=MAX_COUNT, description="Tokens to generate; what the context leaves if not given."
    )
    logprobs: int | None = Field(None, ge=0, le=20, description="Log probabilities, and this many alternatives each.")

    def params(self) -> SamplingParams:
        return self.sampling(self.max_tokens, self.logprobs)
