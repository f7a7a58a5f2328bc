"""Bodies: everything that is not a good request is one typed error that names the field."""

import json
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.errors import BadRequest, UnknownField, Unsupported
from service.generate.validation import parse_json as parse
from service.http.chat_request import ChatRequest
from service.http.completion_request import CompletionRequest


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"nonsense",
        b'{"prompt": "a",}',
        b'{"prompt": "a\xff"}',
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"prompt": ' + b"[" * 100_000,
        b'{"prompt": "\\ud800"}',
        b'{"prompt": "a", "max_tokens": ' + b"9" * 5000 + b"}",
    ],
)
def test_not_json(body: bytes) -> None:
    with pytest.raises(BadRequest, match="not valid JSON"):
        parse(CompletionRequest, body)


@pytest.mark.parametrize("body", [b"[]", b"null", b"1", b'"prompt"'])
def test_not_an_object(body: bytes) -> None:
    with pytest.raises(BadRequest, match="must be a JSON object"):
        parse(CompletionRequest, body)


@pytest.mark.parametrize(
    ("fields", "param", "says"),
    [
        ('"temperature": NaN', "temperature", "finite"),
        ('"temperature": 1e999', "temperature", "finite"),
        ('"temperature": -0.1', "temperature", "greater than or equal to 0"),
        ('"temperature": 2.5', "temperature", "less than or equal to 2"),
        ('"temperature": "1"', "temperature", "number"),
        ('"temperature": true', "temperature", "number"),
        ('"top_p": 0', "top_p", "greater than 0"),
        ('"top_p": 1.01', "top_p", "less than or equal to 1"),
        ('"top_p": -Infinity', "top_p", "finite"),
        ('"min_p": 2', "min_p", "less than or equal to 1"),
        ('"top_k": -2', "top_k", "greater than or equal to -1"),
        ('"max_tokens": 0', "max_tokens", "without 'echo'"),
        ('"max_tokens": -5', "max_tokens", "greater than or equal to 0"),
        ('"max_tokens": 1.5', "max_tokens", "integer"),
        ('"max_tokens": 99999999999', "max_tokens", "less than or equal to 2147483647"),
        ('"max_tokens": "16"', "max_tokens", "integer"),
        ('"seed": 9223372036854775808', "seed", "less than"),
        ('"logprobs": 21', "logprobs", "less than or equal to 20"),
        ('"logprobs": true', "logprobs", "integer"),
        ('"stream": "yes"', "stream", "boolean"),
        ('"stop": ""', "stop", "1 to 1024 characters"),
        ('"stop": ["a", ""]', "stop", "1 to 1024 characters"),
        ('"stop": [1]', "stop", "list of strings"),
        ('"stop": ["a","a","a","a","a","a","a","a","a","a","a","a","a","a","a","a","a"]', "stop", "at most 16"),
        ('"stop_token_ids": [-1]', "stop_token_ids[0]", "greater than or equal to 0"),
        ('"stream_options": {"include_usage": true}', "stream_options", "needs 'stream'"),
        ('"stream": true, "stream_options": []', "stream_options", ""),
        ('"model": 7', "model", "string"),
    ],
)
def test_bad_values_name_their_field(fields: str, param: str, says: str) -> None:
    with pytest.raises(BadRequest) as caught:
        parse(CompletionRequest, b'{"prompt": "a", %s}' % fields.encode())
    assert caught.value.param == param
    assert param in str(caught.value)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("prompt", "says"),
    [
        ('""', "must not be empty"),
        ("[]", "must not be empty"),
        ('["a", ""]', "must not be empty"),
        ("[[1], []]", "must not be empty"),
        ("[true]", "integers only"),
        ("[1, 2.5]", "integers only"),
        ("[1, -2]", "not negative"),
        ('["a", 1]', "must not mix"),
        ('[[1], "a"]', "integers only"),
        ("{}", "must be a string"),
        ("null", "must be a string"),
        ("[" + ",".join(['"a"'] * 129) + "]", "at most 128 prompts"),
    ],
)
def test_bad_prompts(prompt: str, says: str) -> None:
    with pytest.raises(BadRequest, match=says) as caught:
        parse(CompletionRequest, b'{"prompt": %s}' % prompt.encode())
    assert caught.value.param == "prompt"


def test_missing_prompt_and_messages() -> None:
    with pytest.raises(BadRequest, match="'prompt' is required"):
        parse(CompletionRequest, b"{}")
    with pytest.raises(BadRequest, match="'messages' is required"):
        parse(ChatRequest, b"{}")


@pytest.mark.parametrize(
    ("prompt", "parsed"),
    [
        ('"a"', ("a",)),
        ('["a", "b"]', ("a", "b")),
        ("[1, 2]", ((1, 2),)),
        ("[[1, 2], [3]]", ((1, 2), (3,))),
    ],
)
def test_every_shape_of_prompt(prompt: str, parsed: object) -> None:
    assert parse(CompletionRequest, b'{"prompt": %s}' % prompt.encode()).prompt == parsed


def test_null_is_not_given() -> None:
    body = parse(CompletionRequest, b'{"prompt": "a", "max_tokens": null, "stop": null, "seed": null, "n": null}')
    assert body == parse(CompletionRequest, b'{"prompt": "a"}')


def test_harmless_fields_are_dropped() -> None:
    body = parse(
        CompletionRequest,
        b'{"prompt": "a", "user": "u", "metadata": {"a": "b"}, "store": true, "service_tier": "auto"}',
    )
    assert body == parse(CompletionRequest, b'{"prompt": "a"}')


def test_unknown_fields_at_any_depth() -> None:
    for body, name in [
        (b'{"prompt": "a", "temprature": 1}', "temprature"),
        (b'{"prompt": "a", "stream": true, "stream_options": {"x": 1}}', "stream_options.x"),
    ]:
        with pytest.raises(UnknownField) as caught:
            parse(CompletionRequest, body)
        assert str(caught.value) == f"unknown field '{name}'"
        assert caught.value.param == name
        assert caught.value.code == "unknown_parameter"


def test_an_error_repeats_little_of_a_long_name() -> None:
    with pytest.raises(UnknownField) as caught:
        parse(CompletionRequest, b'{"prompt": "a", "%s": 1}' % (b"x" * 1_000_000))
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("field", "neutral", "meaningful"),
    [
        ("suffix", '""', '"x"'),
    ],
)
def test_unsupported_completion_fields(field: str, neutral: str, meaningful: str) -> None:
    parse(CompletionRequest, f'{{"prompt": "a", "{field}": {neutral}}}'.encode())
    with pytest.raises(Unsupported) as caught:
        parse(CompletionRequest, f'{{"prompt": "a", "{field}": {meaningful}}}'.encode())
    assert caught.value.param == field
    assert caught.value.status == 400


@pytest.mark.parametrize(
    ("field", "neutral", "meaningful"),
    [
        ("modalities", '["text"]', '["text", "audio"]'),
        ("functions", "[]", "[{}]"),
    ],
)
def test_unsupported_chat_fields(field: str, neutral: str, meaningful: str) -> None:
    start = '{"messages": [{"role": "user", "content": "a"}], '
    parse(ChatRequest, f'{start}"{field}": {neutral}}}'.encode())
    with pytest.raises(Unsupported) as caught:
        parse(ChatRequest, f'{start}"{field}": {meaningful}}}'.encode())
    assert caught.value.param == field


@pytest.mark.parametrize(
    ("messages", "param", "says"),
    [
        ("[]", "messages", "at least 1"),
        ('"a"', "messages", "array"),
        ("[1]", "messages[0]", "object"),
        ('[{"role": "user"}]', "messages[0]", "'content' must be"),
        ('[{"content": "a"}]', "messages[0].role", "required"),
        ('[{"role": "robot", "content": "a"}]', "messages[0].role", "'user'"),
        ('[{"role": "user", "content": null}]', "messages[0]", "string or a list of text parts"),
        ('[{"role": "user", "content": 1}]', "messages[0].content", "string or a list of text parts"),
        ('[{"role": "user", "content": [{"type": "image_url"}]}]', "messages[0].content", "part 0"),
        ('[{"role": "user", "content": [{"type": "text", "text": 1}]}]', "messages[0].content", "part 0"),
        ('[{"role": "user", "content": "a", "tools": []}]', "messages[0].tools", "unknown field"),
        (
            '[{"role": "user", "content": "a", "tool_calls": [{"id": "1", "type": "function", '
            '"function": {"name": "a", "arguments": "{}"}}]}]',
            "messages[0]",
            "an assistant's",
        ),
    ],
)
def test_bad_messages(messages: str, param: str, says: str) -> None:
    with pytest.raises(BadRequest) as caught:
        parse(ChatRequest, f'{{"messages": {messages}}}'.encode())
    assert caught.value.param == param
    assert says in str(caught.value)


def test_text_parts_are_joined() -> None:
    body = (
        b'{"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}]}'
    )
    assert parse(ChatRequest, body).messages[0].content == "ab"


def test_chat_fields_that_must_agree() -> None:
    start = b'{"messages": [{"role": "user", "content": "a"}], '
    with pytest.raises(BadRequest, match="needs 'logprobs'"):
        parse(ChatRequest, start + b'"top_logprobs": 2}')
    with pytest.raises(BadRequest, match="differ"):
        parse(ChatRequest, start + b'"max_tokens": 2, "max_completion_tokens": 3}')


texts = st.sampled_from(["", "a", "\ud800", "text", "user", "\x00", "é"])
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)
field_names = st.sampled_from(sorted(set(CompletionRequest.model_fields) | set(CompletionRequest.REFUSED)))


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(field_names, json_values, max_size=4), st.sampled_from([CompletionRequest, ChatRequest]))
def test_any_json_is_a_request_or_a_client_error(
    fields: dict[str, object], model: type[CompletionRequest] | type[ChatRequest]
) -> None:
    with suppress(BadRequest):  # a client's error; anything else fails the test
        parse(model, json.dumps(fields).encode())
