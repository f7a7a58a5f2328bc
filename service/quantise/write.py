"""Writes a model in other types as a GGUF file. Knows no architecture and no source's format.

Matrices are taken to f32 and quantised row by row: GGML's types as llama.cpp's reference does it, ours as
kernels.quant.channel does, or kernels.quant.error_compensation after a calibration. All metadata stay as they are. The
file is written beside its name and renamed when it is whole. Quantising what is quantised loses twice: start from F16,
BF16 or F32 where there is a choice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import gguf
import numpy as np

from kernels.cpu import usable_cores
from kernels.quant.error_compensation import Compensation, quantise_compensated
from service.errors import SettingsError
from service.gguf.row_types import GGML_I8, NAMES_KEY, PREFIX, TYPES_KEY, VERSION, VERSION_KEY, RowType
from service.quantise.calibration import Calibration
from service.quantise.folder import FolderSource
from service.quantise.recipe import Made, TensorType, Wish
from service.quantise.source import Bytes, Floats, GGUFSource, ModelSource
from service.settings import Settings

CHUNK_ELEMENTS = 1 << 20  # in f32 at a time and thread

Progress = Callable[[str, int, int], None]
"""Tensor, done, tensors."""


def quantise(
    source: Path,
    target: Path,
    wish: Wish,
    progress: Progress,
    calibration: Path | None = None,
    settings: Settings | None = None,
) -> int:
    """`source`: a GGUF file, or a folder as Hugging Face keeps models. -> bytes written.

    `calibration`: a text; matrices of our own types of 4 bits are rounded so that their products on it change least.
    `settings`: for the run of the source on it. ModelFileError for a bad source, SettingsError for a type that cannot
    be written, a target that is the source or a text that is too short.
    """
    wish.check()
    if calibration is not None and source.is_dir():
        raise SettingsError(f"{source} is a folder; to calibrate, make a GGUF file of it first, of type bf16 or f16")
    if target.exists() and target.samefile(source):
        raise SettingsError(f"{target} is the model itself; name another file")
    unfinished = target.with_name(f"{target.name}.unfinished")
    model: ModelSource = FolderSource(source) if source.is_dir() else GGUFSource(source)
    with model:
        try:
            known = None
            if calibration is not None:
                known = Calibration.run(source, calibration, _compensated(model, wish), settings or Settings())
            _write(model, unfinished, wish, progress, known)
            unfinished.rename(target)
        finally:
            unfinished.unlink(missing_ok=True)
    return target.stat().st_size


def _compensated(model: ModelSource, wish: Wish) -> set[str]:
    """The matrices that a calibration is for."""
    made = _made(model, wish)
    names = {each.name for each in made if isinstance(each.type, RowType) and each.type.format.bits == 4}
    if not names:
        raise SettingsError(f"type {wish.kind} takes no calibration: it is for q4cx, mixed48 and 8da4w")
    return names


def _made(model: ModelSource, wish: Wish) -> list[Made]:
    return wish.made({name: tensor.shape for name, tensor in model.tensors.items()})


def _write(model: ModelSource, path: Path, wish: Wish, progress: Progress, known: Calibration | None) -> None:
    tensors = model.tensors
    made = _made(model, wish)
    types = {each.name: tensors[each.source].type if each.type is None else each.type for each in made}
    writer = gguf.GGUFWriter(path, model.architecture)
    try:
        for pair in model.pairs():
            element_type = None if pair.element_type is None else gguf.GGUFValueType(pair.element_type.value)
            writer.add_key_value(pair.key, pair.value, gguf.GGUFValueType(pair.value_type.value), sub_type=element_type)
        if wish.file_type is not None:
            writer.add_file_type(wish.file_type)
        writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
        _add_row_types(writer, types)
        for each in made:
            _add_info(writer, each.name, tensors[each.source].shape, types[each.name])
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for index, each in enumerate(made):
            compensation = None if known is None else known.of(each.name)
            writer.write_tensor_data(_rows(model, each, types[each.name], compensation))
            progress(each.name, index + 1, len(made))
    finally:
        writer.close()


def _add_row_types(writer: gguf.GGUFWriter, types: dict[str, TensorType]) -> None:
    """What service.gguf.row_types reads."""
    own = {name: kind.name.removeprefix(PREFIX) for name, kind in types.items() if isinstance(kind, RowType)}
    if own:
        writer.add_uint32(VERSION_KEY, VERSION)
        writer.add_array(NAMES_KEY, list(own))
        writer.add_array(TYPES_KEY, list(own.values()))


def _add_info(writer: gguf.GGUFWriter, name: str, shape: Sequence[int], kind: TensorType) -> None:
    number = GGML_I8 if isinstance(kind, RowType) else kind.value
    in_bytes = (*shape[:-1], kind.row_bytes(shape[-1]))
    writer.add_tensor_info(
        name,
        in_bytes,
        np.dtype(np.int8 if isinstance(kind, RowType) else np.uint8),
        int(np.prod(in_bytes)),
        gguf.GGMLQuantizationType(number),
    )


def _rows(model: ModelSource, made: Made, kind: TensorType, compensation: Compensation | None) -> Bytes:
    """u8[num_rows, row bytes], chunks in parallel: NumPy leaves the interpreter to the others."""
    tensor = model.tensors[made.source]
    if kind is tensor.type:
        return model.rows(made.source)
    num_rows, row_elements = int(np.prod(tensor.shape[:-1])), tensor.shape[-1]
    rows = np.empty((num_rows, kind.row_bytes(row_elements)), np.uint8)

    def convert(start: int, stop: int) -> None:
        rows[start:stop] = _quantised(model.floats(made.source, start, stop), kind, compensation)

    with ThreadPoolExecutor(usable_cores()) as pool:
        list(pool.map(lambda part: convert(*part), _parts(num_rows, max(1, CHUNK_ELEMENTS // row_elements))))
    return rows


def _quantised(floats: Floats, kind: TensorType, compensation: Compensation | None) -> Bytes:
    """f32[rows, row elements] -> u8[rows, row bytes]"""
    if isinstance(kind, RowType) and compensation is not None:
        return quantise_compensated(floats, compensation, kind.format)
    if isinstance(kind, RowType):
        return kind.format.quantise(floats)
    raw = gguf.quants.quantize(floats, gguf.GGMLQuantizationType(kind.value))
    return np.ascontiguousarray(raw).view(np.uint8)


def _parts(count: int, step: int) -> Iterator[tuple[int, int]]:
    for start in range(0, count, step):
        yield start, min(count, start + step)
