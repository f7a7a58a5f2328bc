"""Sampling: one token per logit row, with logprobs, in two ops. Knows no sequence.

**Logits** are read as clean numbers: NaN and -inf as -1e30, +inf as 1e30, so that no row can crash, hang or give NaN;
`finite` of the result says that it happened. A row of NaN alone gives token 0 when greedy.

**Chosen token.** temperature < 1e-5: the greatest logit, the lowest id among equals. Otherwise probabilities are
softmax(logits / temperature), filtered in this order, each filter on what the one before left, renormalised:
min_p (keep p >= min_p * greatest p), top_k, top_p (the shortest prefix with at least this mass). Prefixes are of the
order (logit falling, id rising). Then one draw by inverse distribution function, in order of ids, with a uniform number
that is a function of (seed, position) alone.

**Logprobs** are of the unmodified distribution: temperature 1, no filter, no bias, no mask.

**Bias and mask** change the logits before all of that except the logprobs. If everything is masked, all are equal.

Sums over the vocabulary are in chunks of 4,096, merged in ascending order, whoever computes them.
"""

from kernels.ops.sampling.op import SampleOp

__all__ = ["SampleOp"]
