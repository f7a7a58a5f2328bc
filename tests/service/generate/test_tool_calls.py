"""Tool calls and thoughts in a growing answer: however the text is cut, the same comes out."""

import json
import random
from itertools import pairwise
from typing import Any

import pytest

from service.engine.request import FinishReason
from service.generate.chat_output import ChatOutput, ChatParsing
from service.generate.text import TextEvent, Usage
from service.generate.tool_format import HERMES, LLAMA3, ToolFormat, format_of, knows_tools, told_of_tools

NAMES = frozenset({"add", "get_weather"})


def parsed(text: str, parsing: ChatParsing, cuts: list[int] | None = None) -> dict[str, Any]:
    """What a client puts together from the events."""
    places = [0, *sorted(cuts or []), len(text)]
    pieces = [text[start:end] for start, end in pairwise(places)]
    ids = iter(range(100))
    output = ChatOutput(parsing, draw_id=lambda: f"call-{next(ids)}")
    whole: dict[str, Any] = {"content": "", "reasoning": "", "calls": []}
    for index, piece in enumerate(pieces):
        reason = FinishReason.STOP if index == len(pieces) - 1 else None
        event = output.push(TextEvent(piece, (), reason, Usage(1, index)))
        whole["content"] += event.content
        whole["reasoning"] += event.reasoning
        for delta in event.tool_calls:
            if delta.id is not None:
                assert delta.index == len(whole["calls"])
                whole["calls"].append([delta.id, delta.name, ""])
            whole["calls"][delta.index][2] += delta.arguments
    whole["reason"] = event.finish_reason
    return whole


def hermes(name: str, arguments: str) -> str:
    return f'<tool_call>\n{{"name": "{name}", "arguments": {arguments}}}\n</tool_call>'


ARGUMENTS = '{"a": [1, {"b": "}\\" </tool_call> {"}], "c": "x"}'

LLAMA_CALL = '{"name": "add", "parameters": {}}'
ONE = '{"x": 1}'

CASES: list[tuple[ToolFormat, str, str, list[tuple[str, str]]]] = [
    (HERMES, "Just words, <tool> and so on {}.", "Just words, <tool> and so on {}.", []),
    (HERMES, hermes("add", ARGUMENTS), "", [("add", ARGUMENTS)]),
    (HERMES, "Let me see.\n" + hermes("add", "{}"), "Let me see.", [("add", "{}")]),
    (HERMES, hermes("add", "{}") + "\n" + hermes("get_weather", ONE), "", [("add", "{}"), ("get_weather", ONE)]),
    (HERMES, hermes("add", "{}") + "\nThat is all, folks", "That is all, folks", [("add", "{}")]),
    (HERMES, '<tool_call>{"arguments": {"a": 1}, "name": "add"}</tool_call>', "", [("add", '{"a": 1}')]),
    (HERMES, '<tool_call>{"name": "add", "arguments": "{\\"a\\": 1}"}</tool_call>', "", [("add", '{"a": 1}')]),
    (HERMES, '<tool_call>{"name": "add"}</tool_call>', "", [("add", "{}")]),
    (HERMES, "<tool_call>nonsense</tool_call> and more", "<tool_call>nonsense</tool_call> and more", []),
    (HERMES, '<tool_call>{"a": 1} and', '<tool_call>{"a": 1} and', []),
    (HERMES, "two  spaces\n\nand lines  ", "two  spaces\n\nand lines  ", []),
    (HERMES, "a <tool_ca", "a <tool_ca", []),
    (LLAMA3, '{"name": "add", "parameters": {"a": 1}}', "", [("add", '{"a": 1}')]),
    (LLAMA3, f"{LLAMA_CALL}; {LLAMA_CALL}", "", [("add", "{}"), ("add", "{}")]),
    (LLAMA3, '{"name": "Bob", "age": 3}', '{"name": "Bob", "age": 3}', []),
    (LLAMA3, 'It is {"name": "add"}', 'It is {"name": "add"}', []),
    (LLAMA3, '{"colour": "red"}', '{"colour": "red"}', []),
]  # fmt: skip


@pytest.mark.parametrize(("tool_format", "text", "content", "calls"), CASES)
def test_calls_are_the_same_however_the_text_is_cut(
    tool_format: ToolFormat, text: str, content: str, calls: list[tuple[str, str]]
) -> None:
    parsing = ChatParsing(tool_format=tool_format, tool_names=NAMES)
    draw = random.Random(text)
    cuttings = [[], list(range(1, len(text)))] + [
        [draw.randrange(len(text)) for _ in range(draw.randint(1, 8))] for _ in range(40)
    ]
    for cuts in cuttings:
        whole = parsed(text, parsing, cuts)
        assert whole["content"] == content, cuts
        assert [(name, arguments) for _, name, arguments in whole["calls"]] == calls, cuts
        assert [id for id, _, _ in whole["calls"]] == [f"call-{number}" for number in range(len(calls))]
        assert whole["reason"] == ("tool_calls" if calls else "stop")


def test_arguments_stream_before_the_call_is_complete() -> None:
    output = ChatOutput(ChatParsing(tool_format=HERMES, tool_names=NAMES), draw_id=lambda: "id")
    event = output.push(TextEvent('<tool_call>{"name": "add", "arguments": {"a": "long', (), None, Usage(1, 1)))
    assert [(delta.name, delta.arguments) for delta in event.tool_calls] == [("add", ""), (None, '{"a": "long')]


def test_a_call_that_is_cut_off_is_no_success() -> None:
    output = ChatOutput(ChatParsing(tool_format=HERMES, tool_names=NAMES))
    text = '<tool_call>{"name": "add", "arguments": {"a"'
    assert output.push(TextEvent(text, (), FinishReason.LENGTH, Usage(1, 1))).finish_reason == "length"


@pytest.mark.parametrize(
    ("text", "begins_thinking", "reasoning", "content"),
    [
        ("<think>hm, 1 < 2</think>\n\nYes", False, "hm, 1 < 2", "Yes"),
        ("\n<think>\nhm\n</think>Yes <think> no", False, "\nhm\n", "Yes <think> no"),
        ("hm</think>Yes", True, "hm", "Yes"),
        ("<thinner> ice", False, "", "<thinner> ice"),
        ("<th", False, "", "<th"),
        ("never ends </thi", True, "never ends </thi", ""),
        ("plain\n\ntext", False, "", "plain\n\ntext"),
    ],
)
def test_thoughts(text: str, begins_thinking: bool, reasoning: str, content: str) -> None:
    parsing = ChatParsing(reasoning=True, begins_thinking=begins_thinking)
    for cuts in ([], list(range(1, len(text))), [len(text) // 2]):
        whole = parsed(text, parsing, cuts)
        assert (whole["reasoning"], whole["content"]) == (reasoning, content), cuts


def test_thoughts_then_a_call() -> None:
    parsing = ChatParsing(tool_format=HERMES, tool_names=NAMES, reasoning=True)
    text = "<think>I need to add</think>\n" + hermes("add", "{}")
    for cuts in ([], list(range(1, len(text)))):
        whole = parsed(text, parsing, cuts)
        assert (whole["reasoning"], whole["content"]) == ("I need to add", "")
        assert [call[1] for call in whole["calls"]] == ["add"]


def test_formats_of_templates() -> None:
    assert format_of("... <tool_call> ...") is HERMES
    assert format_of("{% if tools %}<|python_tag|>{% endif %}") is LLAMA3
    assert format_of("") is HERMES
    assert not knows_tools("{% for message in messages %}")


def test_a_template_without_tools_is_told_of_them() -> None:
    tools = [{"type": "function", "function": {"name": "add", "parameters": {}}}]
    call = {"id": "1", "type": "function", "function": {"name": "add", "arguments": {"a": 1}}}
    told = told_of_tools(
        [
            {"role": "user", "content": "1 + 1?"},
            {"role": "assistant", "content": "", "tool_calls": [call]},
            {"role": "tool", "content": "2", "tool_call_id": "1"},
        ],
        tools,
    )
    assert [message["role"] for message in told] == ["system", "user", "assistant", "user"]
    assert '"add"' in told[0]["content"]
    assert json.loads(told[2]["content"].removeprefix(HERMES.begin).removesuffix(HERMES.end))["arguments"] == {"a": 1}
    assert told[3]["content"] == "<tool_response>\n2\n</tool_response>"
    with_system = told_of_tools([{"role": "system", "content": "Be brief."}], tools)
    assert with_system[0]["content"].startswith("Be brief.\n\nYou can call")
