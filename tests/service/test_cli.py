"""The command line as users meet it: quick help, one clear line on failure, flags that are settings."""

import inspect
import os
import re
import resource
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from service import cli
from service.settings import Settings


def gemmule(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "service.cli", *arguments],
        env={**os.environ, "TERM": "dumb", "COLUMNS": "100", **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize(
    "command",
    [
        [],
        ["serve"],
        ["config"],
        ["pull"],
        ["bench"],
        ["eval"],
        ["quantize"],
        ["kernels"],
        *(["kernels", name] for name in ("list", "explain", "bench", "asm")),
    ],
)
def test_every_command_has_help(command: list[str]) -> None:
    result = gemmule(*command, "--help")
    assert result.returncode == 0
    assert "Usage: gemmule" in result.stdout
    assert result.stderr == ""


def test_help_imports_nothing_heavy() -> None:
    heavy = ["numba", "numpy", "fastapi", "pydantic", "uvicorn", "tokenizers", "prometheus_client", "structlog"]
    script = f"import sys, service.cli; print([name for name in {heavy} if name in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "[]"


def test_help_is_quick() -> None:
    def seconds() -> float:
        """Of the CPU, for the machine may be busy."""
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        gemmule("--help")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert min(seconds() for _ in range(5)) < 0.5


def test_the_flags_of_serve_are_the_settings() -> None:
    flags = inspect.signature(cli.serve).parameters
    own = {name: flag for name, flag in flags.items() if name != "no_cache"}  # a word for one value of a setting
    assert list(own) == list(Settings.model_fields)
    for name, flag in own.items():
        assert flag.default is None, name
        (described,) = flag.annotation.__metadata__
        assert described.help == Settings.model_fields[name].description, name


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["serve", "--bogus"], 2, "--bogus"),
        (["nonsense"], 2, "nonsense"),
        (["bench"], 2, "Missing argument"),
        (["bench", "x", "-p", "many"], 2, "-p wants numbers"),
        (["bench", "x", "-n", "1,-2"], 2, "-n wants numbers"),
        (["bench", "x", "-t", "0"], 2, "-t wants"),
        (["bench", "x", "-r", "0"], 2, "-r"),
        (["serve", "--port", "abc"], 1, "--port=abc: "),
        (["serve", "--max-batch", "600"], 1, "max_batch=600 is more than max_step_tokens=512"),
        (["serve", "/no/such/model.gguf", "--port", "0"], 1, "/no/such/model.gguf"),
        (["bench", "/no/such/model.gguf"], 1, "/no/such/model.gguf"),
        (["pull", "no-such-model"], 1, "no-such-model"),
    ],
)
def test_failures_are_one_clear_line(arguments: list[str], status: int, says: str) -> None:
    result = gemmule(*arguments)
    assert result.returncode == status, result.stderr
    (line,) = result.stderr.splitlines()
    assert line.startswith("gemmule: ")
    assert says in line


def test_cache_is_where_a_model_is_looked_for(tmp_path: Path) -> None:
    broken = tmp_path / "models" / "smollm2-135m-instruct.gguf"
    broken.parent.mkdir()
    broken.write_bytes(b"half of it")
    for arguments in (["serve", "--port", "0"], ["bench", broken.stem]):
        result = gemmule(*arguments, "--cache", str(tmp_path))
        assert result.returncode == 1
        assert f"{broken} has 10 bytes instead of" in result.stderr


def test_pull_goes_to_the_cache_that_is_named(tmp_path: Path) -> None:
    (tmp_path / "models").write_bytes(b"in the way")
    for flags, environment in ((["--cache", str(tmp_path)], {}), ([], {"GEMMULE_CACHE": str(tmp_path)})):
        result = gemmule("pull", *flags, **environment)
        assert result.returncode == 1
        assert f"cannot write smollm2-135m-instruct to {tmp_path / 'models'}: " in result.stderr


def test_an_unknown_variable_is_an_error() -> None:
    result = gemmule("serve", GEMMULE_THREAD="2")
    assert result.returncode == 1
    assert result.stderr == "gemmule: unknown setting GEMMULE_THREAD; the nearest known one is GEMMULE_THREADS\n"


def test_a_port_in_use_is_an_error_before_the_model_is_loaded() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = gemmule("serve", "--port", str(port))
    assert result.returncode == 1
    assert result.stderr == f"gemmule: cannot listen on 127.0.0.1:{port}: Address already in use\n"


@pytest.mark.parametrize("content", [b"", b"GGUF", b"not a model at all", os.urandom(4096)])
def test_a_file_that_is_no_model_is_an_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.gguf"
    path.write_bytes(content)
    result = gemmule("serve", str(path), "--port", "0", GEMMULE_CACHE=str(tmp_path / "cache"))
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith("gemmule: ")
    assert "broken.gguf" in line


def test_version() -> None:
    assert re.fullmatch(r"gemmule \d+\.\d+\.\d+\S*\n", gemmule("--version").stdout)


def test_kernels_list_and_its_filter() -> None:
    every = gemmule("kernels", "list").stdout.splitlines()
    some = gemmule("kernels", "list", "--filter", "_scalar").stdout.splitlines()
    assert every[0].split() == ["WEIGHTS", "FOR", "RUNG", "HERE", "MICRO-KERNEL"]
    assert 1 < len(some) < len(every)
    assert all(line.split()[2:4] == ["scalar", "yes"] for line in some[1:])
