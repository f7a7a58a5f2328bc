"""`gemmule cache`: what is kept, whether it is whole, and how it goes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.service.packed.payload import fill, folder_at, header


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    folder = folder_at(tmp_path / "packed")
    for key in ("aa", "bb"):
        folder.obtain(header(key), fill)
    return tmp_path


def run(cache: Path, *arguments: str) -> tuple[int, list[str]]:
    command = [sys.executable, "-m", "service.cli", "cache", *arguments, "--cache", str(cache)]
    environ = {**os.environ, "GEMMULE_PACKED_CACHE": "1GiB"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environ)
    return done.returncode, done.stdout.splitlines()


def test_list_says_what_is_there(cache: Path) -> None:
    status, lines = run(cache, "list")
    assert status == 0
    assert len(lines) == 3
    assert all("a model  qsi4c32p16x4" in line for line in lines[:2])
    assert lines[2].endswith("of at most 1024 MiB")


def test_verify_finds_what_is_damaged(cache: Path) -> None:
    assert run(cache, "verify")[0] == 0
    path = cache / "packed" / "aa.packed"
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)
    status, lines = run(cache, "verify")
    assert status == 1
    assert sorted(line.split()[0] for line in lines) == ["damaged", "whole"]


def test_prune_to_a_limit_and_everything(cache: Path) -> None:
    assert run(cache, "prune", "--limit", "7MiB")[1][-1].endswith("MiB removed")
    assert len(list((cache / "packed").iterdir())) == 1
    assert run(cache, "prune", "--all")[0] == 0
    assert list((cache / "packed").iterdir()) == []
    assert run(cache, "list")[0] == 0
