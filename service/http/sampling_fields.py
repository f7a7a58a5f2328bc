"""The request fields that both completion routes share. Knows no prompt and no engine."""

from typing import ClassVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

from service.errors import BadRequest
from service.generate.options import SamplingOptions
from service.http.body import StrictBody

MAX_SAMPLES = 128
"""Outputs of one prompt; OpenAI's limit for n."""


class StreamOptions(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    include_usage: bool | None = Field(None, description="Send one more chunk, with the usage and no choices.")
    include_obfuscation: bool | None = Field(None, description="Accepted; no padding is ever added.")


class SamplingFields(SamplingOptions, StrictBody):
    """Everything but the prompt; None means not given."""

    HARMLESS: ClassVar[frozenset[str]] = frozenset(
        {
            "metadata",
            "prompt_cache_key",
            "prompt_cache_retention",
            "safety_identifier",
            "service_tier",
            "store",
            "user",
        }
    )

    model: str | None = Field(None, description="The served model's name; may be left out.")
    n: int | None = Field(None, ge=1, le=MAX_SAMPLES, description="Choices for each prompt; 1 if not given.")
    stream: bool | None = Field(None, description="Server-sent events, one per step, then [DONE].")
    stream_options: StreamOptions | None = Field(None, description="Only together with stream.")

    return_token_ids: bool | None = Field(None, description="Send each choice's token ids.")

    @property
    def num_choices(self) -> int:
        """For each prompt."""
        return 1 if self.n is None else self.n

    @model_validator(mode="after")
    def _stream_options_need_stream(self) -> "SamplingFields":
        if self.stream_options is not None and not self.stream:
            raise BadRequest("'stream_options' needs 'stream': true", param="stream_options")
        return self
