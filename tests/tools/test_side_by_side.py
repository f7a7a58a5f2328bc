"""Commands at the same time: whose line is whose, who failed, and that they do run together."""

import sys
from pathlib import Path

import pytest

from tools.side_by_side import main


def command(code: str) -> str:
    return f"{sys.executable} -c '{code}'"


def test_lines_stand_under_their_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    commands = [f"native={command('print(1); print(2)')}", f"arm={command('print(3)')}"]
    assert main([*commands, "--logs", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert [line for line in shown.splitlines() if line.startswith("native |")] == ["native | 1", "native | 2"]
    assert "arm    | 3" in shown
    assert "native: passed" in shown
    assert (tmp_path / "arm.log").read_text() == "3\n"


def test_one_failure_fails_and_its_log_is_shown_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    commands = [f"native={command('print(1)')}", f"arm={command('print(3); raise SystemExit(7)')}"]
    assert main([*commands, "--logs", str(tmp_path)]) == 1
    shown = capsys.readouterr().out
    assert "arm: FAILED with status 7" in shown
    assert "native: passed" in shown
    assert shown.count("\n3\n") == 1, "the log of what failed, without names"
    assert "\n1\n" not in shown


def test_they_run_at_the_same_time(tmp_path: Path) -> None:
    """Each waits for the other to have begun."""
    waits = (
        "import pathlib, sys, time; a, b = map(pathlib.Path, sys.argv[1:]); a.touch()\n"
        "while not b.exists(): time.sleep(0.01)"
    )
    here, there = tmp_path / "here", tmp_path / "there"
    commands = [f"left={command(waits)} {here} {there}", f"right={command(waits)} {there} {here}"]
    assert main([*commands, "--logs", str(tmp_path)]) == 0


def test_what_is_no_command_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["make test"])
    assert "NAME=COMMAND" in capsys.readouterr().err
