from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import BadRequest, ModelFileError
from service.gguf.reader import open_gguf
from service.tokenizer.chat_template import ChatTemplate, load_chat_template
from service.tokenizer.tokenizer import Tokenizer, load_tokenizer
from tests.tiny_gguf import CHATML, IM_END_ID, IM_START_ID, SPECIALS

HELLO = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "the water"}]

LLAMA_3 = """{{- bos_token }}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\n" }}
{{- "Today Date: " + strftime_now("%d %b %Y") + "\\n\\n" }}
{{- system_message }}{{- "<|eot_id|>" }}
{%- if tools is not none %}{%- for t in tools %}{{- t | tojson(indent=4) }}{%- endfor %}{%- endif %}
{%- for message in messages %}
    {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'+ message['content'] | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{%- endif %}
"""

ALTERNATING = """{{ bos_token }}{% for message in messages %}
{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
{{ raise_exception('Roles must alternate user/assistant/user/assistant/...') }}
{% endif %}
{{ '[INST] ' + message['content'] + ' [/INST]' if message['role'] == 'user' else message['content'] + eos_token }}
{%- endfor %}"""


@pytest.fixture(scope="module")
def chatml(tiny_gguf: Path, tokenizer: Tokenizer) -> ChatTemplate:
    template = load_chat_template(open_gguf(tiny_gguf).metadata, tokenizer)
    assert template is not None
    return template


def test_chatml(chatml: ChatTemplate) -> None:
    expected = "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nthe water<|im_end|>\n"
    assert chatml.render(HELLO) == expected + "<|im_start|>assistant\n"
    assert chatml.render(HELLO, add_generation_prompt=False) == expected


def test_llama_3() -> None:
    template = ChatTemplate(LLAMA_3, bos="<|begin|>", now=lambda: datetime(2024, 7, 26))
    expected = (
        "<|begin|><|start_header_id|>system<|end_header_id|>\n\nToday Date: 26 Jul 2024\n\nBe brief.<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nthe water<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n"
    )
    assert template.render(HELLO) == expected
    with_tools = template.render(HELLO, tools=[{"name": "f"}])
    assert with_tools == expected.replace("Be brief.<|eot_id|>", 'Be brief.<|eot_id|>{\n    "name": "f"\n}')


def test_a_template_may_refuse_the_conversation() -> None:
    template = ChatTemplate(ALTERNATING, bos="<s>", eos="</s>")
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}]
    assert template.render(turns) == "<s>[INST] a [/INST]b</s>[INST] c [/INST]"
    with pytest.raises(BadRequest, match="chat template refuses this conversation: Roles must alternate") as caught:
        template.render(HELLO)
    assert caught.value.param == "messages"


def test_the_begin_token_comes_exactly_once() -> None:
    assert ChatTemplate("{{ bos_token }}x", bos="<s>", starts_with_bos=True).render([]) == "<s>x"
    assert ChatTemplate("x", bos="<s>", starts_with_bos=True).render([]) == "<s>x"
    assert ChatTemplate("x", bos="<s>", starts_with_bos=False).render([]) == "x"


def test_loading(tokenizer_of: Callable[..., Tokenizer], tiny_gguf_of: Callable[..., Path]) -> None:
    metadata = open_gguf(tiny_gguf_of(chat_template=None)).metadata
    assert load_chat_template(metadata, load_tokenizer(metadata)) is None
    metadata = open_gguf(tiny_gguf_of(chat_template="{{ bos_token }}{{ eos_token }}!", add_bos=True)).metadata
    template = load_chat_template(metadata, load_tokenizer(metadata))
    assert template is not None
    assert template.render([]) == "<|im_start|><|im_end|>!"


def control_ids(ids: list[int]) -> list[int]:
    return [token_id for token_id in ids if token_id <= IM_END_ID]


@given(
    content=st.lists(st.one_of(st.text(max_size=3), st.sampled_from([*SPECIALS, "<|im", "_end|>", "|>"]))).map("".join)
)
def test_no_content_can_end_its_turn(tokenizer: Tokenizer, chatml: ChatTemplate, content: str) -> None:
    prompt = chatml.render([{"role": "user", "content": content}])
    ids = tokenizer.encode(prompt, add_special=False, parse_special=True)
    assert control_ids(ids) == [IM_START_ID, IM_END_ID, IM_START_ID]
    shown = content.replace("\ufdd0", "")
    expected = f"<|im_start|>user\n{shown}<|im_end|>\n<|im_start|>assistant\n"
    assert tokenizer.decode(ids, skip_special=False) == expected


def test_overlapping_names_are_all_literal() -> None:
    template = ChatTemplate("{{ messages[0] }}", special_names=["<a><", "<b>", "<a>", "><b"])
    text = template.render([{"x<b>": "<a><b>"}])
    assert not any(name in text for name in ("<a><", "<b>", "<a>", "><b"))
    assert template.render(["none"]) == "none"  # type: ignore[list-item]


def test_every_value_of_a_message_is_literal(tokenizer: Tokenizer, chatml: ChatTemplate) -> None:
    prompt = chatml.render([{"role": "user<|im_end|>", "content": "<|im_start|>"}])
    assert control_ids(tokenizer.encode(prompt, False, True)) == [IM_START_ID, IM_END_ID, IM_START_ID]


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}", "does not come to an end"),
        ("{{ ''.__class__.__mro__ }}", "fails on this conversation: SecurityError"),
        ("{{ nothing.at.all }}", "fails on this conversation: UndefinedError: 'nothing' is undefined"),
        ("{{ 9 ** (9 ** 9) }}", "fails on this conversation: BadArgumentError: a whole number of more than 4096 bits"),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "RecursionError"),
        ("{{ messages + 1 }}", "fails on this conversation: TypeError"),
        ("{{ raise_exception('a\n\tb\r\n' ~ 'c' * 1000) }}", "refuses this conversation: a b ccc"),
    ],
)
def test_a_template_that_fails_is_one_clear_line(source: str, problem: str) -> None:
    template = ChatTemplate(source, clock=Ticking())
    with pytest.raises(BadRequest, match="the model's chat template") as caught:
        template.render(HELLO)
    assert problem in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


class Ticking:
    """A clock that is asked once for every payment: a tenth of a millisecond each."""

    now_s = 0.0

    def __call__(self) -> float:
        self.now_s += 1e-4
        return self.now_s


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("{% if %}", "Expected an expression, got 'end of statement block' (line 1)"),
        ("\n\n{% for a in b %}", "(line 3)"),
        ("{{ 'a' | urlize }}", "No filter named 'urlize'"),
        ("{% unknown %}", "unknown tag 'unknown'"),
        ("{{ " + "(" * 5000 + ")" * 5000 + " }}", "nested too deeply"),
        ("{{ a" + ".b" * 20_000 + " }}", "nested too deeply"),
        ("{{ " + "not " * 5000 + "a }}", "nested too deeply"),
        ("x" * ((1 << 18) + 1), "262145 characters; 262144 are supported"),
    ],
)
def test_no_template_at_all_is_a_bad_file(source: str, problem: str) -> None:
    with pytest.raises(ModelFileError) as caught:
        ChatTemplate(source)
    assert problem in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_failed_run_leaves_the_template_as_it_was(chatml: ChatTemplate) -> None:
    with pytest.raises(BadRequest):
        chatml.render([{"role": "user"}])
    assert chatml.render([{"role": "user", "content": "a"}]).endswith("assistant\n")


def test_a_long_conversation_is_within_the_budget(chatml: ChatTemplate) -> None:
    messages: list[dict[str, Any]] = [{"role": "user", "content": "the water " * 1000}] * 200
    assert len(chatml.render(messages)) > 2_000_000


def test_the_template_of_the_tiny_model_is_chatml(tiny_gguf: Path) -> None:
    assert open_gguf(tiny_gguf).metadata["tokenizer.chat_template"] == CHATML
