"""Which sequences guess tokens in a step, how many, and by what. Knows no blocks and no arrays."""

from collections.abc import Callable
from collections.abc import Sequence as Seq

from service.engine.draft_length import DraftLength
from service.engine.draft_model import DraftModel
from service.engine.drafter import NO_DRAFTS, Drafter, DraftStats
from service.engine.limits import SchedulerLimits
from service.engine.logit_edits import LogitEdits
from service.engine.plan import Chunk
from service.engine.prompt_lookup import LookupDrafter
from service.engine.request import DrafterKind
from service.engine.runner import Runner
from service.engine.sequence import Sequence

MAX_ROWS = 16
"""Of a step with guesses. Beyond, a row more costs about what it could save."""


class Drafting:
    """Sequences whose request chooses no drafter have the draft model, or where there is none the prompt lookup."""

    def __init__(self, limits: SchedulerLimits, model: DraftModel | None) -> None:
        self._model = model
        self._num_drafts = limits.num_drafts
        self._max_rows = min(MAX_ROWS, limits.max_batch, limits.token_budget)
        self._drafters: dict[DrafterKind, Drafter] = {DrafterKind.PROMPT_LOOKUP: LookupDrafter()}
        if model is not None:
            self._drafters[DrafterKind.DRAFT_MODEL] = model
        self._default = DrafterKind.PROMPT_LOOKUP if model is None else DrafterKind.DRAFT_MODEL
        self._stats = dict.fromkeys(self._drafters, NO_DRAFTS)

    @property
    def runners(self) -> tuple[Runner, ...]:
        """What computes while guesses are made."""
        return () if self._model is None else (self._model.runner,)

    @property
    def num_blocks(self) -> int:
        """Of the draft model; 0 without. Never changes: any thread may ask."""
        return 0 if self._model is None else self._model.num_blocks

    @property
    def num_used_blocks(self) -> int:
        return 0 if self._model is None else self._model.num_used_blocks

    @property
    def stats(self) -> dict[DrafterKind, DraftStats]:
        return dict(self._stats)

    def guess(self, decoding: Seq[Sequence], num_places: Callable[[Sequence, int], int]) -> list[tuple[int, ...]]:
        """For a step in which these decode and nobody else takes part: the guesses of each, maybe none.

        `num_places(sequence, wanted)`: for how many guesses its blocks have room.
        """
        wanted: dict[DrafterKind, dict[Sequence, int]] = {}
        for sequence in decoding:
            most = num_places(sequence, most) if (most := self._most(sequence, len(decoding))) > 0 else 0
            if most > 0:
                wanted.setdefault(self._kind_of(sequence), {})[sequence] = most
        guesses: dict[Sequence, tuple[int, ...]] = {}
        for kind, asked in wanted.items():
            guesses.update(self._drafters[kind].guess(asked))
        return [guesses.get(sequence, ()) for sequence in decoding]

    def learn(self, chunk: Chunk, num_right: int) -> None:
        """How many of its guesses were right."""
        if not chunk.drafts:
            return
        sequence, num_guessed = chunk.sequence, len(chunk.drafts)
        assert sequence.draft_length is not None
        sequence.draft_length.learn(num_guessed, num_right)
        kind = self._kind_of(sequence)
        before = self._stats[kind]
        self._stats[kind] = DraftStats(before.num_guessed + num_guessed, before.num_right + num_right)

    def release(self, sequence: Sequence) -> None:
        """It ends, or gives its blocks back."""
        for drafter in self._drafters.values():
            drafter.release(sequence)

    def check(self, running: Seq[Sequence]) -> None:
        for drafter in self._drafters.values():
            drafter.check(running)

    def _most(self, sequence: Sequence, num_decoding: int) -> int:
        """Tokens to guess, if there is room for them."""
        spare = (self._max_rows - num_decoding) // num_decoding
        most = min(self._num_drafts, spare, sequence.max_tokens - sequence.num_output_tokens - 1)
        if most <= 0 or self._kind_of(sequence) not in self._drafters or _depends_on_tokens_before(sequence):
            return 0
        if sequence.draft_length is None:
            sequence.draft_length = DraftLength(self._num_drafts)
        return min(most, sequence.draft_length.next())

    def _kind_of(self, sequence: Sequence) -> DrafterKind:
        return sequence.request.drafter or self._default


def _depends_on_tokens_before(sequence: Sequence) -> bool:
    """Edits of the logits and mirostat's mu follow from the tokens so far: such sequences take one token at a time."""
    return sequence.mirostat is not None or LogitEdits.are_needed(sequence.sampling, sequence.request.constraint)
