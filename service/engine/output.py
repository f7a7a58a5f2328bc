"""What a step did to a sequence: a fact, from the scheduler to the loop, and how a sampled row becomes one."""

from dataclasses import dataclass

from service.engine.request import FailedRow, FinishReason, SampledToken
from service.engine.sequence import Sequence
from service.errors import OutputStuck


@dataclass(frozen=True, slots=True)
class Output:
    """What a row that samples did to its sequence: one token more, or its end with FinishReason.ERROR."""

    sequence: Sequence
    token: SampledToken | FailedRow
    finish_reason: FinishReason | None
    is_complete: bool = False
    """It ends with STOP because its constraint is finished: the token is a part of the text."""


def take_row(sequence: Sequence, row: SampledToken | FailedRow) -> Output:
    """The sequence, and its constraint, get the token."""
    if isinstance(row, FailedRow):
        return Output(sequence, row, FinishReason.ERROR)
    constraint = sequence.request.constraint
    is_complete = False
    if constraint is not None:
        try:
            constraint.accept(row.id)
            is_complete = constraint.is_finished
        except Exception as error:  # it is not ours: whatever it raises ends this request and no other
            refusal = error if isinstance(error, OutputStuck) else None
            failed = FailedRow(f"its constraint refused token {row.id}: {error!r}", refusal)
            return Output(sequence, failed, FinishReason.ERROR)
    sequence.token_ids.append(row.id)
    reason = _finish_reason(sequence, row.id)
    if is_complete and reason is not FinishReason.STOP:
        return Output(sequence, row, FinishReason.STOP, is_complete=True)
    return Output(sequence, row, reason)


def _finish_reason(sequence: Sequence, token_id: int) -> FinishReason | None:
    if token_id in sequence.end_ids and sequence.num_output_tokens >= sequence.sampling.min_tokens:
        return FinishReason.STOP
    return FinishReason.LENGTH if sequence.num_output_tokens == sequence.max_tokens else None
