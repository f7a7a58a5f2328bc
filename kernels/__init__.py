"""Micro-kernels and what runs them: quantised matrix products, attention, the native step. Knows no service."""
