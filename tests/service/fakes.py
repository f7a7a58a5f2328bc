"""A model, a clock and a tokenizer that tests can predict, for everything above the engine's Runner.

runner = FakeRunner()                      # or FakeRunner(script=b"Hello!"), FakeRunner(step_s=0.01)
async with serving(runner) as client:      # a started EngineClient
    ...
"""

import asyncio
import re
import threading
import time
import zlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from kernels.runtime.abi import BLOCK_TOKENS
from service.engine.blocks import BlockPool
from service.engine.client import SEED_MASK, EngineClient, EngineStats
from service.engine.limits import SchedulerLimits
from service.engine.plan import Chunk, StepPlan
from service.engine.request import Request, SampledToken, SamplingParams
from service.engine.scheduler import Scheduler

LETTERS = tuple(b"abcdefghijklmnopqrstuvwxyz ")
BOS, EOS, IM_START, IM_END = 256, 257, 258, 259
SPECIALS = {"<|bos|>": BOS, "<|eos|>": EOS, "<|im_start|>": IM_START, "<|im_end|>": IM_END}
NAMES = {token_id: name for name, token_id in SPECIALS.items()}
VOCAB_SIZE = 260
_SPECIAL = re.compile(f"({'|'.join(map(re.escape, SPECIALS))})")


def digest_of(token_ids: Sequence[int], digest: int = 0) -> int:
    for token_id in token_ids:
        digest = zlib.crc32(token_id.to_bytes(4, "little"), digest)
    return digest


class FakeRunner:
    """Keeps a KV cache of prefix digests, one a slot, and draws the next token from the last one.

    A block that was lost, shared by mistake or not recomputed changes the digest and so every later token: compare with
    `expected_tokens`. `script` (token ids, then EOS) overrides the draw.
    """

    def __init__(
        self, *, alphabet: Sequence[int] = LETTERS, script: Sequence[int] | None = None, step_s: float = 0.0
    ) -> None:
        self.on_filled: Callable[[], object] = lambda: None
        self.alphabet = tuple(alphabet)
        self.script = None if script is None else (*script, EOS)
        self.step_s = step_s
        self.plans: list[tuple[tuple[str, int, int], ...]] = []
        """(request id, start, number of tokens) of every chunk of every step."""
        self.to_raise: list[Exception] = []
        """The next steps raise these."""
        self.entered = threading.Semaphore(0)
        """Released when a step starts."""
        self._gate: threading.Semaphore | None = None
        self._kv: dict[int, int] = {}

    def hold(self) -> None:
        """From now on every step waits, once it has started, for an `allow`."""
        self._gate = threading.Semaphore(0)

    def allow(self, num_steps: int = 1) -> None:
        assert self._gate is not None
        self._gate.release(num_steps)

    def let_go(self) -> None:
        gate, self._gate = self._gate, None
        if gate is not None:
            gate.release()

    async def next_step(self) -> None:
        """Wait until a step starts."""
        while not self.entered.acquire(blocking=False):
            await asyncio.sleep(0.001)

    def run(self, plan: StepPlan) -> list[SampledToken]:
        self.plans.append(tuple((chunk.sequence.id, chunk.start, chunk.num_tokens) for chunk in plan.chunks))
        gate = self._gate
        self.on_filled()
        self.entered.release()
        if gate is not None:
            gate.acquire()
        if self.step_s:
            time.sleep(self.step_s)
        if self.to_raise:
            raise self.to_raise.pop(0)
        sampled = []
        for chunk in plan.chunks:
            digests = self._compute(chunk)
            for index, digest in enumerate(digests[len(digests) - chunk.num_logit_rows :]):
                if index < chunk.num_scored:
                    sampled.append(self._score(chunk.sequence.token_ids[chunk.start + index + 1], chunk))
                else:
                    sampled.append(self._sample(chunk, index - chunk.num_scored, digest))
        return sampled

    def expected_tokens(self, request: Request, num_tokens: int) -> list[int]:
        """What any correct engine makes this runner say, end-of-text and stop tokens ignored."""
        digest = digest_of(request.prompt_ids)
        tokens: list[int] = []
        for _ in range(num_tokens):
            tokens.append(self._draw(digest, request.sampling, (request.sampling.seed or 0) & SEED_MASK))
            digest = digest_of(tokens[-1:], digest)
        return tokens

    def _compute(self, chunk: Chunk) -> list[int]:
        sequence, start = chunk.sequence, chunk.start
        assert start == sequence.num_computed
        slots = [
            sequence.block_table[position // BLOCK_TOKENS] * BLOCK_TOKENS + position % BLOCK_TOKENS
            for position in range(max(start - 1, 0), start + chunk.num_tokens)
        ]
        digest = self._kv[slots.pop(0)] if start else 0
        digests = []
        tokens = [*sequence.token_ids[start : start + chunk.num_tokens - len(chunk.drafts)], *chunk.drafts]
        for slot, token_id in zip(slots, tokens, strict=True):
            digest = digest_of((token_id,), digest)
            self._kv[slot] = digest
            digests.append(digest)
        return digests

    def _sample(self, chunk: Chunk, index: int, digest: int) -> SampledToken:
        sequence = chunk.sequence
        if self.script is not None:
            token_id = self.script[min(sequence.num_output_tokens + index, len(self.script) - 1)]
        else:
            token_id = self._draw(digest, sequence.sampling, sequence.seed)
        others = (other for other in range(VOCAB_SIZE) if other != token_id)
        best = [token_id, *others][: sequence.sampling.logprobs or 0]
        return SampledToken(token_id, -0.5, tuple((other, -0.5 - rank) for rank, other in enumerate(best)))

    def _score(self, token_id: int, chunk: Chunk) -> SampledToken:
        """-token / 256, and as many others."""
        best = range(chunk.sequence.sampling.prompt_logprobs or 0)
        return SampledToken(token_id, -token_id / 256, tuple((other, -0.1) for other in best))

    def _draw(self, digest: int, sampling: SamplingParams, seed: int) -> int:
        salt = zlib.crc32(b"" if sampling.temperature == 0 else seed.to_bytes(8, "little"), digest)
        return self.alphabet[salt % len(self.alphabet)]


class FakeClock:
    def __init__(self, now_s: float = 1000.0) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s

    def advance(self, seconds: float) -> None:
        self.now_s += seconds


class FakeTokenizer:
    """A token is a byte; the special tokens of SPECIALS follow."""

    vocab_size = VOCAB_SIZE
    eos_ids = frozenset({EOS, IM_END})

    def __init__(self, bos_id: int | None = BOS) -> None:
        self.bos_id = bos_id
        self.vocabulary = self

    def is_special(self, token_id: int) -> bool:
        return token_id >= BOS

    def encode(self, text: str, add_special: bool = True, parse_special: bool = False) -> list[int]:
        ids = [self.bos_id] if add_special and self.bos_id is not None else []
        for part in _SPECIAL.split(text) if parse_special else [text]:
            ids += [SPECIALS[part]] if parse_special and part in SPECIALS else part.encode()
        return ids

    def decode(self, ids: Sequence[int], skip_special: bool = True) -> str:
        kept = (id for id in ids if not (skip_special and self.is_special(id)))
        return b"".join(map(self.token_bytes, kept)).decode(errors="replace")

    def token_bytes(self, token_id: int) -> bytes:
        return bytes([token_id]) if token_id < 256 else NAMES[token_id].encode()


class FakeChatTemplate:
    source = ""

    def render(self, messages: Sequence[Mapping[str, Any]], add_generation_prompt: bool = True) -> str:
        text = "".join(f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>\n" for m in messages)
        return text + "<|im_start|>assistant\n" * add_generation_prompt


@asynccontextmanager
async def serving(
    runner: FakeRunner,
    *,
    num_blocks: int = 64,
    max_context: int = 1024,
    max_batch: int = 8,
    token_budget: int = 64,
    **arguments: Any,
) -> AsyncIterator[EngineClient]:
    """A started engine over `runner`; afterwards the books must balance (arguments: EngineClient).

    A test that waits for ever inside fails after a minute.
    """
    limits = SchedulerLimits(max_context=max_context, max_batch=max_batch, token_budget=token_budget)
    pool = BlockPool(num_blocks)
    client = EngineClient(Scheduler(pool, limits, FakeTokenizer.eos_ids), runner, **arguments)
    client.start()
    try:
        async with asyncio.timeout(60.0):
            yield client
    finally:
        runner.let_go()
        await client.stop(drain_s=0)
        pool.check([])


async def until(client: EngineClient, condition: Callable[[EngineStats], bool]) -> None:
    async with asyncio.timeout(60.0):
        while not condition(client.stats()):
            await asyncio.sleep(0.001)
