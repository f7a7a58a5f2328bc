"""The architectures there are, each a program in a file of its own: the one list, by the name in GGUF metadata."""

from collections.abc import Callable, Mapping

from service.errors import ModelFileError
from service.model.architectures.gemma import gemma
from service.model.architectures.gemma2 import gemma2
from service.model.architectures.gemma3 import gemma3
from service.model.architectures.llama import llama
from service.model.architectures.phi3 import phi3
from service.model.architectures.qwen2 import qwen2
from service.model.architectures.qwen3 import qwen3
from service.model.decoder import Decoder

Architecture = Callable[[Decoder], None]

ARCHITECTURES: Mapping[str, Architecture] = {
    "llama": llama,
    "qwen2": qwen2,
    "qwen3": qwen3,
    "gemma": gemma,
    "gemma2": gemma2,
    "gemma3": gemma3,
    "phi3": phi3,
}


def architecture_of(metadata: Mapping[str, object]) -> Architecture:
    """Raises ModelFileError for one that is not written down here."""
    name = metadata.get("general.architecture")
    architecture = ARCHITECTURES.get(name) if isinstance(name, str) else None
    if architecture is None:
        known = ", ".join(ARCHITECTURES)
        raise ModelFileError(f"general.architecture is {str(name)[:64]!r}; supported are {known}")
    return architecture
