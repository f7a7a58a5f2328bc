"""What a face asks for: one output of one prompt. Facts only."""

from dataclasses import dataclass

from service.engine.request import DrafterKind, SamplingParams
from service.generate.prompt import Prompt
from service.structured.output_format import OutputFormat


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationRequest:
    id: str
    """Unique among the open requests."""
    prompt: Prompt
    sampling: SamplingParams
    stop: tuple[str, ...] = ()
    """The output ends before the first of these would appear. None is empty."""
    bad_words: tuple[str, ...] = ()
    """Texts that the output never holds as tokens of their own. None is empty."""
    dry_breakers: tuple[str, ...] = ()
    """Texts across which DRY sees no repetition: every token that holds one."""
    priority: int = 0
    """Lower is earlier."""
    timeout_s: float | None = None
    """From its arrival: it ends then, with what it has."""
    output_format: OutputFormat | None = None
    """What the output must look like."""
    cache_salt: str = ""
    """Cached prefixes are shared only among requests of the same salt."""
    drafter: DrafterKind | None = None
    """None: the engine's choice."""
