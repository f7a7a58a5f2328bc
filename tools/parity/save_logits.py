"""llama.cpp's logits of a text, saved for `gemmule eval MODEL --text FILE --logits OUT`.

`python -m tools.parity.save_logits MODEL TEXT OUT [--ctx N] [--windows N]`: the same windows, tokens and positions.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from service.errors import GemmuleError
from service.gguf.reader import open_gguf
from service.pull import resolve_model
from service.quality.saved_logits import LogitWriter
from service.quality.windows import cut_windows
from service.tokenizer import load_tokenizer
from tools.parity.llamacpp import LlamaCpp, peer_python
from tools.peer.llamacpp import PeerError


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.parity.save_logits", description="llama.cpp's logits")
    parser.add_argument("model")
    parser.add_argument("text", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--ctx", type=int, default=512)
    parser.add_argument("--windows", type=int, default=None)
    parser.add_argument("-t", "--threads", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args()
    try:
        path = resolve_model(options.model)
        with open_gguf(path) as file:
            tokenizer, vocab = load_tokenizer(file.metadata), file.tensors["token_embd.weight"].num_rows
        bos_id = tokenizer.bos_id if tokenizer.add_bos else None
        ids = tokenizer.encode(options.text.read_text())
        windows = list(cut_windows(ids, options.ctx, bos_id, options.windows))
        with (
            LlamaCpp(peer_python(), path, options.ctx, options.threads) as peer,
            LogitWriter(options.out, windows, vocab) as writer,
        ):
            for window in windows:
                writer.add(peer.logits(window.ids.tolist())[window.first : -1])
    except (PeerError, GemmuleError, OSError) as error:
        sys.exit(f"parity: {error}")


if __name__ == "__main__":
    main()
