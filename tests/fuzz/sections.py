"""What is damaged, a section each: a good file once, then a case for every seed. A case says what came of it.

"loads", or the message of a refusal; any other exception is a finding. Where the time limit of a case is.
"""

from __future__ import annotations

import struct
from abc import ABC, abstractmethod
from pathlib import Path
from random import Random
from typing import ClassVar

from service.errors import BadRequest, ModelFileError, SettingsError
from service.gguf.reader import open_gguf
from service.loader import load_model
from service.quantise.recipe import Wish
from service.quantise.write import quantise
from service.settings import Settings
from service.tokenizer import load_chat_template, load_tokenizer
from service.tokenizer.chat_template import ChatTemplate
from tests.fuzz.mutate import mutate_bytes, mutate_text, spliced
from tests.huggingface_folder import write_folder
from tests.service.tokenizer.test_template_sandbox import BAD_ARGUMENT, ESCAPES, TOO_EXPENSIVE
from tests.tiny_gguf import CHATML, write_tiny_gguf

LOADS = "loads"
MESSAGES = [{"role": "user", "content": "the water <|im_end|>"}, {"role": "assistant", "content": "is deep"}]


class Section(ABC):
    """One kind of damage. limit_s: of a case; share: of all cases."""

    limit_s: ClassVar[int] = 30
    share: ClassVar[float]

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.prepare()

    @abstractmethod
    def prepare(self) -> None:
        """Writes what is good, and uses it once, so that what is compiled and cached is not a case's."""

    @abstractmethod
    def run(self, random: Random) -> None:
        """One case; raises what the product raises."""

    def outcome(self, seed: int) -> str:
        try:
            self.run(Random(seed))
        except (ModelFileError, SettingsError, BadRequest) as error:
            return str(error)
        return LOADS


class File(Section):
    """Header, metadata, tensor table of a GGUF file with types of our own; what still loads has run a step."""

    share = 0.3

    def prepare(self) -> None:
        plain, own = self.folder / "plain.gguf", self.folder / "own.gguf"
        write_tiny_gguf(plain, num_layers=1, weight_type="F16", embedding=64, ffn=128)
        quantise(plain, own, Wish("mixed48"), lambda name, done, count: None)
        self.settings = Settings(threads=1, ctx=64, max_batch=2, max_step_tokens=32)
        self.raw = own.read_bytes()
        with open_gguf(own) as file:
            self.data_start = min(tensor.offset for tensor in file.tensors.values())
        load_model(own, self.settings).close()

    def run(self, random: Random) -> None:
        path = self.folder / "case.gguf"
        first = 0 if random.random() < 0.2 else 24
        path.write_bytes(mutate_bytes(self.raw, random, first, 24 if first == 0 else self.data_start))
        load_model(path, self.settings).close()


class TokenizerArrays(Section):
    """Tokens, types, merges, scores and ids; what still loads encodes and decodes."""

    share = 0.2
    limit_s = 15

    def prepare(self) -> None:
        path = self.folder / "tokens.gguf"
        self.raw = write_tiny_gguf(path, num_layers=0).read_bytes()
        self.span = self.raw.index(b"tokenizer.ggml.model") - 8, self.raw.index(b"tokenizer.chat_template")
        self._use(path)

    def run(self, random: Random) -> None:
        path = self.folder / "case.gguf"
        path.write_bytes(mutate_bytes(self.raw, random, *self.span))
        self._use(path)

    def _use(self, path: Path) -> None:
        with open_gguf(path) as file:
            tokenizer = load_tokenizer(file.metadata)
            load_chat_template(file.metadata, tokenizer)
        for text in ("the water\n was <|im_end|> 12 é", "\U0001f600" * 50, " " * 200):
            tokenizer.decode(tokenizer.encode(text, parse_special=True))


class Templates(Section):
    """Chat templates: endless loops, memory, escapes, in every mixture, whole and torn."""

    share = 0.2
    limit_s = 15  # rendering itself gives up after 2 s of its own time

    def prepare(self) -> None:
        harmless = [
            CHATML,
            "{{ bos_token }}",
            "{% for m in messages %}{{ m.content | trim }}{% endfor %}",
            "{% if 1 %}",
        ]
        self.pieces = [*TOO_EXPENSIVE.values(), *BAD_ARGUMENT.values(), *ESCAPES.values(), *harmless, "{%", "}}", "{#"]
        self.honest = ChatTemplate(CHATML).render(MESSAGES)

    def run(self, random: Random) -> None:
        if random.random() < 0.2:
            escape = random.choice(list(ESCAPES.values())).replace("items", "messages")
            rendered = ChatTemplate(CHATML + escape).render(MESSAGES)
            assert rendered in (self.honest, f"{self.honest}[Undefined]"), f"an escape was rendered: {escape}"
            return
        ChatTemplate(spliced(self.pieces, random)).render(MESSAGES, text="abc" * 300, items=list(range(100)))


class Safetensors(Section):
    """Headers of safetensors: lengths, JSON, names, types, shapes, offsets."""

    share = 0.2
    limit_s = 15

    def prepare(self) -> None:
        source = write_tiny_gguf(self.folder / "source.gguf", num_layers=1, weight_type="F16", embedding=32, ffn=32)
        self.model = write_folder(source, self.folder / "model", "F16")
        self.names = ("model.safetensors",)
        self.good = {name: (self.model / name).read_bytes() for name in self.names}
        self._use()

    def run(self, random: Random) -> None:
        raw = self.good["model.safetensors"]
        length = struct.unpack_from("<Q", raw)[0]
        if random.random() < 0.2:
            damaged = mutate_bytes(raw, random, 0, 8 + length)
        else:
            header = mutate_text(raw[8 : 8 + length], random)
            claimed = len(header) if random.random() < 0.9 else random.randrange(2 * length)
            damaged = struct.pack("<Q", claimed) + header + raw[8 + length :]
        (self.model / "model.safetensors").write_bytes(damaged)
        self._use()

    def _use(self) -> None:
        quantise(self.model, self.folder / "made.gguf", Wish("q8_0"), lambda name, done, count: None)


class FolderDocuments(Safetensors):
    """config.json, tokenizer.json and tokenizer_config.json; what converts is loaded."""

    share = 0.1
    limit_s = 30

    def prepare(self) -> None:
        super().prepare()
        self.names = ("config.json", "tokenizer.json", "tokenizer_config.json")
        self.good = {name: (self.model / name).read_bytes() for name in self.names}

    def run(self, random: Random) -> None:
        damaged = random.choice(self.names)
        for name, raw in self.good.items():
            (self.model / name).write_bytes(mutate_text(raw, random) if name == damaged else raw)
        self._use()
        with open_gguf(self.folder / "made.gguf") as file:
            load_chat_template(file.metadata, load_tokenizer(file.metadata))


SECTIONS = {section.__name__: section for section in (File, TokenizerArrays, Templates, Safetensors, FolderDocuments)}
