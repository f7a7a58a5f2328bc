import asyncio
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from service.engine.client import EngineClient
from service.engine.request import FinishReason, Request, SamplingParams
from service.errors import BadRequest, ContextOverflow, QueueFull, StepFailed
from service.generate.generator import INLINE_CHARS, Generator
from service.generate.prompt import Chat, Prompt
from service.generate.request import GenerationRequest
from service.gguf.reader import open_gguf
from service.tokenizer import load_chat_template, load_tokenizer
from tests.service.fakes import BOS, IM_END, IM_START, FakeChatTemplate, FakeRunner, FakeTokenizer, serving, until


def generator(client: EngineClient, *, bos_id: int | None = BOS, chat: bool = True) -> Generator:
    template: Any = FakeChatTemplate() if chat else None
    tokenizer: Any = FakeTokenizer(bos_id)
    return Generator(client, tokenizer, template)


def asking(prompt: Prompt, *, id: str = "g", stop: tuple[str, ...] = (), **sampling: Any) -> GenerationRequest:
    params = SamplingParams(**{"temperature": 0.0, "max_tokens": 12, **sampling})
    return GenerationRequest(id=id, prompt=prompt, sampling=params, stop=stop)


async def test_a_stream_and_a_whole_say_the_same() -> None:
    runner = FakeRunner()
    async with serving(runner) as client:
        generation = await generator(client).generate(asking("hello"))
        async with generation:
            events = [event async for event in generation]
        whole = await (await generator(client).generate(asking("hello"))).collect()
        assert "".join(event.text for event in events) == whole.text
        assert events[-1].finish_reason is whole.finish_reason is FinishReason.LENGTH
        assert events[-1].usage == whole.usage
        assert (whole.usage.prompt_tokens, whole.usage.completion_tokens) == (6, 12)
        assert len(generation.prompt_ids) == 6


@pytest.mark.parametrize(
    ("prompt", "ids"),
    [
        ("héllo", (BOS, *"héllo".encode())),
        ("", (BOS,)),
        ("<|im_start|>x", (BOS, IM_START, *b"x")),
        ((1, 2, 3), (1, 2, 3)),
        (
            Chat(({"role": "user", "content": "hi"},)),
            (IM_START, *b"user\nhi", IM_END, *b"\n", IM_START, *b"assistant\n"),
        ),
        ("long " * INLINE_CHARS, (BOS, *b"long " * INLINE_CHARS)),
    ],
)
async def test_prompts(prompt: Prompt, ids: tuple[int, ...]) -> None:
    runner = FakeRunner()
    async with serving(runner, max_context=1 << 15, num_blocks=1 << 10, token_budget=1 << 15) as client:
        whole = await (await generator(client).generate(asking(prompt))).collect()
        request = Request(id="", prompt_ids=ids, sampling=SamplingParams(temperature=0.0), arrival_s=0.0)
        assert whole.text == bytes(runner.expected_tokens(request, 12)).decode()
        assert whole.usage.prompt_tokens == len(ids)


@pytest.mark.parametrize(
    ("prompt", "complaint"),
    [
        ("", "prompt is empty"),
        ((), "prompt is empty"),
        ((1, 260), "token 1 of the prompt is 260; the vocabulary has 260"),
        ((-1,), "token 0 of the prompt is -1"),
        (Chat(({"role": "user", "content": "hi"},)), "no chat template"),
    ],
)
async def test_prompts_that_are_refused(prompt: Prompt, complaint: str) -> None:
    async with serving(FakeRunner()) as client:
        with pytest.raises(BadRequest, match=complaint):
            await generator(client, bos_id=None, chat=False).generate(asking(prompt))


@pytest.mark.parametrize(
    ("prompt", "param"), [((1,) * 64, "prompt"), (Chat(({"role": "user", "content": "x" * 60},)), "messages")]
)
async def test_a_prompt_longer_than_the_context_is_refused_with_numbers(prompt: Prompt, param: str) -> None:
    async with serving(FakeRunner(), max_context=64) as client:
        with pytest.raises(ContextOverflow, match=r"prompt has \d+ tokens; the context holds 64") as refusal:
            await generator(client).generate(asking(prompt))
        assert refusal.value.param == param


@pytest.mark.parametrize("max_tokens", [None, 1 << 40])
async def test_the_output_fills_the_context_at_most(max_tokens: int | None) -> None:
    async with serving(FakeRunner(), max_context=64) as client:
        whole = await (await generator(client).generate(asking((1,) * 50, max_tokens=max_tokens))).collect()
        assert whole.usage.completion_tokens == 14
        assert whole.finish_reason is FinishReason.LENGTH


async def test_end_of_text() -> None:
    async with serving(FakeRunner(script="né".encode())) as client:
        whole = await (await generator(client).generate(asking("x", logprobs=2))).collect()
        assert (whole.text, whole.finish_reason) == ("né", FinishReason.STOP)
        assert whole.usage.completion_tokens == 4
        assert b"".join(token.bytes for token in whole.tokens) == "né".encode()
        assert all(len(token.top) == 2 for token in whole.tokens)


async def test_a_stop_string_ends_the_engine_request_at_once() -> None:
    before = b"one two "
    runner = FakeRunner(script=before + b"END three four five six seven")
    async with serving(runner) as client:
        runner.hold()
        generation = await generator(client).generate(asking("x", stop=("END",), max_tokens=500))
        runner.allow(len(before) + len("END"))
        whole = await generation.collect()
        assert (whole.text, whole.finish_reason) == ("one two ", FinishReason.STOP)
        assert whole.usage.completion_tokens == len(before) + len("END")
        runner.let_go()
        await until(client, lambda stats: stats.num_queued + stats.num_running == 0)
        assert client.stats().num_used_blocks == 0
        # At most the step that had already been planned when the stop string was seen.
        assert len(runner.plans) <= len(before) + len("END") + 1


@pytest.mark.parametrize("how", ["close", "cancel"])
async def test_leaving_early_frees_everything(how: str) -> None:
    runner = FakeRunner()
    async with serving(runner) as client:
        runner.hold()
        runner.allow(3)
        generation = await generator(client).generate(asking("x", max_tokens=500))
        async with generation:
            async for _ in generation:
                break
        if how == "cancel":
            other = asyncio.create_task((await generator(client).generate(asking("y", id="other"))).collect())
            await asyncio.sleep(0)
            other.cancel()
            with pytest.raises(asyncio.CancelledError):
                await other
        runner.let_go()
        await until(client, lambda stats: stats.num_queued + stats.num_running == 0)
        assert client.stats().num_used_blocks == 0
        assert len(runner.plans) <= 5


async def test_with_the_tokenizer_and_the_template_of_a_model_file(tiny_gguf: Path) -> None:
    with closing(open_gguf(tiny_gguf)) as file:
        tokenizer = load_tokenizer(file.metadata)
        template = load_chat_template(file.metadata, tokenizer)
    assert template is not None
    messages = ({"role": "user", "content": "Grüße 😀"},)
    runner = FakeRunner(alphabet=range(tokenizer.vocab_size))
    async with serving(runner) as client:
        asked = asking(Chat(messages), max_tokens=200, ignore_eos=True, logprobs=3)
        generation = await Generator(client, tokenizer, template).generate(asked)
        whole = await generation.collect()
    ids = tokenizer.encode(template.render(messages), add_special=False, parse_special=True)
    request = Request(id="", prompt_ids=tuple(ids), sampling=asked.sampling, arrival_s=0.0)
    expected = runner.expected_tokens(request, 200)
    assert whole.text == tokenizer.decode(expected)
    assert [token.id for token in whole.tokens] == expected
    assert whole.usage.prompt_tokens == len(ids)


async def test_an_error_of_the_engine_is_raised() -> None:
    runner = FakeRunner()
    runner.to_raise.append(ValueError("boom"))
    async with serving(runner) as client:
        with pytest.raises(StepFailed, match="its log says why"):
            await (await generator(client).generate(asking("x"))).collect()
        assert await (await generator(client).generate(asking("x"))).collect()


async def test_a_full_queue_is_told_before_anything_is_streamed() -> None:
    runner = FakeRunner()
    async with serving(runner, max_batch=1, max_queue=0) as client:
        runner.hold()
        first = await generator(client).generate(asking("x", id="first"))
        with pytest.raises(QueueFull):
            await generator(client).generate(asking("x", id="second"))
        first.close()


async def test_many_generations_keep_to_themselves() -> None:
    runner = FakeRunner()
    async with serving(runner, num_blocks=8, token_budget=16, max_batch=4) as client:
        alone = {}
        for n in range(12):
            prompt = f"request number {n}"
            alone[prompt] = await (await generator(client).generate(asking(prompt, max_tokens=30 + n))).collect()
        together = [
            (await generator(client).generate(asking(prompt, id=prompt, max_tokens=30 + n))).collect()
            for n, prompt in enumerate(alone)
        ]
        assert await asyncio.gather(*together) == list(alone.values())
