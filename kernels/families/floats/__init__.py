"""Families of unquantised weights: F32, F16 and BF16 against f32 activations, accumulated in f32."""
