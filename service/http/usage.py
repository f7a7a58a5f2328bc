"""Token counts and times, which both routes and every choice share: OpenAI's usage, llama-server's timings."""

from collections.abc import Sequence
from typing import Any

from service.generate.text import TextEvent, Usage


def usage_body(usages: Sequence[Usage], num_samples: int = 1) -> dict[str, Any]:
    """The sum over the choices; the `num_samples` of one prompt share its tokens."""
    firsts = usages[::num_samples]
    prompt = sum(usage.prompt_tokens for usage in firsts)
    completion = sum(usage.completion_tokens for usage in usages)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": sum(usage.cached_tokens for usage in firsts)},
    }


def timings_body(output: TextEvent) -> dict[str, Any]:
    """llama-server's names. The prompt's time is that to the first token, waiting in the queue included."""
    assert output.timings is not None
    usage, timings = output.usage, output.timings
    return {
        "cache_n": usage.cached_tokens,
        **_phase("prompt", usage.prompt_tokens - usage.cached_tokens, timings.prompt_s),
        **_phase("predicted", usage.completion_tokens, timings.decode_s),
    }


def _phase(name: str, num_tokens: int, seconds: float) -> dict[str, Any]:
    return {
        f"{name}_n": num_tokens,
        f"{name}_ms": round(1000 * seconds, 3),
        f"{name}_per_token_ms": round(1000 * seconds / num_tokens, 3) if num_tokens else 0.0,
        f"{name}_per_second": round(num_tokens / seconds, 3) if seconds else 0.0,
    }
