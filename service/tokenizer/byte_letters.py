"""The letters that stand for bytes in a byte-level vocabulary (GPT-2's encoder.py). Knows no vocabulary."""

_PRINTABLE = (*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100))
_OTHERS = tuple(byte for byte in range(256) if byte not in _PRINTABLE)  # shown as U+0100, U+0101, ...

BYTE_TO_LETTER = tuple(chr(byte if byte in _PRINTABLE else 256 + _OTHERS.index(byte)) for byte in range(256))
LETTER_TO_BYTE = {letter: byte for byte, letter in enumerate(BYTE_TO_LETTER)}


def bytes_of_letters(letters: str) -> bytes:
    """The bytes that a token's letters stand for; a character that stands for no byte is its own UTF-8."""
    try:
        return bytes([LETTER_TO_BYTE[letter] for letter in letters])
    except KeyError:
        return b"".join(
            bytes([LETTER_TO_BYTE[letter]]) if letter in LETTER_TO_BYTE else letter.encode() for letter in letters
        )
