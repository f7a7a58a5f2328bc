"""Several models in one process: one team, the KV memory split, and one that is broken leaves the others alone."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import ByteSize

from service.errors import ModelFileError, SettingsError
from service.load_models import load_models
from service.settings import MAX_MODELS, Settings

PathOf = Callable[..., Path]


def settings_of(*models: Path, **changes: object) -> Settings:
    values = {"model": ",".join(map(str, models)), "threads": 3, "max_batch": 2, "max_step_tokens": 16, **changes}
    return Settings.model_validate(values)


@pytest.fixture
def two(tiny_gguf_of: PathOf, tmp_path: Path) -> tuple[Path, Path]:
    paths = tmp_path / "first.gguf", tmp_path / "second.gguf"
    for path, weight_type in zip(paths, ("Q4_0", "Q8_0"), strict=True):
        path.write_bytes(tiny_gguf_of(weight_type=weight_type).read_bytes())
    return paths


def test_they_share_the_team_and_the_memory(two: tuple[Path, Path]) -> None:
    before = threading.active_count()
    alone = load_models(settings_of(two[0]))
    assert [model.name for model in alone] == ["first"]
    block_bytes = alone[0].kv.layout.num_bytes // alone[0].num_blocks
    alone[0].close()
    models = load_models(settings_of(*two, kv_memory=ByteSize(8 * block_bytes)))
    assert [model.name for model in models] == ["first", "second"]
    assert threading.active_count() == before + 2, "a team of three, with the one that runs a step"
    assert [model.num_blocks for model in models] == [4, 4]
    models[0].close()
    assert threading.active_count() == before + 2
    models[1].close()
    assert threading.active_count() == before


def test_one_that_is_broken_is_reported(
    two: tuple[Path, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF")
    with caplog.at_level(logging.ERROR):
        models = load_models(settings_of(two[0], broken, tmp_path / "missing.gguf", two[1]))
    assert [model.name for model in models] == ["first", "second"]
    said = [record.getMessage() for record in caplog.records]
    assert [line.split(" is not served: ")[0] for line in said] == [
        f"the model {broken}",
        f"the model {tmp_path / 'missing.gguf'}",
    ]
    for model in models:
        model.close()


def test_without_any_it_is_the_first_error(tmp_path: Path) -> None:
    before = threading.active_count()
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF")
    with pytest.raises(ModelFileError, match=r"broken\.gguf"):
        load_models(settings_of(broken, tmp_path / "missing.gguf"))
    assert threading.active_count() == before


def test_names_tell_them_apart(two: tuple[Path, Path], caplog: pytest.LogCaptureFixture) -> None:
    models = load_models(settings_of(two[0], two[0]))
    assert [model.name for model in models] == ["first"]
    assert "two models are called 'first'" in caplog.text
    models[0].close()
    models = load_models(settings_of(two[0], two[0], served_name="a, b"))
    assert [model.name for model in models] == ["a", "b"]
    for model in models:
        model.close()


def test_the_setting() -> None:
    assert Settings(model="a.gguf, b.gguf,").models == ("a.gguf", "b.gguf")
    assert Settings(model="a.gguf", served_name="x,y").served_names == ("x,y",)
    with pytest.raises(SettingsError, match="1 served names for 2 models"):
        Settings(model="a,b", served_name="x")
    with pytest.raises(SettingsError, match="differ"):
        Settings(model="a,b", served_name="x,x")
    with pytest.raises(SettingsError, match=f"at most {MAX_MODELS}"):
        Settings(model=",".join(map(str, range(MAX_MODELS + 1))))


def test_a_file_with_a_comma_is_one_model(tmp_path: Path) -> None:
    path = tmp_path / "a,b.gguf"
    path.touch()
    assert Settings(model=str(path)).models == (str(path),)
