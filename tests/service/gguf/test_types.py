import gguf
import pytest

from service.gguf.types import GGMLType, ValueType


@pytest.mark.parametrize("ggml_type", GGMLType, ids=lambda ggml_type: ggml_type.name)
def test_number_and_block_layout_are_the_official_ones(ggml_type: GGMLType) -> None:
    official = gguf.GGMLQuantizationType[ggml_type.name]
    assert ggml_type == official
    assert gguf.GGML_QUANT_SIZES[official] == (ggml_type.block_size, ggml_type.block_bytes)


@pytest.mark.parametrize("value_type", ValueType, ids=lambda value_type: value_type.name)
def test_value_type_numbers_are_the_official_ones(value_type: ValueType) -> None:
    assert value_type == gguf.GGUFValueType[value_type.name]


def test_every_official_value_type_is_known() -> None:
    assert {member.value for member in ValueType} == {member.value for member in gguf.GGUFValueType}


def test_row_bytes() -> None:
    assert GGMLType.Q4_0.row_bytes(64) == 36
    assert GGMLType.Q6_K.row_bytes(512) == 420
    assert GGMLType.F16.row_bytes(3) == 6
