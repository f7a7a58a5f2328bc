"""A prompt's next chunk, and what its rows of logits say of the prompt itself. Knows no blocks and no order."""

from collections.abc import Sequence as Seq

from service.engine.plan import Chunk
from service.engine.request import FailedRow, SampledToken
from service.engine.sequence import Sequence


def prefill_chunk(sequence: Sequence, num_tokens: int, num_logit_rows: int) -> Chunk:
    """At most `num_tokens`, and rows of logits: where the prompt's log probabilities are wanted, each needs one."""
    wanted = min(num_tokens, sequence.num_uncomputed)
    if not sequence.wants_scores:
        return Chunk(sequence, sequence.num_computed, wanted, samples=wanted == sequence.num_uncomputed)
    wanted = min(wanted, num_logit_rows)
    samples = wanted == sequence.num_uncomputed
    return Chunk(sequence, sequence.num_computed, wanted, samples, num_scored=wanted - samples)


def take_scores(chunk: Chunk, rows: Seq[SampledToken | FailedRow]) -> Seq[SampledToken | FailedRow]:
    """The sequence gets its scores; returns the rows that yield tokens, or the score that failed and so ends it."""
    if chunk.start == 0 and chunk.num_scored:
        chunk.sequence.scores.clear()  # it was preempted, and begins again
    for row in rows[: chunk.num_scored]:
        if isinstance(row, FailedRow):
            return [row]
        chunk.sequence.scores.append(row)
    return rows[chunk.num_scored :]
