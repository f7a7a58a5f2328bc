"""Grammars over a tokenizer of bytes: whatever the masks allow comes out as it should, and nothing else is allowed."""

import json
import random
import re
from typing import Any

import jsonschema
import numpy as np
import pytest

from service.engine.constraint import TokenConstraint, mask_words
from service.errors import BadGrammar, OutputStuck
from service.generate.tool_format import HERMES, LLAMA3
from service.generate.tools import FunctionDefinition
from service.structured.grammars import Grammars
from service.structured.output_format import Kind, OutputFormat
from tests.service.fakes import VOCAB_SIZE, FakeTokenizer
from tests.service.structured.schemas import NUM_SCHEMAS, schema_of

MAX_TOKENS = 3000
MAX_FORCED = 7
WIDE = {"type": "object", "properties": {f"p{n}": {"type": "null"} for n in range(3000)}, "additionalProperties": False}


@pytest.fixture(scope="module")
def grammars() -> Grammars:
    return Grammars(FakeTokenizer())  # type: ignore[arg-type]


def walk(constraint: TokenConstraint, seed: int = 0) -> str:
    """One output, drawn evenly from what the masks allow. What is said to be forced is all that they allow."""
    draw = random.Random(seed)
    mask = np.zeros(mask_words(VOCAB_SIZE), np.uint32)
    out = bytearray()
    forced: list[int] = []
    for _ in range(MAX_TOKENS):
        mask[:] = 0
        constraint.fill_mask(mask)
        allowed = np.flatnonzero(np.unpackbits(mask.view(np.uint8), bitorder="little"))
        forced = forced or list(constraint.forced(MAX_FORCED))
        assert not forced or list(allowed) == [forced.pop(0)]
        assert len(allowed)
        token_id = int(draw.choice(allowed))
        constraint.accept(token_id)
        if token_id >= 256:
            assert token_id in FakeTokenizer.eos_ids
            return out.decode()
        out.append(token_id)
        if constraint.is_finished:
            return out.decode()
    raise AssertionError(f"no end after {bytes(out[:200])!r}...")


@pytest.mark.parametrize("index", range(0, NUM_SCHEMAS, 5))
def test_whatever_a_schema_allows_is_valid(grammars: Grammars, index: int) -> None:
    schema = schema_of(index)
    for seed in range(3):
        text = walk(grammars.constraint(OutputFormat.json_schema(schema)), seed)
        jsonschema.validate(json.loads(text), schema, format_checker=jsonschema.FormatChecker())


def test_what_is_forced(grammars: Grammars) -> None:
    constraint = grammars.constraint(OutputFormat.choice(["yes, it is", "yes, maybe"]))
    assert bytes(constraint.forced(100)) == b"yes, "
    assert bytes(constraint.forced(2)) == b"ye"
    for token_id in b"yes, ":
        constraint.accept(token_id)
    assert constraint.forced(100) == []
    constraint.accept(ord("m"))
    assert bytes(constraint.forced(100)) == b"aybe"


def test_regex_choice_and_grammar(grammars: Grammars) -> None:
    for output_format, wanted in (
        (OutputFormat(Kind.REGEX, "[a-c]{3}-[0-9]+x"), "[a-c]{3}-[0-9]+x"),
        (OutputFormat.choice(["yes", 'no "thanks"', "may\nbe"]), '(yes|no "thanks"|may\nbe)'),
        (OutputFormat(Kind.GRAMMAR, 'start: "a" b\nb: /[0-9]/ "!"'), "a[0-9]!"),
        (OutputFormat(Kind.GRAMMAR, 'root ::= "a" b\nb ::= [0-9] "!"'), "a[0-9]!"),
    ):
        for seed in range(5):
            assert re.fullmatch(wanted, walk(grammars.constraint(output_format), seed))


@pytest.mark.parametrize("tool_format", [HERMES, LLAMA3])
@pytest.mark.parametrize("parallel", [False, True])
def test_required_tool_calls(grammars: Grammars, tool_format: Any, parallel: bool) -> None:
    schema = {
        "type": "object",
        "properties": {"n": {"type": "integer", "maximum": 99, "minimum": 0}},
        "required": ["n"],
    }
    functions = [
        FunctionDefinition(name="add", parameters=schema | {"additionalProperties": False}),
        FunctionDefinition(name="stop", parameters={"type": "object", "additionalProperties": False}),
    ]
    lengths = set()
    for seed in range(6):
        text = walk(grammars.constraint(tool_format.output_format(functions, parallel=parallel)), seed)
        bare = text.replace("<tool_call>", "").replace("</tool_call>", "")
        calls = [json.loads(call) for call in (bare.split("; ") if tool_format is LLAMA3 else bare.split("\n\n\n"))]
        lengths.add(len(calls))
        for call in calls:
            assert call["name"] in ("add", "stop")
            assert set(call) == {"name", tool_format.arguments}
    assert (max(lengths) > 1) == parallel


def test_a_grammar_is_compiled_once_and_begins_anew(grammars: Grammars) -> None:
    output_format = OutputFormat.choice(["abc"])
    assert [walk(grammars.constraint(output_format)) for _ in range(3)] == ["abc"] * 3


@pytest.mark.parametrize(
    ("output_format", "says"),
    [
        (OutputFormat.json_schema({"type": "tree"}), "Invalid type: tree"),
        (OutputFormat.json_schema({"$ref": "#/$defs/nowhere"}), "/$defs/nowhere"),
        (OutputFormat.json_schema({"type": "string", "pattern": "("}), "unclosed group"),
        (OutputFormat.json_schema({"allOf": [{"type": "string"}, {"type": "null"}]}), "Unsatisfiable"),
        (OutputFormat.json_schema(False), "no value is valid"),
        (OutputFormat.json_schema("{"), "not valid JSON"),
        (OutputFormat.json_schema("[1]"), "an object or a boolean"),
        (OutputFormat.json_schema("[" * 100_000), "nested too deeply"),
        (OutputFormat(Kind.REGEX, "a("), "unclosed group"),
        (OutputFormat(Kind.GRAMMAR, 'start: "a'), "lexer error"),
        (OutputFormat(Kind.GRAMMAR, "start: nothing"), "unknown name"),
        (OutputFormat(Kind.GRAMMAR, 'root ::= "a" ('), "GBNF"),
        (OutputFormat(Kind.GRAMMAR, "root ::= " + "(" * 10_000), "nested too deeply"),
        (OutputFormat(Kind.GRAMMAR, "x" * 300_000), "300000 characters"),
        (OutputFormat.json_schema(WIDE), "max is 2000"),
    ],
)
def test_what_cannot_be_compiled_says_why(grammars: Grammars, output_format: OutputFormat, says: str) -> None:
    with pytest.raises(BadGrammar) as caught:
        grammars.constraint(output_format)
    message = str(caught.value)
    assert says in message
    assert len(message) < 500
    assert "\n" not in message


def test_a_grammar_that_reaches_the_limits_midway_says_so() -> None:
    grammar = OutputFormat(Kind.GRAMMAR, 'start: a\na: "x" a | "x"', param="response_format")
    constraint = Grammars(FakeTokenizer(), max_row_items=50).constraint(grammar)  # type: ignore[arg-type]
    mask = np.zeros(mask_words(VOCAB_SIZE), np.uint32)
    num_tokens = 0
    with pytest.raises(OutputStuck, match="max is 50") as caught:  # noqa: PT012
        for num_tokens in range(100):  # noqa: B007
            constraint.fill_mask(mask)
            constraint.accept(ord("x"))
    assert 10 < num_tokens < 60
    assert caught.value.param == "response_format"


def test_the_server_s_options_are_not_the_client_s_to_change(grammars: Grammars) -> None:
    schema = {"const": [1, 2], "x-guidance": {"item_separator": " , ", "lenient": True}}
    assert walk(grammars.constraint(OutputFormat.json_schema(schema))) == "[1, 2]"
