"""The filters that chat templates use, each paid for before it works. Knows no syntax tree."""

import functools
import json
from collections.abc import Callable, Mapping
from typing import Any

from jinja2 import pass_context
from jinja2.runtime import Context

from service.tokenizer.template_budget import current_budget

PICKING = ("abs", "count", "d", "default", "first", "float", "int", "last", "length", "round")
"""Give back a part of what they get, or a number."""

COPYING = (
    "capitalize", "dictsort", "groupby", "items", "list", "lower", "map", "max", "min", "reject", "rejectattr",
    "reverse", "select", "selectattr", "sort", "title", "trim", "truncate", "unique", "upper", "wordcount",
)  # fmt: skip
"""Make something about as large as what they get."""

MAX_NUMBER = 100_000
"""The largest number that may be handed to a function or a filter: a width, a count, a precision."""
MAX_JSON_INDENT = 16

Filter = Callable[..., Any]


class BadArgumentError(Exception):
    """An argument that no chat template needs, and that could cost any amount of time or memory."""


def paid_filters(originals: Mapping[str, Filter]) -> dict[str, Filter]:
    """jinja2's filters by name, as far as chat templates need them. They run while `current_budget` is set."""
    filters = {name: _paid(originals[name], copies=name in COPYING) for name in (*PICKING, *COPYING)}
    # Nothing is escaped here, so text that is marked as safe is only text.
    filters |= {"string": _text, "safe": _text, "replace": _replace, "tojson": _tojson}
    return filters | {"indent": _paid_indent(originals["indent"]), "join": _paid_join(originals["map"])}


def check_arguments(values: tuple[Any, ...], named: Mapping[str, Any]) -> None:
    for value in (*values, *named.values()):
        if isinstance(value, int) and abs(value) > MAX_NUMBER:
            raise BadArgumentError(f"an argument of about {float(value):.3g}; at most {MAX_NUMBER} is allowed")


def _paid(original: Filter, *, copies: bool) -> Filter:
    @functools.wraps(original)  # with jinja2's mark of what it wants as the first argument
    def paid(*args: Any, **kwargs: Any) -> Any:
        budget = current_budget.get()
        check_arguments(args[1:], kwargs)
        if not copies:
            budget.spend(1)
            return original(*args, **kwargs)
        budget.spend_on(*(value for value in args if isinstance(value, str | list | tuple | dict)))
        result = original(*args, **kwargs)
        budget.spend_on(result)
        return result

    return paid


def _text(value: Any) -> str:
    current_budget.get().spend_on(value)
    return str(value)


def _replace(value: Any, old: Any, new: Any, count: int | None = None) -> str:
    text, old_text, new_text = _text(value), _text(old), _text(new)
    current_budget.get().spend(text.count(old_text) * len(new_text))
    return text.replace(old_text, new_text, -1 if count is None else count)


def _paid_indent(original: Filter) -> Filter:
    def indent(value: Any, width: int | str = 4, first: bool = False, blank: bool = False) -> Any:
        check_arguments((width,), {})
        text = _text(value)
        width_characters = len(width) if isinstance(width, str) else max(width, 0)
        current_budget.get().spend((2 + len(text.splitlines())) * width_characters)
        return original(text, width, first, blank)

    return indent


def _paid_join(pick: Filter) -> Filter:
    @pass_context
    def join(context: Context, value: Any, d: Any = "", attribute: Any = None) -> str:
        budget = current_budget.get()
        separator = _text(d)
        parts: list[str] = []
        for part in value if attribute is None else pick(context, value, attribute=attribute):
            budget.spend(1 + len(separator))
            parts.append(_text(part))
        return separator.join(parts)

    return join


def _tojson(
    value: Any,
    indent: int | None = None,
    ensure_ascii: bool = False,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """As transformers has it: no HTML escapes, letters as they are."""
    if indent is not None and not 0 <= indent <= MAX_JSON_INDENT:
        raise BadArgumentError(f"a JSON indentation of about {float(indent):.3g}; 0 to {MAX_JSON_INDENT} is allowed")
    budget = current_budget.get()
    budget.spend_on(value)
    encoder = json.JSONEncoder(indent=indent, ensure_ascii=ensure_ascii, separators=separators, sort_keys=sort_keys)
    pieces: list[str] = []
    for piece in encoder.iterencode(value):  # a deep value grows with its indentation: paid as it grows
        budget.spend(len(piece))
        pieces.append(piece)
    return "".join(pieces)
