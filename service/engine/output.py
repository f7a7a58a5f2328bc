"""What a step did to a sequence: a fact, from the scheduler to the loop."""

from dataclasses import dataclass

from service.engine.request import FailedRow, FinishReason, SampledToken
from service.engine.sequence import Sequence


@dataclass(frozen=True, slots=True)
class Output:
    """What a row that samples did to its sequence: one token more, or its end with FinishReason.ERROR."""

    sequence: Sequence
    token: SampledToken | FailedRow
    finish_reason: FinishReason | None
    is_complete: bool = False
    """It ends with STOP because its constraint is finished: the token is a part of the text."""
