"""The first steps of a model, before anybody asks. Knows a runner and nothing of what it runs."""

from service.engine.blocks import blocks_for
from service.engine.plan import Chunk, StepPlan
from service.engine.request import Request, SamplingParams
from service.engine.runner import Runner
from service.engine.sequence import Sequence


def warm_up(runner: Runner, max_tokens: int) -> None:
    """A prefill of a few tokens and a decode: every page of the weights is touched, every function has run."""
    num_tokens = max(1, min(8, max_tokens))
    request = Request(id="warm-up", prompt_ids=(0,) * num_tokens, sampling=SamplingParams(temperature=0.0), arrival_s=0)
    sequence = Sequence(request, rank=(0.0, 0), max_tokens=1, seed=0)
    sequence.block_table = list(range(blocks_for(num_tokens + 1)))
    sequence.token_ids.append(0)
    for start, count in ((0, num_tokens), (num_tokens, 1)):
        runner.run(StepPlan((Chunk(sequence, start, count, samples=True),)))
