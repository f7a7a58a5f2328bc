"""The Gemma benchmark on a tiny shape: files of both types that load, and a line for every test of both."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from service.gguf.reader import open_gguf
from service.loader import load_model
from service.settings import Settings
from tools.gemma.__main__ import GEN, PROMPTS, ROWS, as_table, measured
from tools.gemma.random_gemma import TINY, write


@pytest.mark.parametrize(("kind", "feed_forward"), [("qc8", "gemmule.QC8"), ("mixed48", "gemmule.Q4CX")])
def test_types_of_the_tensors(tmp_path: Path, kind: str, feed_forward: str) -> None:
    write(tmp_path / "model.gguf", TINY, kind)
    with open_gguf(tmp_path / "model.gguf") as file:
        assert file.tensors["token_embd.weight"].type.name == "gemmule.QC8"
        assert file.tensors["blk.1.attn_q.weight"].type.name == "gemmule.QC8"
        assert file.tensors["blk.1.ffn_down.weight"].type.name == feed_forward
    assert [path.name for path in tmp_path.iterdir()] == ["model.gguf"]


def test_every_row_is_printed(tmp_path: Path) -> None:
    models = {}
    for name, kind in ROWS.items():
        write(tmp_path / f"{kind}.gguf", TINY, kind)
        settings = Settings(threads=1, ctx=max(PROMPTS), max_batch=1, max_step_tokens=512)
        models[name] = load_model(tmp_path / f"{kind}.gguf", settings)
    lines = measured(models, rounds=1)
    for model in models.values():
        model.close()
    assert [line.test for line in lines] == [*map(str, PROMPTS), "decode"]
    assert all(len(samples) == 1 and samples[0] > 0 for line in lines for samples in line.samples.values())
    assert GEN > 1
    text = StringIO()
    Console(width=100, file=text).print(as_table("tiny", lines))
    for name in ROWS:
        for test in (*PROMPTS, "decode"):
            assert f"{name}/{test}" in text.getvalue()
