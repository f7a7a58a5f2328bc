"""Which sequences guess tokens in a step, and how many. Knows no blocks and no arrays."""

from service.engine.limits import SchedulerLimits
from service.engine.logit_edits import LogitEdits
from service.engine.plan import Chunk
from service.engine.prompt_lookup import PromptLookup
from service.engine.sequence import Sequence

MAX_ROWS = 16
"""Of a step with guesses. Beyond, a row more costs about what it could save."""


class Drafting:
    def __init__(self, limits: SchedulerLimits) -> None:
        self._num_drafts = limits.num_drafts
        self._max_rows = min(MAX_ROWS, limits.max_batch, limits.token_budget)

    def guess(self, sequence: Sequence, num_decoding: int) -> tuple[int, ...]:
        """For a step in which so many sequences decode and nobody else takes part."""
        spare = (self._max_rows - num_decoding) // num_decoding
        most = min(self._num_drafts, spare, sequence.max_tokens - sequence.num_output_tokens - 1)
        if most <= 0 or _depends_on_tokens_before(sequence):
            return ()
        if sequence.lookup is None:
            sequence.lookup = PromptLookup(self._num_drafts)
        return sequence.lookup.guess(sequence.token_ids, most)

    def learn(self, chunk: Chunk, num_right: int) -> None:
        """How many of its drafts were right."""
        if chunk.drafts and chunk.sequence.lookup is not None:
            chunk.sequence.lookup.learn(len(chunk.drafts), num_right)


def _depends_on_tokens_before(sequence: Sequence) -> bool:
    """Edits of the logits and mirostat's mu follow from the tokens so far: such sequences take one token at a time."""
    return sequence.mirostat is not None or LogitEdits.are_needed(sequence.sampling, sequence.request.constraint)
