"""A draft model that guesses as often right as a test wants, and knows when its own KV cache is wrong."""

from typing import Any

from service.engine.blocks import BlockPool
from service.engine.draft_model import DraftModel
from service.engine.limits import SchedulerLimits
from service.engine.plan import Chunk, StepPlan
from service.engine.request import SampledToken
from tests.service.fakes import VOCAB_SIZE, FakeRunner, digest_of


class WrongStep(BaseException):
    """No Exception: the engine goes on after those of a draft model."""


class FakeDraftRunner(FakeRunner):
    """`percent_right`: of its tokens, those that a FakeRunner of the same alphabet would have drawn."""

    def __init__(self, *, percent_right: int = 100, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.percent_right = percent_right
        self.num_drawn = 0

    def run(self, plan: StepPlan) -> list[SampledToken]:
        is_to_raise = bool(self.to_raise)
        try:
            return super().run(plan)
        except Exception as error:
            if is_to_raise:
                raise
            raise WrongStep(plan) from error

    def _sample(self, chunk: Chunk, index: int, digest: int) -> SampledToken:
        end = chunk.start + chunk.num_tokens
        assert digest == digest_of(chunk.sequence.token_ids[:end]), "its keys and values are of other tokens"
        self.num_drawn += 1
        token = super()._sample(chunk, index, digest)
        return token if digest % 100 < self.percent_right else SampledToken((token.id + 1) % VOCAB_SIZE, -0.5)


def fake_draft_model(
    runner: FakeRunner, num_blocks: int = 64, *, max_context: int = 1024, shares_prefixes: bool = True
) -> tuple[DraftModel, BlockPool]:
    limits = SchedulerLimits(max_context=max_context, max_batch=16, token_budget=64, shares_prefixes=shares_prefixes)
    pool = BlockPool(num_blocks)
    return DraftModel(runner, pool, limits), pool
