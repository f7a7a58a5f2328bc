"""Which replica a request goes back to: the one that holds the keys and values of what it begins with. Knows no Ray.

A conversation grows at its end, so what it begins with stays: the messages up to the first user's, or the first tokens
of a prompt. Its digest ranks the replicas by rendezvous hashing (Thaler and Ravishankar, 1998): every front end ranks
them alike without talking to another, and a replica that comes or goes moves only the conversations that it takes or
held. Nobody waits for a favourite: one that is too far ahead of the idlest steps behind it.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from typing import Any, TypeVar

Replica = TypeVar("Replica")

PROMPT_CHARS, PROMPT_IDS = 128, 32
"""Of a prompt's beginning: about a block of the KV cache, below which nothing is shared."""
MAX_LEAD = 8
"""Requests that a favourite may have more than the idlest."""


def affinity_of(body: bytes) -> str | None:
    """The digest of what a request begins with; None where it says nothing: no JSON, no prompt, no messages."""
    try:
        asked = json.loads(body)
    except ValueError:
        return None
    beginning = _beginning(asked) if isinstance(asked, Mapping) else None
    if beginning is None:
        return None
    return blake2b(json.dumps(beginning, sort_keys=True).encode(), digest_size=16).hexdigest()


def _beginning(asked: Mapping[str, Any]) -> Any:
    """OpenAI's own field for this comes first."""
    if asked.get("prompt_cache_key"):
        return [asked["prompt_cache_key"]]
    messages, prompt = asked.get("messages"), asked.get("prompt")
    if isinstance(messages, list) and messages:
        roles = [message.get("role") if isinstance(message, Mapping) else None for message in messages]
        return messages[: roles.index("user") + 1] if "user" in roles else messages
    if isinstance(prompt, list) and prompt and isinstance(prompt[0], str):
        prompt = prompt[0]  # several prompts in one request go together, by their first
    if isinstance(prompt, str) and prompt:
        return prompt[:PROMPT_CHARS]
    return prompt[:PROMPT_IDS] if isinstance(prompt, list) and prompt else None


def ranked(
    affinity: str, replicas: Sequence[Replica], name: Callable[[Replica], str], num_open: Callable[[Replica], int]
) -> list[Replica]:
    """Favourite first. `num_open`: requests that a replica has, as far as is known."""
    if not replicas:
        return []
    least = min(map(num_open, replicas))

    def order(replica: Replica) -> tuple[bool, bytes]:
        weight = blake2b(f"{affinity} {name(replica)}".encode(), digest_size=8).digest()
        return num_open(replica) - least > MAX_LEAD, weight

    return sorted(replicas, key=order)
