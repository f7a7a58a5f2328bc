"""The W3C's trace context: `traceparent: 00-<32 hex>-<16 hex>-<2 hex>`. Knows no span."""

import re
from dataclasses import dataclass

_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_SAMPLED = 1


@dataclass(frozen=True, slots=True)
class TraceParent:
    trace_id: int
    span_id: int
    is_sampled: bool


def parse_traceparent(header: str | None) -> TraceParent | None:
    """None for what the recommendation calls invalid: then a new trace begins."""
    match = _TRACEPARENT.fullmatch(header.strip()) if header else None
    if match is None or match[1] == "ff" or (match[1] == "00" and match[5]):
        return None
    trace_id, span_id = int(match[2], 16), int(match[3], 16)
    if not trace_id or not span_id:
        return None
    return TraceParent(trace_id, span_id, bool(int(match[4], 16) & _SAMPLED))
