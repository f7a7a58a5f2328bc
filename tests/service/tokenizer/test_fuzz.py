"""Damaged metadata that still opens: the tokenizer and the template load, or say in one line why not."""

from pathlib import Path

import pytest

from service.errors import BadRequest, ModelFileError
from service.gguf.reader import open_gguf
from service.tokenizer import load_chat_template, load_tokenizer
from tests.service.gguf.test_fuzz import mutate
from tests.tiny_gguf import write_tiny_gguf

NUM_MUTATIONS = 500


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, int]:
    """The bytes of a file without tensors, which is all metadata."""
    path = write_tiny_gguf(tmp_path_factory.mktemp("fuzz") / "good.gguf", num_layers=0)
    with open_gguf(path) as file:
        return path.read_bytes(), min(tensor.offset for tensor in file.tensors.values())


def load_and_use(path: Path) -> str | None:
    """The message where something is refused."""
    try:
        with open_gguf(path) as file:
            tokenizer = load_tokenizer(file.metadata)
            template = load_chat_template(file.metadata, tokenizer)
        text = "" if template is None else template.render([{"role": "user", "content": "the water"}])
        tokenizer.decode(tokenizer.encode(text, parse_special=True))
    except (ModelFileError, BadRequest) as error:
        return str(error)
    return None


def test_mutations(tmp_path: Path, good: tuple[bytes, int]) -> None:
    raw, data_start = good
    path = tmp_path / "mutated.gguf"
    refusals = []
    for seed in range(NUM_MUTATIONS):
        path.write_bytes(mutate(raw, data_start, seed))
        refusals.append(load_and_use(path))
    messages = [message for message in refusals if message is not None]
    assert all("\n" not in message and len(message) < 2000 for message in messages)
    assert 100 < len(messages) < NUM_MUTATIONS
    assert sum("mutated.gguf" not in message for message in messages) > 10  # not all of them by the reader
