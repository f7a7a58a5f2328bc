"""JSON schemas of growing difficulty, the same every time, whose values all come to an end."""

import random
from typing import Any

NUM_SCHEMAS = 200


def schema_of(index: int) -> dict[str, Any]:
    """From one scalar (0) to nested objects with alternatives, patterns, bounds and references (199)."""
    draw = random.Random(index)
    depth = 1 + index // 50
    schema = _object(draw, depth, 1 + index // 25)
    if index % 4 == 3:
        schema["$defs"] = {"shared": _object(draw, 1, 2)}
        schema["properties"]["ref"] = {"$ref": "#/$defs/shared"}
        schema["required"].append("ref")
    return schema


def _object(draw: random.Random, depth: int, num_properties: int) -> dict[str, Any]:
    properties = {f"{draw.choice(NAMES)}_{number}": _value(draw, depth) for number in range(num_properties)}
    required = [name for name in properties if draw.random() < 0.8]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _value(draw: random.Random, depth: int) -> dict[str, Any]:
    if depth > 1 and draw.random() < 0.4:
        return _object(draw, depth - 1, draw.randint(1, 3))
    if depth > 1 and draw.random() < 0.4:
        low = draw.randint(0, 2)
        return {
            "type": "array",
            "items": _value(draw, depth - 1),
            "minItems": low,
            "maxItems": low + draw.randint(0, 2),
        }
    low = draw.randint(-50, 50)
    return draw.choice(
        [
            {"type": "boolean"},
            {"type": "null"},
            {"type": "integer", "minimum": low, "maximum": low + draw.randint(0, 1000)},
            {"type": "string", "minLength": draw.randint(0, 2), "maxLength": draw.randint(2, 9)},
            {"type": "string", "pattern": draw.choice(PATTERNS)},
            {"type": "string", "format": draw.choice(["date", "uuid", "ipv4"])},
            {"enum": ["red", "green", 3, None, True][: draw.randint(1, 5)]},
            {"const": {"kind": "fixed", "at": low}},
            {"anyOf": [{"type": "boolean"}, {"type": "integer", "minimum": 0, "maximum": 9}]},
            {"type": ["null", "boolean"]},
            {"type": "integer", "multipleOf": 5, "minimum": 0, "maximum": 100},
        ]
    )


NAMES = ("name", "age", "colour", "size", "é", "a b", 'quo"te')
PATTERNS = ("^[A-Z]{2}[0-9]{1,3}$", "^(yes|no|maybe)$", "^#[0-9a-f]{6}$", "^\\d{3}-\\d{4}$")
