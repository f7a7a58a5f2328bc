"""A jinja2 sandbox in which loops, calls and copies are paid from a budget. Knows no chat.

jinja2's own sandbox keeps a template away from Python's insides and from changing its arguments, but not from looping
for ever or filling the memory. Here calls, operators, filters and output are paid for where jinja2 has a hook for them;
the rewriter takes care of the rest.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from types import BuiltinMethodType
from typing import Any

from jinja2 import nodes, pass_context
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.runtime import Context, LoopContext, Macro, str_join
from jinja2.sandbox import ImmutableSandboxedEnvironment

from service.tokenizer.template_budget import Budget, current_budget
from service.tokenizer.template_filters import BadArgumentError, check_arguments, paid_filters
from service.tokenizer.template_rewriter import CONCATENATED, COUNTED, MEASURED, TURNS, Rewriter

MAX_BITS = 4096
"""The longest whole number that may be computed."""
MAX_FIELD = 9999
"""The widest field of a format."""

_DENIED_ATTRIBUTES = frozenset({"encode", "expandtabs", "translate", "maketrans", "to_bytes", "from_bytes"})
_WIDE_FORMAT = re.compile(r"\d{5}|\{[^{}]*\{|%[^%a-zA-Z]*\*")  # five digits, or a width that is an argument itself


class BudgetedSandbox(ImmutableSandboxedEnvironment):
    """Compiles any template; what it compiles runs only while `current_budget` is set."""

    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def __init__(self) -> None:
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            optimized=False,  # nothing is computed while compiling
            finalize=_measured_output,
            extensions=["jinja2.ext.loopcontrols", _GenerationTag],
        )
        for name in ("lipsum", "cycler"):
            del self.globals[name]
        self.filters = paid_filters(self.filters) | {
            TURNS: _turns,
            MEASURED: _measured,
            CONCATENATED: _concatenated,
            COUNTED: _counted,
        }
        self._source_characters = 0

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        self._source_characters = max(self._source_characters, len(source))
        template = super()._parse(source, name, filename)
        Rewriter().visit(template)
        return template

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        return attr not in _DENIED_ATTRIBUTES and super().is_safe_attribute(obj, attr, value)

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        wrapped = super().wrap_str_format(value)
        if wrapped is None:
            return None
        template = str(value.__self__)

        def paid_format(*args: Any, **kwargs: Any) -> str:
            _pay_for_format(current_budget.get(), template, template.count("{"), [args, kwargs])
            return wrapped(*args, **kwargs)

        return paid_format

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805 (jinja2's names)
        budget = current_budget.get()
        check_arguments(args, kwargs)
        if isinstance(__obj, Macro | LoopContext):
            budget.spend(__self._source_characters)  # it may print all constant text of the template
        if isinstance(__obj, LoopContext) and args:
            args = (_turns(args[0], __self._source_characters), *args[1:])
        if isinstance(__obj, BuiltinMethodType) and isinstance(__obj.__self__, str):
            args = _pay_for_method(budget, __obj.__self__, __obj.__name__, args)
        result = super().call(__context, __obj, *args, **kwargs)
        budget.spend_on(result)
        return result

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        budget = current_budget.get()
        if operator == "%" and isinstance(left, str):
            _pay_for_format(budget, left, left.count("%"), right)
        elif isinstance(left, int) and isinstance(right, int):
            _check_bits(operator, left, right)
        elif operator == "*":
            for sequence, count in ((left, right), (right, left)):
                if isinstance(sequence, str | list | tuple) and isinstance(count, int):
                    budget.spend(budget.spend_on(sequence) * max(count, 0))
        result = super().call_binop(context, operator, left, right)
        budget.spend_on(result)
        return result


class _GenerationTag(Extension):
    """`{% generation %}` marks what a model wrote, for training; here it only prints its body."""

    tags = {"generation"}  # noqa: RUF012 (jinja2's attribute)

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _turns(iterable: Iterable[Any], cost: int) -> Iterator[Any]:
    budget = current_budget.get()
    for item in iterable:
        budget.spend(cost)
        yield item


def _measured(value: Any) -> Any:
    current_budget.get().spend_on(value)
    return value


def _counted(value: Any) -> Any:
    current_budget.get().spend(1)
    return value


def _concatenated(values: list[Any]) -> str:
    current_budget.get().spend_on(values)
    return str_join(values)


@pass_context  # which also keeps jinja2 from calling it while it compiles
def _measured_output(context: Context, value: Any) -> Any:
    return _measured(value)


def _check_bits(operator: str, left: int, right: int) -> None:
    bits = left.bit_length() * max(right, 1) if operator == "**" else left.bit_length() + right.bit_length()
    if bits > MAX_BITS:
        raise BadArgumentError(f"a whole number of more than {MAX_BITS} bits")


def _pay_for_method(budget: Budget, text: str, name: str, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """Pays for a string method, whose result may be much longer than the string. Returns the arguments for the call."""
    budget.spend(1 + len(text))
    if name == "replace" and len(args) >= 2 and isinstance(args[0], str) and isinstance(args[1], str):
        budget.spend(text.count(args[0]) * len(args[1]))
    elif name == "join" and len(args) == 1:
        args = ([*_turns(args[0], 1 + len(text))],)
        budget.spend_on(args[0])
    return args


def _pay_for_format(budget: Budget, template: str, num_fields: int, values: Any) -> None:
    if _WIDE_FORMAT.search(template):
        raise BadArgumentError(f"a format with a field wider than {MAX_FIELD}, or with a computed width")
    budget.spend(num_fields * (MAX_FIELD + budget.spend_on(values)))
