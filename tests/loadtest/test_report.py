"""Results as files."""

import csv
import json
from pathlib import Path

import pytest

from loadtest.__main__ import main
from loadtest.load import Load
from loadtest.report import CannotReport, as_page, check_report, write_report
from tests.loadtest.mock_server import Delays
from tests.loadtest.test_benchmark import measured

RESULTS = [measured(Delays(), Load(6, concurrency=number)) for number in (1, 3)]


def test_csv_has_a_line_a_load(tmp_path: Path) -> None:
    write_report(tmp_path / "r.csv", RESULTS)
    with (tmp_path / "r.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["max_concurrency"] for row in rows] == ["1", "3"]
    assert float(rows[0]["mean_ttft_ms"]) == pytest.approx(250)


def test_json_has_every_request(tmp_path: Path) -> None:
    write_report(tmp_path / "r.json", RESULTS[:1])
    whole = json.loads((tmp_path / "r.json").read_text())
    assert len(whole["ttfts"]) == len(whole["errors"]) == 6
    assert whole["itls"][0] == pytest.approx([0.02] * 10)


@pytest.mark.parametrize(("suffix", "starts"), [("png", b"\x89PNG"), ("svg", b"<?xml")])
def test_pictures(tmp_path: Path, suffix: str, starts: bytes) -> None:
    pytest.importorskip("matplotlib")
    write_report(tmp_path / f"r.{suffix}", RESULTS)
    assert (tmp_path / f"r.{suffix}").read_bytes().startswith(starts)


def test_a_page_holds_its_picture_and_the_figures() -> None:
    pytest.importorskip("matplotlib")
    page = as_page(RESULTS)
    assert "data:image/png;base64," in page
    assert "<th>p99_ttft_ms</th><td>250.00</td><td>250.00</td>" in page


def test_a_run_without_answers_can_be_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    write_report(tmp_path / "r.png", [measured(Delays(refuses=lambda number: 503), Load(2, concurrency=1))])


def test_what_cannot_be_written_is_said_before_the_load(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(CannotReport, match="ends in one of"):
        check_report(tmp_path / "r.txt")
    assert main(["http://127.0.0.1:9", "--report", str(tmp_path / "absent" / "r.csv")]) == 2
    assert "there is no folder" in capsys.readouterr().err
