from service.tokenizer.byte_letters import BYTE_TO_LETTER, LETTER_TO_BYTE, bytes_of_letters
from tests.tiny_gguf import byte_letters


def test_every_byte_has_its_own_printable_letter() -> None:
    assert byte_letters() == BYTE_TO_LETTER
    assert len(LETTER_TO_BYTE) == 256
    assert all(letter.isprintable() and not letter.isspace() for letter in BYTE_TO_LETTER)


def test_bytes_of_letters() -> None:
    assert bytes_of_letters("ĠtheĊ") == b" the\n"
    assert bytes_of_letters("".join(BYTE_TO_LETTER)) == bytes(range(256))


def test_other_characters_are_their_utf8() -> None:
    assert bytes_of_letters("▁Ġ漢") == "▁ 漢".encode()
