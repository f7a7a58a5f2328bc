"""The table of `make compare`, and its place in README.md."""

from pathlib import Path

import pytest

from tools.peer.llamacpp import PeerError
from tools.peer.servers import Serving
from tools.peer.serving import BEGIN, END, FIGURES, README, paragraph, replaced, table

SERVING = Serving(Path("m.gguf"), num_threads=2, max_batch=32, num_slots=16, ctx=256)


def comparison(concurrency: int, ratio: float, *, low: float | None = None) -> dict[str, object]:
    figure = {"a": 10 * ratio, "b": 10.0, "ratio": ratio, "ratio_low": low, "ratio_high": low and 2 * ratio}
    return {
        "max_concurrency": concurrency,
        "num_rounds": 3,
        "rounds": [{"a": {"failures": {}}, "b": {"failures": {"ReadError": 1}}}],
        "figures": dict.fromkeys(FIGURES, figure),
    }


def test_a_row_for_each_figure_and_load() -> None:
    rows = table([comparison(1, 2.0, low=1.5), comparison(16, 0.5)]).splitlines()[2:]
    assert len(rows) == 2 * len(FIGURES)
    assert rows[0] == "| 1 | output tokens/s | 20.0 | 10.0 | 2.00 | 1.50-4.00 |"
    assert rows[-1] == "| 16 | inter-token p95, ms | 5.0 | 10.0 | 0.50 | - |"


def test_a_figure_that_nobody_has_is_a_dash() -> None:
    assert table([{**comparison(1, 2.0), "figures": {}}]).count("| - | - | - | - |") == len(FIGURES)


def test_the_text_says_how_to_make_it_again() -> None:
    text = paragraph([comparison(1, 2.0)], SERVING, ["-r", "2"])
    assert text.startswith('`make compare ARGS="-r 2"` on ')
    assert "failed requests: Gemmule 0, llama-server 1 (ReadError)\n" in text
    assert "m.gguf" in text


def test_only_what_is_between_the_markers_is_replaced() -> None:
    assert replaced(f"a\n{BEGIN}old\n{END}b\n", "new\n") == f"a\n{BEGIN}new\n{END}b\n"
    with pytest.raises(PeerError, match="no lines"):
        replaced("a\n", "new\n")
    assert replaced(README.read_text(), "new\n").count("new\n") == 1
