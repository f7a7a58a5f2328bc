"""The one list of tensor types and of metadata value types. Knows no file.

Numbers and block layouts: ggml.h, and the GGUF specification in ggml's docs/gguf.md.
"""

from enum import IntEnum


class GGMLType(IntEnum):
    """How a tensor's rows are stored: blocks of `block_size` elements, `block_bytes` bytes each."""

    block_size: int
    block_bytes: int

    def __new__(cls, number: int, block_size: int, block_bytes: int) -> "GGMLType":
        member = int.__new__(cls, number)
        member._value_ = number
        member.block_size = block_size
        member.block_bytes = block_bytes
        return member

    F32 = 0, 1, 4
    F16 = 1, 1, 2
    Q4_0 = 2, 32, 18
    Q4_1 = 3, 32, 20
    Q5_0 = 6, 32, 22
    Q5_1 = 7, 32, 24
    Q8_0 = 8, 32, 34
    Q2_K = 10, 256, 84
    Q3_K = 11, 256, 110
    Q4_K = 12, 256, 144
    Q5_K = 13, 256, 176
    Q6_K = 14, 256, 210
    IQ4_NL = 20, 32, 18
    BF16 = 30, 1, 2

    def row_bytes(self, num_elements: int) -> int:
        """Bytes of one row; `num_elements` is a multiple of the block size."""
        assert num_elements % self.block_size == 0
        return num_elements // self.block_size * self.block_bytes


class ValueType(IntEnum):
    """How a metadata value is stored; `code` is its struct format, None where the length is in the file."""

    code: str | None

    def __new__(cls, number: int, code: str | None) -> "ValueType":
        member = int.__new__(cls, number)
        member._value_ = number
        member.code = code
        return member

    UINT8 = 0, "<B"
    INT8 = 1, "<b"
    UINT16 = 2, "<H"
    INT16 = 3, "<h"
    UINT32 = 4, "<I"
    INT32 = 5, "<i"
    FLOAT32 = 6, "<f"
    BOOL = 7, "<B"
    STRING = 8, None
    ARRAY = 9, None
    UINT64 = 10, "<Q"
    INT64 = 11, "<q"
    FLOAT64 = 12, "<d"


GGML_TYPES = {member.value: member for member in GGMLType}
VALUE_TYPES = {member.value: member for member in ValueType}
