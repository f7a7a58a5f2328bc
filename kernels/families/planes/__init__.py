"""Weights packed as bit planes: Q5_0, Q5_1 and IQ4_NL here; kernels.families.supers builds the K-quants on it.

All take qsi8d32, the LHS of the block32 families, so that a file which mixes Q5_0 and Q8_0 packs its activations once.
The formula, per 32 elements of K in ascending order, each step rounded once:

    sum  = sum((code - zero) x q)                                        exact, i32
    acc  = fma(f32(sum), d_lhs * d, acc)                                 f16 d
    acc  = fma(m, d_lhs * sum(q), acc)                                   f16 m
"""
