"""Qwen 3 (arXiv:2505.09388): no biases, but each head of q and k is normalised before it is rotated."""

from service.model.decoder import Decoder


def qwen3(m: Decoder) -> None:
    c = m.config
    rope = m.rope(split=True)
    m.embed()
    for _ in m.layers():
        qkv = m.qkv(m.norm("attn_norm"))
        m.rope_kv(qkv, rope, q_norm="attn_q_norm", k_norm="attn_k_norm")
        m.residual("attn_output", m.attention(qkv, scale=c.head_dim**-0.5))
        gate_up = m.matmul("ffn_gate_up", m.norm("ffn_norm"), ffn_gate=c.feed_forward, ffn_up=c.feed_forward)
        m.residual("ffn_down", m.swiglu(gate_up))
    m.logits(m.norm("output_norm"))
