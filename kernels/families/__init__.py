"""The families of matmul micro-kernels: data types and packings fixed, one variant per rung."""
