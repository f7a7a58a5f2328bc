"""A request on its way: its tokens, how many are computed, the blocks it holds, its times. Decides nothing."""

from kernels.runtime.abi import BLOCK_TOKENS
from service.engine.blocks import blocks_for
from service.engine.draft_length import DraftLength
from service.engine.logit_edits import LogitEdits
from service.engine.mirostat import Mirostat
from service.engine.request import Request, SampledToken, SamplingParams


class Sequence:
    """State of one request inside the engine thread, which alone may touch it."""

    __slots__ = (
        "block_keys",
        "block_table",
        "draft_length",
        "edits",
        "end_ids",
        "first_token_s",
        "last_token_s",
        "max_tokens",
        "mirostat",
        "num_cached_tokens",
        "num_computed",
        "num_forced",
        "num_preemptions",
        "num_published",
        "prefill_chunks",
        "rank",
        "request",
        "scheduled_s",
        "scores",
        "seed",
        "token_ids",
    )

    def __init__(
        self,
        request: Request,
        *,
        rank: tuple[float, int],
        max_tokens: int,
        seed: int,
        end_ids: frozenset[int] = frozenset(),
    ) -> None:
        self.request = request
        self.rank = rank
        """Its place in every order that the scheduler keeps: the lowest goes first. Unique."""
        self.max_tokens = max_tokens
        """Output tokens at most: what the request wants, within what the context leaves."""
        self.seed = seed
        """u64; with the position in the sequence it determines every draw."""
        self.end_ids = end_ids
        """A token of these ends it, once it has `min_tokens`."""
        self.edits: LogitEdits | None = None
        """Made by the runner, which knows the vocabulary, before the first draw; None while nothing is edited."""
        self.mirostat = None if request.sampling.mirostat is None else Mirostat(request.sampling.mirostat)
        self.draft_length: DraftLength | None = None
        """Made with its first guess; outlives preemption."""
        self.token_ids = list(request.prompt_ids)
        """Prompt and output."""
        self.num_computed = 0
        """Tokens whose keys and values are in the cache."""
        self.num_forced = 0
        """Its last tokens, so many, were not drawn: its constraint left no choice after the one before them."""
        self.block_table: list[int] = []
        self.block_keys: list[bytes] = []
        """Of its full blocks, as far as anybody has asked; see service.engine.block_keys."""
        self.num_published = 0
        """Blocks of its table which others can find."""
        self.num_cached_tokens: int | None = None
        """Prompt tokens that were found computed when it was first admitted. None: it has not been."""
        self.scores: list[SampledToken] = []
        """Prompt tokens from the second on with their log probabilities, as far as these are wanted and known."""
        self.num_preemptions = 0
        # Times by the engine's clock, kept by the loop: first planned, first output token, latest output token.
        self.scheduled_s: float | None = None
        self.first_token_s: float | None = None
        self.last_token_s: float | None = None
        self.prefill_chunks: list[tuple[float, float, int]] = []
        """Of each step that computed prompt tokens: its start, its end, how many."""

    @property
    def id(self) -> str:
        return self.request.id

    @property
    def sampling(self) -> SamplingParams:
        return self.request.sampling

    @property
    def num_prompt_tokens(self) -> int:
        return len(self.request.prompt_ids)

    @property
    def wants_scores(self) -> bool:
        """Log probabilities of its prompt are still to be computed: all of the prompt has to go through the model."""
        return self.sampling.prompt_logprobs is not None and len(self.scores) < self.num_prompt_tokens - 1

    @property
    def num_output_tokens(self) -> int:
        return len(self.token_ids) - len(self.request.prompt_ids)

    @property
    def num_uncomputed(self) -> int:
        """At least 1 between steps: the last token has not been through the model."""
        return len(self.token_ids) - self.num_computed

    @property
    def is_decoding(self) -> bool:
        """To compute are the token drawn last and those that were forced after it; then the next is drawn."""
        return self.num_uncomputed == 1 + self.num_forced and self.num_output_tokens > 0

    @property
    def num_missing_blocks(self) -> int:
        """Blocks to allocate before all its tokens have a place."""
        return blocks_for(len(self.token_ids)) - len(self.block_table)

    @property
    def num_free_places(self) -> int:
        """Places in its blocks beyond its tokens."""
        return len(self.block_table) * BLOCK_TOKENS - len(self.token_ids)

    def __repr__(self) -> str:
        held = len(self.block_table) * BLOCK_TOKENS
        return f"Sequence({self.id!r}, {len(self.token_ids)} tokens, {self.num_computed} computed, {held} held)"
