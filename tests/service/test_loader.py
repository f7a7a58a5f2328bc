"""Loading a model: what it refuses, and that nothing stays open, whether it works or fails half way."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pydantic import ByteSize

from service.errors import GemmuleError, ModelFileError, SettingsError
from service.gguf.types import GGMLType
from service.loader import load_model
from service.settings import Settings
from tests.service.model.patched_gguf import patched, renamed, shaped, typed, value

PathOf = Callable[..., Path]
SETTINGS = Settings(threads=3, max_batch=4, max_step_tokens=32)


def open_files() -> set[str]:
    folder = Path("/proc/self/fd")
    links = []
    for entry in folder.iterdir():
        try:
            links.append(f"{entry.name} {os.readlink(entry)}")
        except FileNotFoundError:  # that of iterdir itself
            continue
    return set(links)


def mapped_models() -> list[str]:
    return [line for line in Path("/proc/self/maps").read_text().splitlines() if line.endswith(".gguf")]


def num_native_threads() -> int:
    return len(os.listdir("/proc/self/task"))


@contextmanager
def nothing_left() -> Iterator[None]:
    gc.collect()
    files, threads, native = open_files(), set(threading.enumerate()), num_native_threads()
    maps = mapped_models()
    yield
    gc.collect()
    assert set(threading.enumerate()) == threads
    assert num_native_threads() == native
    assert open_files() == files
    assert mapped_models() == maps


@pytest.fixture(scope="module", autouse=True)
def _warm(tiny_gguf_of: PathOf) -> None:
    """Compilers open their caches once."""
    load_model(tiny_gguf_of(), SETTINGS).close()


def test_load_and_close_leave_nothing(tiny_gguf: Path) -> None:
    with nothing_left():
        model = load_model(tiny_gguf, SETTINGS)
        assert len([thread for thread in threading.enumerate() if thread.name.startswith("gemmule-")]) >= 2
        model.close()
        model.close()  # twice is fine
        del model


def test_ten_times(tiny_gguf: Path) -> None:
    with nothing_left():
        for _ in range(10):
            load_model(tiny_gguf, SETTINGS).close()


def test_an_unclosed_model_is_closed_when_it_is_forgotten(tiny_gguf: Path) -> None:
    with nothing_left():
        load_model(tiny_gguf, SETTINGS)


def refusal(path: Path, settings: Settings, kind: type[GemmuleError] = ModelFileError) -> str:
    """The message alone: an exception holds the frames that it passed."""
    with pytest.raises(kind) as refused:
        load_model(path, settings)
    return str(refused.value)


CHANGES = {
    "configuration": value("llama.attention.head_count", 3),
    "tokenizer": renamed("tokenizer.ggml.merges", "tokenizer.ggml.xxxxxx"),
    "first tensor": renamed("token_embd.weight", "token_embx.weight"),
    "last tensor": renamed("output_norm.weight", "output_nope.weight"),
    "vocabulary": shaped("token_embd.weight", (378, 64)),
    "norm": typed("blk.1.ffn_norm.weight", GGMLType.F16),
    "context": value("llama.context_length", 1),
}


@pytest.mark.parametrize("broken", CHANGES)
def test_a_bad_file_leaves_nothing(tiny_gguf_of: PathOf, tmp_path: Path, broken: str) -> None:
    path = patched(tiny_gguf_of(tied=False), tmp_path / "broken.gguf", CHANGES[broken])
    with nothing_left():
        assert "\n" not in refusal(path, SETTINGS)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (Settings(isa="mmx"), "mmx"),
        (Settings(threads=1, kv_memory=ByteSize(1)), "kv_memory of 1 bytes is less than a block"),
        (Settings(threads=1, kv_memory=ByteSize(1 << 60), max_batch=512, ctx=1 << 24), "does not fit"),
        (Settings(threads=1, ctx=(1 << 24) + 1), "more than the model's context of 16777216 tokens"),
    ],
)
def test_bad_settings_leave_nothing(tiny_gguf: Path, tmp_path: Path, settings: Settings, message: str) -> None:
    path = patched(tiny_gguf, tmp_path / "long.gguf", value("llama.context_length", 1 << 24))
    with nothing_left():
        assert message in refusal(path, settings, SettingsError)


def test_a_bad_chat_template_leaves_nothing(tiny_gguf_of: PathOf) -> None:
    path = tiny_gguf_of(chat_template="{% for %}")
    with nothing_left():
        assert "template" in refusal(path, SETTINGS)


@pytest.mark.parametrize("num_rows", [1, 378])
def test_a_vocabulary_of_another_size(tiny_gguf: Path, tmp_path: Path, num_rows: int) -> None:
    path = patched(tiny_gguf, tmp_path / "rows.gguf", shaped("token_embd.weight", (num_rows, 64)))
    with pytest.raises(ModelFileError, match=f"379 tokens in the metadata, {num_rows} rows in token_embd.weight"):
        load_model(path, SETTINGS)


def test_the_context_is_the_models_or_what_is_asked_for(tiny_gguf: Path) -> None:
    for ctx, expected in ((None, 256), (64, 64), (256, 256)):
        model = load_model(tiny_gguf, Settings(threads=1, ctx=ctx, max_batch=2))
        assert model.max_context == expected
        assert model.num_blocks == 2 * -(-expected // 32)
        model.close()


def test_a_long_context_is_not_taken_by_the_files_claim_alone(tiny_gguf: Path, tmp_path: Path) -> None:
    path = patched(tiny_gguf, tmp_path / "long.gguf", value("llama.context_length", 1 << 24))
    model = load_model(path, Settings(threads=1, max_batch=1, kv_memory=ByteSize(1 << 20)))
    assert model.max_context == 1 << 17
    model.close()


def test_a_short_context_is_warmed_up(tiny_gguf_of: PathOf) -> None:
    load_model(tiny_gguf_of(context=2), Settings(threads=1, max_batch=1, max_step_tokens=1)).close()
