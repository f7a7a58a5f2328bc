"""Qwen 2 and 2.5 (arXiv:2407.10671): Llama with biases of q, k and v, and pairs (i, i + d/2)."""

from service.model.decoder import Decoder


def qwen2(m: Decoder) -> None:
    c = m.config
    rope = m.rope(split=True)
    m.embed()
    for _ in m.layers():
        qkv = m.qkv(m.norm("attn_norm"))  # with the biases of the file
        m.rope_kv(qkv, rope)
        m.residual("attn_output", m.attention(qkv, scale=c.head_dim**-0.5))
        gate_up = m.matmul("ffn_gate_up", m.norm("ffn_norm"), ffn_gate=c.feed_forward, ffn_up=c.feed_forward)
        m.residual("ffn_down", m.swiglu(gate_up))
    m.logits(m.norm("output_norm"))
