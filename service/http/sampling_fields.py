"""The request fields that both completion routes share. Knows no prompt and no engine."""

from typing import Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from service.errors import BadRequest, Unsupported
from service.generate.options import SamplingOptions
from service.http.body import StrictBody
from service.structured.output_format import OutputFormat

MAX_SAMPLES = 128
"""Outputs of one prompt; OpenAI's limit for n."""


class StreamOptions(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    include_usage: bool | None = Field(None, description="Send one more chunk, with the usage and no choices.")
    include_obfuscation: bool | None = Field(None, description="Accepted; no padding is ever added.")


class JsonSchemaFormat(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    name: str | None = Field(None, max_length=256)
    description: str | None = None
    json_schema: dict[str, Any] = Field(alias="schema", description="A JSON schema.")
    strict: bool | None = Field(None, description="Accepted; the schema is always followed.")


class ResponseFormat(BaseModel):
    """OpenAI's name for what the output must look like."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchemaFormat | None = None

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if (self.type == "json_schema") != (self.json_schema is not None):
            raise ValueError("'json_schema' belongs to the type 'json_schema'")
        return self

    def output_format(self) -> OutputFormat | None:
        if self.json_schema is not None:
            return OutputFormat.json_schema(self.json_schema.json_schema, param="response_format")
        return OutputFormat.json_object(param="response_format") if self.type == "json_object" else None


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
    response_format: ResponseFormat | None = Field(
        None, description="text, json_object or json_schema; structured_outputs has more."
    )
    stream: bool | None = Field(None, description="Server-sent events, one per step, then [DONE].")
    stream_options: StreamOptions | None = Field(None, description="Only together with stream.")

    return_token_ids: bool | None = Field(None, description="Send each choice's token ids.")

    @property
    def num_choices(self) -> int:
        """For each prompt."""
        return 1 if self.n is None else self.n

    def output_format(self) -> OutputFormat | None:
        wanted = None if self.response_format is None else self.response_format.output_format()
        return super().output_format() if wanted is None else wanted

    @model_validator(mode="after")
    def _one_format(self) -> Self:
        is_said = self.response_format is not None and self.response_format.type != "text"
        if is_said and self.structured_outputs is not None:
            raise BadRequest("give 'response_format' or 'structured_outputs', not both", param="structured_outputs")
        if is_said and self.allowed_token_ids is not None:
            raise Unsupported("'allowed_token_ids' with structured output is not supported", param="allowed_token_ids")
        return self

    @model_validator(mode="after")
    def _stream_options_need_stream(self) -> "SamplingFields":
        if self.stream_options is not None and not self.stream:
            raise BadRequest("'stream_options' needs 'stream': true", param="stream_options")
        return self
