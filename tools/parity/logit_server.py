"""Run by the peer's Python, which has llama_cpp and none of ours: token ids in by lines, logits out as bytes.

`logit_server.py MODEL CONTEXT THREADS`; a line is [token ids, step] in JSON, the answer the number of bytes to come as
u64 and then f32[n, V]. `step` tokens go through llama.cpp at a time; all else is its default: keys and values in f16.
"""

import json
import os
import struct
import sys


def main() -> None:
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what the library says is not part of the answer
    import llama_cpp  # type: ignore[import-not-found]

    path, context, threads = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    model = llama_cpp.Llama(
        model_path=path,
        n_ctx=context,
        n_batch=context,
        n_ubatch=context,
        n_threads=threads,
        n_threads_batch=threads,
        logits_all=True,
        verbose=False,
    )
    for line in sys.stdin:
        token_ids, step = json.loads(line)
        model.reset()
        for at in range(0, len(token_ids), step):
            model.eval(token_ids[at : at + step])
        logits = model.scores[: len(token_ids)].astype("<f4").tobytes()
        answers.write(struct.pack("<Q", len(logits)) + logits)
        answers.flush()


if __name__ == "__main__":
    main()
