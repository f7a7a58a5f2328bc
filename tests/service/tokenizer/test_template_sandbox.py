"""Hostile templates: each ends in a refusal, soon and without filling the memory."""

import contextlib
import time
import tracemalloc
from collections.abc import Callable

import pytest
from jinja2.exceptions import SecurityError

from service.tokenizer.template_budget import Budget, TooExpensiveError, current_budget
from service.tokenizer.template_filters import BadArgumentError
from service.tokenizer.template_sandbox import BudgetedSandbox

Render = Callable[..., str]


def render(source: str, unit_limit: int = 100_000, time_limit_s: float = 2.0) -> str:
    token = current_budget.set(Budget(unit_limit, time_limit_s))
    try:
        return BudgetedSandbox().from_string(source).render(text="abc" * 300, items=list(range(100)))
    finally:
        current_budget.reset(token)


FILL = "{% set ns = namespace(x='aaaaaaaa') %}{% for i in range(60) %}"

TOO_EXPENSIVE = {
    "nested_loops": "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "silent_loop": "{% for a in range(99999) %}{% for b in range(99999) if b < 0 %}{% endfor %}{% endfor %}",
    "constant_text": "{% for a in range(99999) %}" + "x" * 1000 + "{% endfor %}",
    "recursive_macro": "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
    "recursive_loop": "{% for a in [1, 2] recursive %}{% if loop.depth < 60 %}{{ loop([1, 2]) }}{% endif %}"
    "{% endfor %}",
    "double_by_tilde": FILL + "{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
    "double_by_plus": FILL + "{% set ns.x = ns.x + ns.x %}{% endfor %}",
    "double_by_times": FILL + "{% set ns.x = ns.x * 2 %}{% endfor %}",
    "double_by_percent": FILL + "{% set ns.x = '%s%s' % (ns.x, ns.x) %}{% endfor %}",
    "double_by_format": FILL + "{% set ns.x = '{0}{0}'.format(ns.x) %}{% endfor %}",
    "double_by_join": FILL + "{% set ns.x = [ns.x, ns.x] | join %}{% endfor %}",
    "double_by_join_method": FILL + "{% set ns.x = ''.join([ns.x, ns.x]) %}{% endfor %}",
    "double_by_replace": FILL + "{% set ns.x = ns.x | replace('a', 'aa') %}{% endfor %}",
    "double_by_replace_method": FILL + "{% set ns.x = ns.x.replace('a', 'aa') %}{% endfor %}",
    "double_by_block": FILL + "{% set block %}{{ ns.x }}{{ ns.x }}{% endset %}{% set ns.x = block %}{% endfor %}",
    "double_by_list": FILL + "{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x }}",
    "double_by_tuple": FILL + "{% set ns.x = (ns.x, ns.x) %}{% endfor %}",
    "double_by_dict": FILL + "{% set ns.x = {'a': ns.x, 'b': ns.x} %}{% endfor %}",
    "double_by_dict_call": FILL + "{% set ns.x = dict(a=ns.x, b=ns.x) %}{% endfor %}",
    "double_by_list_sum": FILL + "{% set ns.x = [ns.x] + [ns.x] %}{% endfor %}",
    "double_by_namespace": FILL + "{% set ns.x = namespace(a=ns.x, b=ns.x) %}{% endfor %}{{ ns.x }}",
    "double_by_json": FILL + "{% set ns.x = {'a': ns.x} | tojson ~ ns.x %}{% endfor %}",
    "namespaces_filled_from_the_end": (
        "{% set a = namespace() %}{% set b = namespace() %}{% set c = namespace() %}{% set d = namespace() %}"
        "{% set a.x = [b] * 99 %}{% set b.x = [c] * 99 %}{% set c.x = [d] * 99 %}{% set d.x = 'xxxxxxxx' %}{{ a }}"
    ),
    "times": "{{ 'x' * 1000000000000 }}",
    "times_from_the_left": "{{ 1000000000000 * 'x' }}",
    "list_times": "{{ ([1] * 1000000000000) | length }}",
    "join_with_a_long_separator": "{{ range(99999) | join(text) }}",
    "join_method_with_a_long_separator": "{{ text.join(items * 100) }}",
    "join_of_attributes": "{{ ([{'a': text}] * 900) | join('', attribute='a') }}",
    "replace_by_long": "{{ (text * 50) | replace('a', text * 50) }}",
    "replace_method_of_nothing": "{{ (text * 50).replace('', text * 50) }}",
    "percent_many": "{{ '" + "%s" * 1000 + "' % ((text,) * 1000) }}",
    "deep_json": "{% set ns = namespace(x=1) %}{% for i in range(200) %}{% set ns.x = [ns.x, 1] %}{% endfor %}"
    "{% for i in range(1000) %}{{ ns.x | tojson(indent=16) }}{% endfor %}",
    "indent": "{{ ('\n' * 5000) | indent(99999, blank=true) }}",
    "compare": "{% set a = text * 50 %}" + "{% if a == a ~ 'b' %}{% endif %}" * 50,
    "generators": "{% for a in range(99999) %}{{ range(99999) | map('string') | list | length }}{% endfor %}",
}

BAD_ARGUMENT = {
    "power": "{{ 9 ** (9 ** 9) }}",
    "number_by_times": "{% set ns = namespace(x=3) %}{% for i in range(60) %}{% set ns.x = ns.x * ns.x %}{% endfor %}",
    "wide_percent": "{{ '%99999d' % 1 }}",
    "computed_percent": "{{ '%*d' % (99999999, 1) }}",
    "wide_format": "{{ '{:999999999}'.format(1) }}",
    "computed_format": "{{ '{:{w}}'.format(1, w='99999999') }}",
    "center": "{{ 'x'.center(1000000000) }}",
    "zfill": "{{ 'x'.zfill(1000000000) }}",
    "precision": "{{ 1.5 | round(1000000000, 'ceil') }}",
    "json_indent": "{{ [1] | tojson(indent=1000000) }}",
    "indent_width": "{{ 'a\nb' | indent(1000000000) }}",
}

ESCAPES = {
    "class": "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "globals": "{{ range.__globals__ }}",
    "function_globals": "{{ namespace.__init__.__globals__ }}",
    "format_string": "{{ '{0.__class__}'.format('') }}",
    "format_map": "{{ '{a.__class__}'.format_map({'a': ''}) }}",
    "attr_by_map": "{{ [''] | map(attribute='__class__') | list }}",
    "encode": "{{ 'x'.encode() }}",
    "expandtabs": "{{ 'x'.expandtabs(5) }}",
    "append": "{{ items.append(1) }}",
    "update": "{{ {'a': 1}.update({}) }}",
}


@pytest.mark.parametrize("name", TOO_EXPENSIVE)
def test_expensive_templates_are_stopped(name: str) -> None:
    tracemalloc.start()
    try:
        start = time.monotonic()
        with pytest.raises(TooExpensiveError):
            render(TOO_EXPENSIVE[name])
        assert time.monotonic() - start < 3.0
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", BAD_ARGUMENT)
def test_arguments_that_explode_are_refused(name: str) -> None:
    with pytest.raises(BadArgumentError):
        render(BAD_ARGUMENT[name])


@pytest.mark.parametrize("name", ESCAPES)
def test_the_insides_of_python_are_out_of_reach(name: str) -> None:
    with contextlib.suppress(SecurityError):
        assert render(ESCAPES[name]) in ("", "[Undefined]")


def test_the_clock_stops_a_template_with_units_left() -> None:
    start = time.monotonic()
    with pytest.raises(TooExpensiveError, match=r"more than 0\.05 s"):
        render(TOO_EXPENSIVE["nested_loops"], unit_limit=1 << 60, time_limit_s=0.05)
    assert time.monotonic() - start < 1.0


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", RecursionError),
        ("{% include 'x' %}", TypeError),
        ("{% extends 'x' %}", TypeError),
        ("{{ range(1000000) }}", BadArgumentError),
        ("{{ range(0, 99999, 0) }}", ValueError),
    ],
)
def test_other_errors_are_pythons(source: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        render(source, unit_limit=1 << 40)


SAME_AS_JINJA = [
    "{{ 1 + 2 * 3 ** 2 - 7 // 2 % 2 }} {{ 'a' ~ 1 ~ [2] }} {{ 'ab' * 2 }} {{ [1] + [2] }} {{ '%s-%03d' % ('a', 5) }}",
    "{% for k, v in {'a': 1, 'b': 2}.items() %}{{ loop.index }}{{ k }}={{ v }}{{ ', ' if not loop.last }}{% endfor %}",
    "{% for a in items if a > 96 %}{{ a }}/{{ loop.length }}{{ loop.previtem }}{% else %}none{% endfor %}",
    "{% for a in [[1, [2]], [3]] recursive %}{{ a if a is number else loop(a) }}{% endfor %}",
    "{% for a in items %}{% if a == 3 %}{% continue %}{% elif a > 5 %}{% break %}{% endif %}{{ a }}{% endfor %}",
    "{% set ns = namespace(n=0) %}{% for a in items %}{% set ns.n = ns.n + a %}{% endfor %}{{ ns.n }}",
    "{% macro f(a, b=2) %}{{ a }}{{ b }}{{ caller() if caller }}{% endmacro %}{{ f(1) }}{% call f(3) %}x{% endcall %}",
    "{{ text[:5] }}{{ text[::-1][:2] }}{{ items[-2:] }}{{ (1, 2)[0] }}{{ {'a': [1]}['a'][0] }}",
    "{{ ' a b '.strip().split(' ') }} {{ '-'.join(['a', 'b']) }} {{ 'aXb'.replace('X', '--') }} {{ 'a'.upper() }}",
    "{{ '{0}{1:>4}{a!r}'.format(1, 2, a='x') }} {{ 'abc'.startswith('ab') }} {{ 'x'.center(5) }}|{{ 'a' in 'cab' }}",
    "{{ items | first }}{{ items | last }}{{ items | length }}{{ [3, 1] | sort }}{{ ['b', 'B'] | unique | list }}",
    "{{ ' x ' | trim }}{{ 'x' | upper }}{{ 'aXb' | replace('X', '-') }}{{ [1, 2] | join('+') }}"
    "{{ nope | default('d') }}{{ none | default('d', true) }}"
    "{{ 'abc def' | capitalize }}{{ 'abc' | title }}{{ [2, 1] | min }}",
    "{{ [{'a': 1}, {'a': 2}] | map(attribute='a') | join(',') }} {{ [{'a': 1}] | join(', ', attribute='a') }}",
    "{{ [{'r': 'u'}, {'r': 's'}] | selectattr('r', 'equalto', 's') | list }} {{ ['a', ''] | select | list }}",
    "{{ 'a\nb\n\nc' | indent }}|{{ 'a\nb' | indent(2, true) }}|{{ 'a\n\nb\n' | indent('> ', blank=true) }}",
    "{{ {'b': 1, 'a': 2} | dictsort }} {{ {'b': 1} | items | list }} {{ 7.25 | round(1) }} {{ '7' | int + 1 }}",
    "{{ undefined_name is defined }}{{ none is none }}{{ 'a' is string }}{{ {} is mapping }}{{ [] is iterable }}",
    "  {% if true %}\n  a\n  {% endif %}\n{% filter upper %}b{% endfilter %}{% set x %}c{% endset %}{{ x }}",
    "{%- for a in [1, 2] -%} {{ a }} {%- endfor -%} {# a comment #}\n\n",
]


@pytest.mark.parametrize("source", SAME_AS_JINJA)
def test_honest_templates_are_rendered_as_jinja2_renders_them(source: str) -> None:
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    oracle = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"])
    assert render(source) == oracle.from_string(source).render(text="abc" * 300, items=list(range(100)))


def test_json_is_neither_escaped_nor_sorted() -> None:
    assert render("{{ {'b': '<ü>', 'a': [1, none, true]} | tojson }}") == '{"b": "<ü>", "a": [1, null, true]}'
    assert render("{{ {'b': 1, 'a': 2} | tojson(indent=2, sort_keys=true) }}") == '{\n  "a": 2,\n  "b": 1\n}'
    assert render("{{ [1, 'ü'] | tojson(separators=(',', ':'), ensure_ascii=true) }}") == '[1,"\\u00fc"]'


def test_generation_tags_print_their_body() -> None:
    assert render("a{% generation %}b{{ 1 }}{% endgeneration %}c") == "ab1c"
