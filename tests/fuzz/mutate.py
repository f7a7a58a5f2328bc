"""Damages bytes and texts, the same for a seed. Knows no format."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from random import Random

NUMBERS = (0, 1, 2, 7, 8, 31, 32, 255, 2**16, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**63 - 1, 2**64 - 1)
WORDS = (
    b"null", b"true", b"-1", b"1e999", b"NaN", b"[]", b"{}", b'""', b"[[", b"]]", b"}}", b",", b":", b"\x00",
    b"\xff\xfe", b"9" * 400, b'"\\ud800"', b"[" * 3000, b'{"a":' * 3000, b"0.1", b"\\u0000", b"  \n",
)  # fmt: skip


def mutate_bytes(raw: bytes, random: Random, first: int, last: int) -> bytes:
    """One to four changes between two offsets, or a cut."""
    made = bytearray(raw)
    for _ in range(random.choice((1, 1, 1, 2, 4))):
        at = random.randrange(first, max(first + 1, min(last, len(made))))
        kind = random.choice(("bit", "byte", "u32", "u64", "insert", "delete", "copy", "cut"))
        if kind == "bit" and at < len(made):
            made[at] ^= 1 << random.randrange(8)
        elif kind == "byte":
            made[at : at + 1] = bytes([random.randrange(256)])
        elif kind == "u32":
            made[at : at + 4] = struct.pack("<I", random.choice(NUMBERS) & 0xFFFFFFFF)
        elif kind == "u64":
            made[at : at + 8] = struct.pack("<Q", random.choice(NUMBERS))
        elif kind == "insert":
            made[at:at] = random.randbytes(random.randrange(1, 40))
        elif kind == "delete":
            del made[at : at + random.randrange(1, 40)]
        elif kind == "copy":
            other = random.randrange(len(made) or 1)
            made[at : at + 64] = made[other : other + 64]
        elif random.random() < 0.3:
            del made[at:]
    return bytes(made)


def mutate_text(raw: bytes, random: Random) -> bytes:
    """Of JSON: numbers and words replaced by odd ones, pieces cut out, doubled and put elsewhere."""
    made = raw
    for _ in range(random.choice((1, 1, 2, 3))):
        at = random.randrange(len(made) + 1)
        end = min(len(made), at + random.choice((0, 1, 2, 5, 20, 100)))
        kind = random.choice(("word", "word", "number", "cut", "double", "byte"))
        if kind == "word":
            made = made[:at] + random.choice(WORDS) + made[end:]
        elif kind == "number":
            made = made[:at] + str(random.choice(NUMBERS)).encode() + made[end:]
        elif kind == "cut":
            made = made[:at] + made[end:]
        elif kind == "double":
            made = made[:end] + made[at:end] * random.choice((1, 2, 50)) + made[end:]
        else:
            made = made[:at] + random.randbytes(1) + made[at + 1 :]
    return made


def spliced(pieces: Sequence[str], random: Random) -> str:
    """Pieces cut anywhere and joined."""
    made = ""
    for _ in range(random.randint(1, 4)):
        piece = random.choice(pieces)
        start, end = sorted((random.randrange(len(piece) + 1), random.randrange(len(piece) + 1)))
        made += random.choice((piece, piece, piece[start:end], piece[:end], piece[start:]))
    return made
