"""Attention micro-kernels: one query tile against one range of the KV cache, and the merge of such partials."""
