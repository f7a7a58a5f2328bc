"""How models of a family write a call of a tool, and how those are told to that know none. Knows no stream.

Hermes, Qwen and many others: <tool_call>{"name": ..., "arguments": {...}}</tool_call>. Llama 3: the object alone, with
"parameters". A model whose template knows no tools is told of Hermes' way in its system message.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from service.generate.tools import FunctionDefinition
from service.structured.output_format import JSON_OPTIONS, Kind, OutputFormat

MAX_PARALLEL = 8

Message = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ToolFormat:
    begin: str
    """Before a call; empty where a call is known by its first brace, at the beginning of the answer."""
    end: str
    arguments: str
    """The key of the arguments."""
    separator: str
    """Between two calls."""

    def output_format(self, functions: Sequence[FunctionDefinition], *, parallel: bool) -> OutputFormat:
        """One call of one of them, or several."""
        rules = "".join(f"f{index}: %json {self._call(function)}\n" for index, function in enumerate(functions))
        alternatives = " | ".join(f"f{index}" for index in range(len(functions)))
        call = " ".join(part for part in (_quoted(self.begin), f"({alternatives})", _quoted(self.end)) if part)
        more = f" ({_quoted(self.separator)} call){{0,{MAX_PARALLEL - 1}}}" if parallel else ""
        return OutputFormat(Kind.GRAMMAR, f"start: call{more}\ncall: {call}\n{rules}", "tools")

    def _call(self, function: FunctionDefinition) -> str:
        schema = {
            "type": "object",
            "properties": {"name": {"const": function.name}, self.arguments: function.schema_of_arguments},
            "required": ["name", self.arguments],
            "additionalProperties": False,
            "x-guidance": JSON_OPTIONS,
        }
        return json.dumps(schema)


HERMES = ToolFormat("<tool_call>\n", "\n</tool_call>", "arguments", "\n")
LLAMA3 = ToolFormat("", "", "parameters", "; ")


def format_of(template: str) -> ToolFormat:
    """By what the model's chat template says."""
    is_llama = "<tool_call>" not in template and ("<|python_tag|>" in template or '"parameters": dict' in template)
    return LLAMA3 if is_llama else HERMES


def knows_tools(template: str) -> bool:
    return "tools" in template


def told_of_tools(messages: Sequence[Message], tools: Sequence[Mapping[str, Any]]) -> list[Message]:
    """The conversation for a template that knows neither tools nor calls nor answers of them."""
    told = [_in_words(message) for message in messages]
    instructions = _instructions(tools) if tools else ""
    if instructions and told and told[0]["role"] == "system":
        told[0] = {**told[0], "content": f"{told[0]['content']}\n\n{instructions}"}
    elif instructions:
        told.insert(0, {"role": "system", "content": instructions})
    return told


def _instructions(tools: Sequence[Mapping[str, Any]]) -> str:
    listed = "\n".join(json.dumps(tool["function"]) for tool in tools)
    return (
        "You can call these functions:\n<tools>\n" + listed + "\n</tools>\n"
        "To call one, answer with nothing but a JSON object between tags, like this:\n"
        '<tool_call>\n{"name": "the function\'s name", "arguments": {"an argument": "its value"}}\n</tool_call>'
    )


def _in_words(message: Message) -> Message:
    if message["role"] == "tool":
        return {"role": "user", "content": f"<tool_response>\n{message['content']}\n</tool_response>"}
    calls = message.get("tool_calls")
    if not calls:
        return message
    written = [f"{HERMES.begin}{json.dumps(call['function'])}{HERMES.end}" for call in calls]
    return {"role": message["role"], "content": "\n".join([message["content"] or "", *written]).strip()}


def _quoted(text: str) -> str:
    return json.dumps(text) if text else ""
