"""Gemma 2 (arXiv:2408.00118): every other layer sees a window only, scores and logits are capped softly, and what a
layer adds is normalised before it is added.
"""

from service.model.decoder import Decoder
from service.model.windows import local_layers

LAYERS_OF_27B = 46  # it alone scales queries by the width of a head among the embedding's, not by its own


def gemma2(m: Decoder) -> None:
    c = m.config
    is_local = local_layers(m.fields, c.num_layers, period=2)
    window = m.fields.size("attention.sliding_window", default=4096, most=1 << 24)
    score_cap = m.fields.number("attn_logit_softcapping", least=1e-3, most=1e6, default=50.0)
    logit_cap = m.fields.number("final_logit_softcapping", least=1e-3, most=1e6, default=30.0)
    scale = (c.embedding // c.num_heads if c.num_layers == LAYERS_OF_27B else c.head_dim) ** -0.5
    rope = m.rope(split=True)
    m.embed(scale=c.embedding**0.5)
    for layer in m.layers():
        qkv = m.qkv(m.norm("attn_norm"))
        m.rope_kv(qkv, rope)
        attended = m.attention(qkv, scale=scale, window=window if is_local[layer] else None, soft_cap=score_cap)
        m.residual("attn_output", attended, norm="post_attention_norm")
        gate_up = m.matmul("ffn_gate_up", m.norm("ffn_norm"), ffn_gate=c.feed_forward, ffn_up=c.feed_forward)
        m.residual("ffn_down", m.geglu(gate_up), norm="post_ffw_norm")
    m.logits(m.norm("output_norm"), soft_cap=logit_cap)
