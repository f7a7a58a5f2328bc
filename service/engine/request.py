"""What a caller asks of the engine and what it hears back: facts only. Knows no text and no clock."""

import math
from dataclasses import dataclass
from enum import Enum

from service.engine.constraint import TokenConstraint
from service.errors import GemmuleError
from service.request_context import NO_CONTEXT, RequestContext

MAX_PRIORITY = 100


class DrafterKind(Enum):
    """Who guesses tokens, to have several verified in one step. None of them changes a token."""

    NONE = "none"
    PROMPT_LOOKUP = "prompt_lookup"
    """From the sequence's own text."""
    DRAFT_MODEL = "draft_model"
    """A smaller model with the same vocabulary."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dry:
    """Punishes tokens that would continue a repetition; see kernels.ops.sampling.repeats."""

    multiplier: float
    """Taken off the logit for a match of `allowed_length` tokens, and `base` times as much for each further one."""
    base: float = 1.75
    allowed_length: int = 2
    last_n: int | None = None
    """Tokens that are looked through, prompt and output; None: all."""
    breaker_ids: frozenset[int] = frozenset()
    """Tokens that no match reaches across."""

    def __post_init__(self) -> None:
        assert 0 < self.multiplier < math.inf, self.multiplier
        assert 1 <= self.base < math.inf, self.base
        assert self.allowed_length >= 1, self.allowed_length
        assert self.last_n is None or self.last_n >= 1, self.last_n


@dataclass(frozen=True, slots=True, kw_only=True)
class MirostatParams:
    """Mirostat 2: instead of all other filters, tokens are kept so that each surprises by `tau` bits on average."""

    tau: float = 5.0
    eta: float = 0.1
    """How fast it follows."""

    def __post_init__(self) -> None:
        assert 0 < self.tau < math.inf, self.tau
        assert 0 < self.eta <= 1, self.eta


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingParams:
    """How tokens are drawn and when they end. The faces check a user's values; these asserts catch programmers."""

    temperature: float = 1.0
    """0 is greedy."""
    top_k: int = 0
    """Keep this many of the likeliest tokens; 0 keeps all."""
    top_p: float = 1.0
    min_p: float = 0.0
    typical_p: float = 1.0
    """Keep the most typical tokens, by their distance from the entropy, of this mass; 1 keeps all."""
    xtc_probability: float = 0.0
    """How often the likeliest tokens are left out, all but the last that has `xtc_threshold`; 0: never."""
    xtc_threshold: float = 0.1
    mirostat: MirostatParams | None = None
    dry: Dry | None = None
    repetition_penalty: float = 1.0
    """Divides a positive logit, and multiplies a negative one, of every token of prompt and output."""
    presence_penalty: float = 0.0
    """Taken off the logit of every token of the output."""
    frequency_penalty: float = 0.0
    """Taken off it once for each time that the token is there."""
    logit_bias: tuple[tuple[int, float], ...] = ()
    """(token id, what is added to its logit); -inf bans a token."""
    allowed_token_ids: frozenset[int] | None = None
    """No other token is ever drawn. None: all are allowed."""
    bad_words: tuple[tuple[int, ...], ...] = ()
    """Token sequences, none empty, that the output never completes."""
    seed: int | None = None
    """None: the engine draws one. Any 64-bit integer, signed or not."""
    max_tokens: int | None = None
    """None: what the context leaves. More than it leaves is cut down to that."""
    min_tokens: int = 0
    """Before this many output tokens no end-of-text or stop token is drawn, and no stop string ends the request."""
    ignore_eos: bool = False
    stop_token_ids: frozenset[int] = frozenset()
    logprobs: int | None = None
    """Report the log probability of each token, and this many likeliest alternatives. None: neither."""
    prompt_logprobs: int | None = None
    """The same of the prompt's tokens, but for the first. None of them is then taken from the prefix cache."""

    def __post_init__(self) -> None:
        assert 0 <= self.temperature < math.inf, self.temperature
        assert self.top_k >= 0, self.top_k
        assert 0 < self.top_p <= 1, self.top_p
        assert 0 <= self.min_p <= 1, self.min_p
        assert 0 < self.typical_p <= 1, self.typical_p
        assert 0 <= self.xtc_probability <= 1, self.xtc_probability
        assert 0 < self.xtc_threshold <= 1, self.xtc_threshold
        assert 0 < self.repetition_penalty < math.inf, self.repetition_penalty
        assert math.isfinite(self.presence_penalty), self.presence_penalty
        assert math.isfinite(self.frequency_penalty), self.frequency_penalty
        assert all(bias < math.inf for _, bias in self.logit_bias), self.logit_bias
        assert self.allowed_token_ids is None or self.allowed_token_ids, "no token is allowed"
        assert all(self.bad_words), "a bad word has at least one token"
        assert self.seed is None or -(1 << 63) <= self.seed < 1 << 64, self.seed
        assert self.max_tokens is None or self.max_tokens >= 1, self.max_tokens
        assert self.min_tokens >= 0, self.min_tokens
        assert self.logprobs is None or self.logprobs >= 0, self.logprobs
        assert self.prompt_logprobs is None or self.prompt_logprobs >= 0, self.prompt_logprobs

    @property
    def has_bans(self) -> bool:
        """Some tokens may never, or not yet, be drawn."""
        return bool(self.logit_bias or self.bad_words or self.min_tokens) or self.allowed_token_ids is not None

    @property
    def has_penalties(self) -> bool:
        return self.repetition_penalty != 1 or self.presence_penalty != 0 or self.frequency_penalty != 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One prompt to complete."""

    id: str
    """Unique among the requests which the engine holds."""
    prompt_ids: tuple[int, ...]
    sampling: SamplingParams
    arrival_s: float
    """By the engine's clock."""
    priority: int = 0
    """Lower is earlier, as in vLLM."""
    deadline_s: float | None = None
    """By the engine's clock: a request that is not done by then ends, with what it has. None: no limit."""
    cache_salt: str = ""
    """Requests share cached prefixes only with those of the same salt."""
    constraint: TokenConstraint | None = None
    """Which tokens may follow, for structured output. Of this request alone: it changes with every token."""
    drafter: DrafterKind | None = None
    """None: the engine's own choice. One that the engine lacks guesses nothing."""
    context: RequestContext = NO_CONTEXT

    def __post_init__(self) -> None:
        assert self.prompt_ids, "a prompt has at least one token"
        assert -MAX_PRIORITY <= self.priority <= MAX_PRIORITY, self.priority


class FinishReason(Enum):
    STOP = "stop"
    """An end-of-text or stop token, which is then the last token reported."""
    LENGTH = "length"
    ABORT = "abort"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class SampledToken:
    id: int
    logprob: float
    """Natural logarithm, before temperature and truncation."""
    top: tuple[tuple[int, float], ...] = ()
    """(token id, log probability) of the likeliest tokens, best first, as many as the request wants."""


@dataclass(frozen=True, slots=True)
class FailedRow:
    """Stands where a token should be: this row alone could not be sampled, the others of its step could."""

    reason: str
    """For the log."""
    refusal: GemmuleError | None = None
    """What the client hears where the request itself is the reason: what it asks for cannot go on."""


@dataclass(frozen=True, slots=True)
class TokenEvent:
    """What one request hears after a step. The last one, and only it, has a finish reason."""

    tokens: tuple[SampledToken, ...] = ()
    finish_reason: FinishReason | None = None
    is_complete: bool = False
    """With STOP: the last token is a part of the output, which a finished constraint has ended."""
    num_cached_tokens: int = 0
    """Prompt tokens that were found in the KV cache."""
    error: GemmuleError | None = None
    """Why the engine ended it: set with ERROR, and with an ABORT that the caller did not ask for."""
    prompt_tokens: tuple[SampledToken, ...] = ()
    """With the first token, where the request wants `prompt_logprobs`: the prompt's, but for the first of them."""
