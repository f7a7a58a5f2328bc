"""The seam between deciding and computing: whoever can run a plan. Knows no model."""

from collections.abc import Callable, Sequence
from typing import Protocol

from service.engine.plan import StepPlan
from service.engine.request import FailedRow, SampledToken


class Runner(Protocol):
    on_filled: Callable[[], object]
    """Called by `run` when all that needs Python is done and the computation begins. The engine sets it."""

    def run(self, plan: StepPlan) -> Sequence[SampledToken | FailedRow]:
        """Compute a step; called on the engine thread only.

        Returns one token for each row of logits, in the plan's order: one for a chunk that samples, one more for each
        of its drafts, as if the drafts up to there had been the sequence's tokens; before these, for each row that is
        scored, the prompt's own next token. It depends on the sequence's tokens,
        seed and sampling alone, never on the other chunks or on how the tokens were cut into chunks. A FailedRow ends
        its own sequence; an exception fails the requests of this plan and no others. What either leaves in their blocks
        is never read.
        """
        ...
