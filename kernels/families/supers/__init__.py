"""f32 <- qsi8d256p x the K-quants: super-blocks of 256 with byte scales, packed as kernels.families.planes.

The LHS has one scale per 256, as llama.cpp's Q8_K, so that sums stay integers over a whole super-block and floats come
once in 256. With a scale per 32 each block took a conversion, two products and an fma of its own: on AVX512-VNNI a
GEMM of Q4_K takes 0.88 of that time now, of Q3_K 0.83; on NEON's smmla there were as many float steps as products.
Activations are rounded a little more coarsely, to the bytes of llama.cpp's.

The formula, per 256 elements of K in ascending order:

    sum  = sum over byte scales of sc x sum((code - zero) x q)           exact, below 2^28
    mins = sum over byte minima of m x sum(q)                            exact
    acc  = fma(d_lhs, fma(f32(mins), -dmin, f32(sum) x d), acc)

Where sc x (code - zero) is a byte, in Q2_K and Q3_K, a GEMM unpacks that and has no factors: `PlaneCode.multiplied`.
"""
