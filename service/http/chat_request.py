"""The body of POST /v1/chat/completions: OpenAI's names. Knows no template."""

from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from service.engine.request import SamplingParams
from service.errors import BadRequest, Unsupported
from service.generate.conversation import Message, chat_of
from service.generate.options import MAX_COUNT
from service.generate.prompt import Chat
from service.generate.tools import MAX_TOOLS, FunctionDefinition, NamedTool, Tool, ToolChoice
from service.http.sampling_fields import SamplingFields

RESERVED = frozenset({"messages", "tools", "add_generation_prompt", "bos_token", "eos_token"})
"""Of the chat template's variables, what is said elsewhere."""


class ChatRequest(SamplingFields):
    HARMLESS: ClassVar[frozenset[str]] = SamplingFields.HARMLESS | {"prediction"}
    REFUSED: ClassVar[dict[str, tuple[object, ...]]] = SamplingFields.REFUSED | {
        "audio": (),
        "function_call": ("none",),
        "functions": ([],),
        "modalities": (["text"],),
        "moderation": (),
        "reasoning_effort": ("none",),
        "verbosity": ("medium",),
        "web_search_options": (),
    }

    messages: list[Message] = Field(min_length=1, max_length=4096, description="The conversation, oldest first.")
    max_completion_tokens: int | None = Field(
        None, ge=1, le=MAX_COUNT, description="Tokens to generate; what the context leaves if not given."
    )
    max_tokens: int | None = Field(None, ge=1, le=MAX_COUNT, description="The older name of max_completion_tokens.")
    logprobs: bool | None = Field(None, description="Send the log probability of every token.")
    top_logprobs: int | None = Field(None, ge=0, le=20, description="Alternatives per token; needs logprobs.")

    tools: list[Tool] | None = Field(None, max_length=MAX_TOOLS, description="Functions that the model may call.")
    tool_choice: ToolChoice | None = Field(
        None, description="none, auto (if not given), required, or a function: the last two follow its schema."
    )
    parallel_tool_calls: bool | None = Field(
        None, description="Several calls where one is required; false if not given."
    )
    include_reasoning: bool | None = Field(None, description="Send what is between <think> tags as reasoning_content.")
    reasoning_format: Literal["none", "deepseek"] | None = Field(None, description="The same, in llama-server's words.")
    chat_template_kwargs: dict[str, Any] | None = Field(None, description="Further variables of the chat template.")

    @model_validator(mode="after")
    def _tools_agree(self) -> "ChatRequest":
        names = {tool.function.name for tool in self.tools or ()}
        if len(names) < len(self.tools or ()):
            raise BadRequest("two tools have the same name", param="tools")
        if self.tool_choice not in (None, "none", "auto") and not names:
            raise BadRequest("'tool_choice' needs 'tools'", param="tool_choice")
        if isinstance(self.tool_choice, NamedTool) and self.tool_choice.function.name not in names:
            raise BadRequest(f"no tool is called {self.tool_choice.function.name!r}", param="tool_choice")
        if self.is_call_required and super().output_format() is not None:
            raise Unsupported("a required tool call cannot have another output format", param="tool_choice")
        if reserved := RESERVED & set(self.chat_template_kwargs or ()):
            raise BadRequest(f"{sorted(reserved)[0]!r} is not the client's to say", param="chat_template_kwargs")
        return self

    @property
    def is_call_required(self) -> bool:
        return self.tool_choice == "required" or isinstance(self.tool_choice, NamedTool)

    @property
    def offered_tools(self) -> list[Tool]:
        return [] if self.tool_choice == "none" else self.tools or []

    def required_functions(self) -> list[FunctionDefinition]:
        """Those of which one must be called."""
        functions = [tool.function for tool in self.offered_tools] if self.is_call_required else []
        if isinstance(self.tool_choice, NamedTool):
            return [function for function in functions if function.name == self.tool_choice.function.name]
        return functions

    @property
    def wants_reasoning(self) -> bool:
        return bool(self.include_reasoning) or self.reasoning_format == "deepseek"

    @model_validator(mode="after")
    def _agree(self) -> "ChatRequest":
        if self.top_logprobs is not None and not self.logprobs:
            raise Unsupported("'top_logprobs' needs 'logprobs': true", param="top_logprobs")
        if None not in (self.max_tokens, self.max_completion_tokens) and self.max_tokens != self.max_completion_tokens:
            raise Unsupported("'max_tokens' and 'max_completion_tokens' differ; give one", param="max_tokens")
        return self

    def sampling_params(self) -> SamplingParams:
        max_tokens = self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens
        return self.sampling(max_tokens, (self.top_logprobs or 0) if self.logprobs else None)

    def chat(self) -> Chat:
        return chat_of(self.messages, self.offered_tools, self.chat_template_kwargs)
