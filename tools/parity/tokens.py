"""Do we cut texts as llama.cpp does? 10,000 random and adversarial texts, special tokens parsed and not.

`python -m tools.parity.tokens MODEL [--count N]`; `make token-parity`. Each text also has to survive the round trip,
but for what the vocabulary itself loses: SentencePiece writes the space as U+2581, so this character comes back as a
space, and some byte-level vocabularies (SmolLM2's) have no token for some bytes.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from service.errors import GemmuleError
from service.gguf.reader import open_gguf
from service.pull import DEFAULT_MODEL, resolve_model
from service.tokenizer import Tokenizer, load_tokenizer
from service.tokenizer.byte_letters import BYTE_TO_LETTER
from service.tokenizer.vocabulary import SPACE_MARK, Spelling
from tools.parity.llamacpp import peer_python
from tools.parity.texts import texts
from tools.peer.llamacpp import PeerError

SERVER = Path(__file__).with_name("token_server.py")
NUM_SHOWN = 10


class PeerTokens:
    """llama.cpp's tokenizer of one model."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def encode(self, text: str, special: bool) -> list[int]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([text, special]) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise PeerError(f"llama.cpp ended with status {self._process.wait()} at {text!r}")
        ids: list[int] = json.loads(line)
        return ids


@contextmanager
def peer_tokens(python: Path, model: Path) -> Iterator[PeerTokens]:
    command = [str(python), str(SERVER), str(model)]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        yield PeerTokens(process)
    finally:
        process.communicate()


def differences(tokenizer: Tokenizer, peer: PeerTokens, count: int) -> Iterator[str]:
    """A line for each text that is cut otherwise, or does not come back."""
    vocabulary = tokenizer.vocabulary
    letters = frozenset("".join(token for token in vocabulary.tokens if len(token) == 1))
    special = [vocabulary.tokens[token_id] for token_id in vocabulary.special_ids()][:40]
    for text in texts(count, special):
        for parse in (False, True):
            ours, theirs = tokenizer.encode(text, parse_special=parse), peer.encode(text, parse)
            if ours != theirs:
                shown = [[vocabulary.tokens[token_id] for token_id in ids] for ids in (ours, theirs)]
                yield f"{text!r} (special tokens {'parsed' if parse else 'not parsed'}): ours {shown[0]}, {shown[1]}"
                break
        back = tokenizer.decode(tokenizer.encode(text, add_special=False), skip_special=False)
        if back != survivor(tokenizer, letters, text):
            yield f"{text!r} comes back as {back!r}"


def survivor(tokenizer: Tokenizer, letters: frozenset[str], text: str) -> str:
    """What of a text its vocabulary can say; `letters`: its tokens of one character."""
    vocabulary = tokenizer.vocabulary
    if vocabulary.spelling is Spelling.SPACE_MARKS:
        return text.replace(SPACE_MARK, " ")
    kept = bytes(byte for byte in text.encode() if BYTE_TO_LETTER[byte] in letters)
    return kept.decode(errors="replace")


def main() -> None:
    """Zero when there is no difference."""
    parser = argparse.ArgumentParser(prog="python -m tools.parity.tokens", description="our tokens beside llama.cpp's")
    parser.add_argument("model", nargs="?", default=DEFAULT_MODEL, help="GGUF file or demo model (default: the demo)")
    parser.add_argument("--count", type=int, default=10_000)
    options = parser.parse_args()
    try:
        path = resolve_model(options.model)
        with open_gguf(path) as file, peer_tokens(peer_python(), path) as peer:
            found = list(differences(load_tokenizer(file.metadata), peer, options.count))
    except (PeerError, GemmuleError, OSError) as error:
        sys.exit(f"parity: {error}")
    for line in found[:NUM_SHOWN]:
        print(line)
    print(f"{path.name}: {options.count} texts, {len(found)} differences")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
