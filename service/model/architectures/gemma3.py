"""Gemma 3, text (arXiv:2503.19786): five layers with a window and rotation by base 10,000, then one that sees
everything with a slower rotation; heads of q and k are normalised, and what a layer adds is too.
"""

from service.model.decoder import Decoder
from service.model.windows import local_layers

LAYERS_OF_27B = 62  # it alone scales queries by the width of a head among the embedding's, not by its own


def gemma3(m: Decoder) -> None:
    c = m.config
    window = m.fields.size("attention.sliding_window", default=0, most=1 << 24, least=0) or None
    is_local = local_layers(m.fields, c.num_layers, period=6) if window else (False,) * c.num_layers
    logit_cap = m.fields.number("final_logit_softcapping", least=0.0, most=1e6, default=0.0) or None
    scale = (c.embedding // c.num_heads if c.num_layers == LAYERS_OF_27B else c.head_dim) ** -0.5
    rope = m.rope(split=True)
    local_rope = m.rope(split=True, base=m.fields.number("rope.freq_base_swa", least=1.0, most=1e12, default=10_000.0))
    m.embed(scale=c.embedding**0.5)
    for layer in m.layers():
        local = is_local[layer]
        qkv = m.qkv(m.norm("attn_norm"))
        m.rope_kv(qkv, local_rope if local else rope, q_norm="attn_q_norm", k_norm="attn_k_norm")
        attended = m.attention(qkv, scale=scale, window=window if local else None)
        m.residual("attn_output", attended, norm="post_attention_norm")
        gate_up = m.matmul("ffn_gate_up", m.norm("ffn_norm"), ffn_gate=c.feed_forward, ffn_up=c.feed_forward)
        m.residual("ffn_down", m.geglu(gate_up), norm="post_ffw_norm")
    m.logits(m.norm("output_norm"), soft_cap=logit_cap)
