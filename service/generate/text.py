"""Sampled tokens in, text out: detokenised, ended by stop strings, counted. Knows no engine thread and no HTTP."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from service.engine.request import FinishReason, SampledToken, SamplingParams, TokenEvent
from service.generate.stop_strings import StopStrings
from service.tokenizer import Detokenizer, Tokenizer


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """A token with its log probability, and in `top` the likeliest ones at its place."""

    id: int
    bytes: bytes
    logprob: float | None
    """None: of a prompt's first token, before which there is nothing."""
    top: tuple["TokenLogprob", ...] = ()
    is_hidden: bool = False
    """A special token (one that ends a text, say, where that was to be ignored): its bytes are no part of the text."""

    @property
    def text(self) -> str:
        """U+FFFD where the bytes are a part of a character."""
        return self.bytes.decode(errors="replace")


@dataclass(frozen=True, slots=True)
class Usage:
    prompt_tokens: int
    completion_tokens: int
    """Every token that was generated, with those that give no text: end of text, stop strings."""
    cached_tokens: int = 0
    """Prompt tokens that were found in the KV cache and not computed."""


@dataclass(frozen=True, slots=True)
class Timings:
    """As the caller sees them."""

    prompt_s: float
    """From arrival to the first token: waiting and prefill."""
    decode_s: float
    """From there to the last."""


@dataclass(frozen=True, slots=True)
class TextEvent:
    """A piece of the output; the last one, and only it, has a finish reason."""

    text: str
    tokens: tuple[TokenLogprob, ...]
    """The tokens of this text, if the request wants logprobs. One whose text was cut by a stop string counts in."""
    finish_reason: FinishReason | None
    usage: Usage
    """Up to here."""
    token_ids: tuple[int, ...] = ()
    """Every token since the last event, with those that give no text."""
    cumulative_logprob: float = 0.0
    """Of all tokens up to here."""
    timings: Timings | None = field(default=None, compare=False)
    """In the last one."""
    prompt_tokens: tuple[TokenLogprob, ...] = ()
    """In the first one, if the request wants its prompt's log probabilities."""


class TextAssembler:
    """The text of one request."""

    def __init__(
        self, tokenizer: Tokenizer, sampling: SamplingParams, stops: tuple[str, ...], prompt_ids: Sequence[int]
    ) -> None:
        self._tokenizer = tokenizer
        self._sampling = sampling
        self._detokenizer = Detokenizer(tokenizer)
        self._stop_strings = StopStrings(stops)
        self._num_prompt_tokens = len(prompt_ids)
        self._prompt_tokens: tuple[TokenLogprob, ...] = ()
        """Not yet told of, but for the first."""
        self._first_id = prompt_ids[0]
        self._num_tokens = 0
        self._cumulative_logprob = 0.0
        self._token_ids: list[int] = []
        """Not yet told of."""
        # Tokens whose text is still held back, with its place (first character, one past the last) in the whole text.
        # Several can share a character, which belongs to each of them.
        self._held: deque[tuple[int, int, TokenLogprob]] = deque()
        self._open: list[tuple[int, TokenLogprob]] = []
        """Tokens that have given no text yet, and where it will begin."""
        self._num_chars = 0
        self._num_released = 0

    def push(self, event: TokenEvent) -> TextEvent | None:
        """None: nothing can be said yet. One with a finish reason is the last, whatever the engine goes on to say."""
        reason = event.finish_reason
        tokens = event.tokens
        self._prompt_tokens += self._prompt(event.prompt_tokens)
        pieces = []
        for index, token in enumerate(tokens):
            self._num_tokens += 1
            self._token_ids.append(token.id)
            self._cumulative_logprob += token.logprob
            if reason is FinishReason.STOP and not event.is_complete and index == len(tokens) - 1:
                break  # the token that says "end" is no part of the text
            pieces.append(self._take(token))
            if self._stop_strings.has_matched:
                reason = FinishReason.STOP
                break
        if reason is not None:
            pieces += [self._screen(self._detokenizer.flush()), self._stop_strings.flush()]
        text = "".join(pieces)
        self._num_released += len(text)
        released = self._release(is_last=reason is not None)
        if not text and not released and reason is None:
            return None
        token_ids = tuple(self._token_ids)
        self._token_ids.clear()
        prompt_tokens, self._prompt_tokens = self._prompt_tokens, ()
        usage = Usage(self._num_prompt_tokens, self._num_tokens, event.num_cached_tokens)
        return TextEvent(
            text, released, reason, usage, token_ids, self._cumulative_logprob, prompt_tokens=prompt_tokens
        )

    def _prompt(self, tokens: Sequence[SampledToken]) -> tuple[TokenLogprob, ...]:
        """They come all at once, but for the first one."""
        if self._sampling.prompt_logprobs is None or (not tokens and self._num_tokens):
            return ()
        first = TokenLogprob(self._first_id, self._tokenizer.token_bytes(self._first_id), None)
        return (first, *map(self._logprob, tokens))

    def _take(self, token: SampledToken) -> str:
        text = self._detokenizer.push(token.id)
        if self._sampling.logprobs is not None:
            self._open.append((self._num_chars, self._logprob(token)))
        return self._screen(text)

    def _screen(self, text: str) -> str:
        """What of the new text may go out."""
        if text:
            self._num_chars += len(text)
            self._held.extend((start, self._num_chars, token) for start, token in self._open)
            self._open.clear()
        return self._stop_strings.push(text) if self._num_tokens >= self._sampling.min_tokens else text

    def _release(self, *, is_last: bool) -> tuple[TokenLogprob, ...]:
        released = []
        while self._held and (self._held[0][1] <= self._num_released or is_last):
            start, _, token = self._held.popleft()
            if start < self._num_released:
                released.append(token)
        if is_last:
            released += [token for _, token in self._open]
        return tuple(released)

    def _logprob(self, token: SampledToken) -> TokenLogprob:
        bytes_of = self._tokenizer.token_bytes
        top = tuple(TokenLogprob(id, bytes_of(id), logprob) for id, logprob in token.top)
        is_hidden = self._tokenizer.vocabulary.is_special(token.id)
        return TokenLogprob(token.id, bytes_of(token.id), token.logprob, top, is_hidden)
