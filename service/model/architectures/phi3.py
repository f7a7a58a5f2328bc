"""Phi-3, 3.5 and 4 mini (arXiv:2404.14219): q, k and v in one tensor, gate and up in another, LongRoPE.

Models for long contexts have two tables of factors: one for contexts up to that of the first training, one beyond.
Their window is not applied, as llama.cpp does not: the files name windows that the models do not use.
"""

from service.model.decoder import Decoder


def phi3(m: Decoder) -> None:
    c = m.config
    trained = m.fields.size("rope.scaling.original_context_length", default=c.context, most=1 << 24)
    rope = m.rope(
        split=True,
        factors="rope_factors_long" if m.max_context > trained else "rope_factors_short",
        unused="rope_factors_short" if m.max_context > trained else "rope_factors_long",
    )
    m.embed()
    for _ in m.layers():
        qkv = m.qkv(m.norm("attn_norm"))
        m.rope_kv(qkv, rope)
        m.residual("attn_output", m.attention(qkv, scale=c.head_dim**-0.5))
        gate_up = m.matmul("ffn_gate_up", m.norm("ffn_norm"), ffn_up=2 * c.feed_forward)  # gate first
        m.residual("ffn_down", m.swiglu(gate_up))
    m.logits(m.norm("output_norm"))
