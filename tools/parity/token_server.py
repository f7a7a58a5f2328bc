"""Run by the peer's Python, which has llama_cpp and none of ours: texts in by lines, token ids out by lines, in JSON.

`token_server.py MODEL`; a line is [text, whether special tokens are parsed].
"""

import json
import os
import sys


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what the library says is not part of the answer
    import llama_cpp  # type: ignore[import-not-found]

    model = llama_cpp.Llama(model_path=sys.argv[1], vocab_only=True, verbose=False)
    for line in sys.stdin:
        text, special = json.loads(line)
        ids = model.tokenize(text.encode(), add_bos=True, special=special)
        answers.write(json.dumps(ids) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
