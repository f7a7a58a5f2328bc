"""Random and adversarial texts for tokenizers, the same for a seed. Knows names of special tokens, no tokenizer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random

TEXT_FOLDER = Path(__file__).with_name("text")
ODD = (
    "\x00", "\x07", "\t", "\n", "\r", "\r\n", "\x1b", "\x7f", "\x85", "\xa0", "\xad", "\u0301", "\u0345", "\u034f",
    "\u0378", "\u0600", "\u0e33", "\u1160", "\u17b4", "\u180e", "\u2000", "\u200b", "\u200d", "\u2028", "\u202e",
    "\u205f", "\u2060", "\u2581", "\u3000", "\u3164", "\ufe0f", "\ufeff", "\ufff9", "\ufffd", "\uffff", "\U000e0001",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467", "\U0001f1e9\U0001f1ea", "\u1e9e", "\u0130", "\u0131", "\u017f",
    "\u212a", "\uac00", "\u1100\u1161", "\u09b0\u09cd\u09af", "\ud7ff", "\ue000", "\U0010ffff",
)  # fmt: skip
WORDS = (
    "the", "The", "THE", "don't", "I'LL", "we've", "naïve", "Straße", "привет", "γειά", "你好", "こんにちは", "안녕",
    "مرحبا", "שלום", "नमस्ते", "สวัสดี", "12345", "3.14159", "1,000,000", "0x1F", "x=y+1;", "def f(x):", "</p>", "{{a}}",
    "https://example.org/?q=1&r=2", "foo_bar", "fooBar", "C++", "...", "!!!", "a" * 40, "\u2581a", "<0x0A>", "<s>",
)  # fmt: skip


def texts(count: int, special: Sequence[str], seed: int = 0) -> Iterator[str]:
    random = Random(seed)
    prose = "".join(path.read_text() for path in sorted(TEXT_FOLDER.rglob("*.txt")))
    kinds: Sequence[Callable[[], str]] = (
        lambda: _any_unicode(random),
        lambda: _any_ascii(random),
        lambda: "".join(random.choice(ODD) for _ in range(random.randint(1, 12))),
        lambda: _mixture(random, [*ODD, *WORDS, " ", "  ", "    "]),
        lambda: _passage(random, prose),
        lambda: _mixture(random, [*special, *(_near(random, name) for name in special), *WORDS, " ", "\n"]),
        lambda: random.choice([" ", "\n", "\t", "-", "=", "a", "\u2581"]) * random.randint(1, 80),
        lambda: random.randbytes(random.randint(1, 40)).decode("latin-1"),
        lambda: random.randbytes(random.randint(1, 60)).decode(errors="replace"),
    )
    for index in range(count):
        yield kinds[index % len(kinds)]()


def _any_unicode(random: Random) -> str:
    points = [random.randrange(0x110000 if random.random() < 0.3 else 0x3000) for _ in range(random.randint(1, 24))]
    return "".join(chr(point) for point in points if not 0xD800 <= point < 0xE000)


def _any_ascii(random: Random) -> str:
    return "".join(chr(random.randrange(128)) for _ in range(random.randint(1, 60)))


def _mixture(random: Random, parts: Sequence[str]) -> str:
    return "".join(random.choice(parts) + random.choice(["", "", " "]) for _ in range(random.randint(1, 10)))


def _passage(random: Random, prose: str) -> str:
    start = random.randrange(len(prose) - 200)
    return prose[start : start + random.randint(1, 200)]


def _near(random: Random, name: str) -> str:
    """A special token's name with a character less, or one more."""
    at = random.randrange(len(name))
    return name[:at] + name[at + 1 :] if random.random() < 0.5 else name[:at] + random.choice(" <|x") + name[at:]
