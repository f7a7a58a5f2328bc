"""Sampling: one token per logit row, with logprobs, in two ops. Knows no sequence.

**Logits** are read as clean numbers: NaN and -inf as -1e30, +inf as 1e30, so that no row can crash, hang or give NaN;
`finite` of the result says that it happened. A row of NaN alone gives token 0 when greedy.

**Chosen token.** temperature < 1e-5: the greatest logit, the lowest id among equals. Otherwise probabilities are
softmax(logits / temperature), filtered in this order, each filter on what the one before left, renormalised:
min_p (keep p >= min_p * greatest p), top_k, typical_p (Meister et al. 2023: the shortest prefix, by rising distance of
-log p from the entropy, with at least this mass), top_p (the same by falling p), XTC (with xtc_probability, where two
or more have p >= xtc_threshold, all of these but the last are dropped). Prefixes are of the order (logit falling, id
rising), typical_p's of (distance rising, id rising). Mirostat 2 stands for all of them: keep -log2 p <= mu, at least
one token. Then one draw by inverse distribution function, in order of ids, with a uniform number that is a function of
(seed, position) alone.

**Logprobs** are of the unmodified distribution: temperature 1, no filter, no bias, no mask.

**Bias, penalties, DRY, mask** change the logits, in this order, before all of that except the logprobs. Of a token that
was seen, repetition_penalty divides a positive logit and multiplies a negative one; presence_penalty and, once for each
time that the token is in the output, frequency_penalty are taken off it. DRY: kernels.ops.sampling.repeats. If nothing
is left to draw from, `finite` of the result is NOTHING_LEFT.

Sums over the vocabulary are in chunks of 4,096, merged in ascending order, whoever computes them.
"""

from kernels.ops.sampling.op import SAMPLING_MARK, SampleOp

__all__ = ["SAMPLING_MARK", "SampleOp"]
