"""Families whose weights are packed as bit planes: 5 bits, a code book, and the K-quants' super-blocks of 256.

All take qsi8d32, the LHS of the block32 families, so that a file which mixes Q4_K, Q6_K, Q5_0 and Q8_0 packs its
activations once. Super-blocks could have had one LHS scale per 256 (qsi8d256, as llama.cpp's): sums of 256 would stay
in integers and the float step would come once in 256. It is the worse approximation of the activations, a second
layout, and the float step is two operations in about thirty.

The formula, per 32 elements of K in ascending order, each step rounded once:

    scales per 32   sum  = sum((code - zero) x q)                        exact, i32
                    acc  = fma(f32(sum), d_lhs * scale, acc)             scale: f16 d, or f32(d) * sc: 17 bits, exact
                    acc  = fma(min, d_lhs * sum(q), acc)                 min: f16 m, or -f32(dmin) * m, exact
    scales per 16   sum  = sc0 * sum0((code - zero) x q) + sc1 * sum1    exact, |sum| <= 2 x 128 x 16 x 32 x 127 < 2^24
                    acc  = fma(f32(sum), d_lhs * d, acc)
                    acc  = fma(f32(m0 * sum0(q) + m1 * sum1(q)), d_lhs * -dmin, acc)          Q2_K

Where sc x (code - zero) is a byte, in Q2_K and Q3_K, a GEMM unpacks that and has one sum: `PlaneCode.multiplied`.
"""
