"""What an output must look like, as a client says it, and as llguidance reads it. Knows no tokens."""

import json
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from service.errors import BadGrammar

MAX_SOURCE_CHARS = 1 << 18

# One way to write each value: a small model that may write white space anywhere writes little else.
JSON_OPTIONS: Any = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}


class Kind(Enum):
    JSON_SCHEMA = "json"
    REGEX = "regex"
    GRAMMAR = "grammar"
    """Lark, as llguidance has it, or llama.cpp's GBNF."""


@dataclass(frozen=True, slots=True)
class OutputFormat:
    kind: Kind
    source: str
    param: str = field(default="structured_outputs", compare=False)
    """The request's field that says so, for errors."""

    @classmethod
    def json_object(cls, *, param: str = "structured_outputs") -> "OutputFormat":
        return cls.json_schema({"type": "object"}, param=param)

    @classmethod
    def json_schema(cls, schema: object, *, param: str = "structured_outputs") -> "OutputFormat":
        return cls(Kind.JSON_SCHEMA, schema if isinstance(schema, str) else json.dumps(schema), param)

    @classmethod
    def choice(cls, texts: list[str]) -> "OutputFormat":
        """One of the texts, to the letter."""
        return cls(Kind.GRAMMAR, "start: " + " | ".join(map(json.dumps, texts)))

    def compiled(self) -> str:
        """llguidance's form of it, not yet checked. BadGrammar if it cannot even be read."""
        from llguidance import LLMatcher

        if len(self.source) > MAX_SOURCE_CHARS:
            raise BadGrammar(
                f"it has {len(self.source)} characters; {MAX_SOURCE_CHARS} are supported", param=self.param
            )
        match self.kind:
            case Kind.JSON_SCHEMA:
                return LLMatcher.grammar_from_json_schema(_checked_schema(self.source), defaults=JSON_OPTIONS)
            case Kind.REGEX:
                return LLMatcher.grammar_from_regex(self.source)
            case Kind.GRAMMAR:
                return LLMatcher.grammar_from_lark(_lark(self.source))


def _checked_schema(source: str) -> str:
    try:
        schema = json.loads(source)
    except RecursionError:
        raise BadGrammar("the schema is nested too deeply") from None
    except ValueError as error:
        raise BadGrammar(f"the schema is not valid JSON: {error}") from None
    if not isinstance(schema, dict | bool):
        raise BadGrammar(f"a schema is an object or a boolean, not {type(schema).__name__}")
    if schema is False:
        raise BadGrammar("the schema is 'false', which no value is valid for")
    if schema is True:
        return "{}"
    schema.pop("x-guidance", None)  # it would change the options above, and the limits of the server with them
    return json.dumps(schema)


def _lark(source: str) -> str:
    from llguidance.gbnf_to_lark import any_to_lark

    try:
        return any_to_lark(source)
    except RecursionError:
        raise BadGrammar("the grammar is nested too deeply") from None
    except Exception as error:  # the translation raises what it likes
        raise BadGrammar(f"the grammar is not valid GBNF: {' '.join(str(error).split())[:300]}") from None
