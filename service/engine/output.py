"""What a step did to a sequence: a fact, from the scheduler to the loop, and how a sampled row becomes some."""

from collections.abc import Iterator
from dataclasses import dataclass

from service.engine.request import FailedRow, FinishReason, SampledToken
from service.engine.sequence import Sequence
from service.errors import OutputStuck

CERTAIN = 0.0
"""The log probability of a token that was forced: nobody asks for the model's own."""


@dataclass(frozen=True, slots=True)
class Output:
    """One token more of a sequence, or its end with FinishReason.ERROR."""

    sequence: Sequence
    token: SampledToken | FailedRow
    finish_reason: FinishReason | None
    is_complete: bool = False
    """It ends with STOP because its constraint is finished: the token is a part of the text."""


def take_row(sequence: Sequence, row: SampledToken | FailedRow) -> Output:
    """The sequence, and its constraint, get the token that was drawn."""
    sequence.num_forced = 0
    return Output(sequence, row, FinishReason.ERROR) if isinstance(row, FailedRow) else _taken(sequence, row)


def take_forced(sequence: Sequence, most: int) -> Iterator[Output]:
    """The tokens that its constraint leaves no choice about, `most` at most, up to an end."""
    constraint = sequence.request.constraint
    if constraint is None or not _takes_forced(sequence):
        return
    try:
        token_ids = constraint.forced(most)
    except Exception as error:
        yield _refused(sequence, f"its constraint forces nothing: {error!r}", error)
        return
    for token_id in token_ids:
        output = _taken(sequence, SampledToken(token_id, CERTAIN))
        sequence.num_forced += 1
        yield output
        if output.finish_reason is not None:
            return


def _takes_forced(sequence: Sequence) -> bool:
    """Not where somebody wants to know how likely they were, or where a draw could refuse them."""
    sampling = sequence.sampling
    return sampling.logprobs is None and sequence.mirostat is None and not sampling.has_bans


def _taken(sequence: Sequence, token: SampledToken) -> Output:
    constraint = sequence.request.constraint
    is_complete = False
    if constraint is not None:
        try:
            constraint.accept(token.id)
            is_complete = constraint.is_finished
        except Exception as error:
            return _refused(sequence, f"its constraint refused token {token.id}: {error!r}", error)
    sequence.token_ids.append(token.id)
    reason = _finish_reason(sequence, token.id)
    if is_complete and reason is not FinishReason.STOP:
        return Output(sequence, token, FinishReason.STOP, is_complete=True)
    return Output(sequence, token, reason)


def _refused(sequence: Sequence, reason: str, error: Exception) -> Output:
    """A constraint is not ours: whatever it raises ends its request and no other."""
    refusal = error if isinstance(error, OutputStuck) else None
    return Output(sequence, FailedRow(reason, refusal), FinishReason.ERROR)


def _finish_reason(sequence: Sequence, token_id: int) -> FinishReason | None:
    if token_id in sequence.end_ids and sequence.num_output_tokens >= sequence.sampling.min_tokens:
        return FinishReason.STOP
    return FinishReason.LENGTH if sequence.num_output_tokens == sequence.max_tokens else None
