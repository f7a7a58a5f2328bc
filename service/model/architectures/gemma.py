"""Gemma 1 (arXiv:2403.08295): scaled embeddings, GeGLU, heads of 256, one KV head in the 2B.

Its norms multiply by 1 + w; converters to GGUF store 1 + w, so here they are like all others.
"""

from service.model.decoder import Decoder


def gemma(m: Decoder) -> None:
    c = m.config
    rope = m.rope(split=True)
    m.embed(scale=c.embedding**0.5)
    for _ in m.layers():
        qkv = m.qkv(m.norm("attn_norm"))
        m.rope_kv(qkv, rope)
        m.residual("attn_output", m.attention(qkv, scale=c.head_dim**-0.5))
        gate_up = m.matmul("ffn_gate_up", m.norm("ffn_norm"), ffn_gate=c.feed_forward, ffn_up=c.feed_forward)
        m.residual("ffn_down", m.geglu(gate_up))
    m.logits(m.norm("output_norm"))
