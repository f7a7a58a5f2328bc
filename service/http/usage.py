"""OpenAI's token counts, which both routes and every choice share."""

from collections.abc import Iterable
from typing import Any

from service.generate.text import Usage


def usage_body(usages: Iterable[Usage]) -> dict[str, Any]:
    """The sum over the choices."""
    counts = list(usages)
    prompt = sum(usage.prompt_tokens for usage in counts)
    completion = sum(usage.completion_tokens for usage in counts)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": sum(usage.cached_tokens for usage in counts)},
    }
