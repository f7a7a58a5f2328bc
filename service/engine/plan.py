"""What one step computes: chunks of sequences. A fact, handed from the scheduler to the runner and back."""

from dataclasses import dataclass
from enum import IntEnum

from kernels.runtime import abi
from service.engine.sequence import Sequence


class Phase(IntEnum):
    """What a step is made of; the numbers are those of the native step header."""

    PREFILL = abi.PREFILL
    DECODE = abi.DECODE
    MIXED = abi.MIXED


@dataclass(frozen=True, slots=True)
class Chunk:
    """Tokens [start, start + num_tokens) of a sequence go through the model."""

    sequence: Sequence
    start: int
    num_tokens: int
    samples: bool
    """It ends with the sequence's last token: its last row gets logits and yields the next token."""
    drafts: tuple[int, ...] = ()
    """Guesses at the tokens that follow its last one, computed with it: each has a row of logits, too, and what that
    yields counts as long as the guesses before were right. The last so many of `num_tokens`."""
    num_forced: int = 0
    """Of its tokens before the drafts: they followed without a draw, and have no row of logits but the last of them."""
    num_scored: int = 0
    """Its first rows, so many, get logits too: how likely the prompt's token after each of them was."""

    @property
    def num_logit_rows(self) -> int:
        return self.num_scored + (1 + len(self.drafts) if self.samples else 0)

    @property
    def is_decode(self) -> bool:
        num_tokens = 1 + self.num_forced + len(self.drafts)
        return self.num_tokens == num_tokens and self.start >= self.sequence.num_prompt_tokens


def decode_chunk(sequence: Sequence, drafts: tuple[int, ...]) -> Chunk:
    """The token drawn last, those that were forced after it, and guesses at what follows."""
    num_tokens = sequence.num_uncomputed + len(drafts)
    return Chunk(
        sequence, sequence.num_computed, num_tokens, samples=True, drafts=drafts, num_forced=sequence.num_forced
    )


@dataclass(frozen=True, slots=True)
class StepPlan:
    chunks: tuple[Chunk, ...]
    """Decode first; each sequence once; every token has its place in the sequence's block table."""
    num_preempted: int = 0
    """Sequences that had to give their blocks back for this step."""

    @property
    def num_tokens(self) -> int:
        return sum(chunk.num_tokens for chunk in self.chunks)

    @property
    def num_logit_rows(self) -> int:
        return sum(chunk.num_logit_rows for chunk in self.chunks)

    @property
    def num_drafts(self) -> int:
        return sum(len(chunk.drafts) for chunk in self.chunks)

    @property
    def phase(self) -> Phase:
        num_decode = sum(chunk.is_decode for chunk in self.chunks)
        if num_decode == 0:
            return Phase.PREFILL
        return Phase.DECODE if num_decode == len(self.chunks) else Phase.MIXED
