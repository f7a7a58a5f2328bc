"""Llama 2 and 3 (arXiv:2302.13971, 2407.21783), and what has its shape: Mistral, SmolLM2, TinyLlama."""

from service.model.decoder import Decoder


def llama(m: Decoder) -> None:
    c = m.config
    rope = m.rope(split=False, factors="rope_freqs")
    m.embed()
    for _ in m.layers():
        qkv = m.qkv(m.norm("attn_norm"))
        m.rope_kv(qkv, rope)
        m.residual("attn_output", m.attention(qkv, scale=c.head_dim**-0.5))
        gate_up = m.matmul("ffn_gate_up", m.norm("ffn_norm"), ffn_gate=c.feed_forward, ffn_up=c.feed_forward)
        m.residual("ffn_down", m.swiglu(gate_up))
    m.logits(m.norm("output_norm"))
