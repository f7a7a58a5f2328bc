"""The shape of the tree: imports go down only, files are short and say what they are, names mean something."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PRODUCT = ("kernels", "service", "loadtest")
MAX_LINES = 300
EMPTY_NAMES = {"utils", "util", "helpers", "helper", "common", "misc"}

# Highest first. A unit may import itself and what stands on a lower line; docs/architecture.md says why they stand so.
LAYERS = (
    ("service.cli",),
    (
        "service.cache_commands",
        "service.kernel_commands",
        "service.model_commands",
        "service.observe_commands",
    ),
    (
        "service.app",
        "service.bench",
        "service.cache_list",
        "service.cluster",
        "service.explain_steps",
        "service.kernel_assembly",
        "service.kernel_bench",
        "service.kernel_list",
        "service.quality",
        "service.quantise",
        "service.top",
        "service.trace_command",
    ),
    ("service.load_models",),
    ("service.load_draft",),
    ("service.assembly", "service.loader", "service.http", "service.rpc", "service.bench_report"),
    ("service.gemmule_model", "service.warm_up"),
    ("service.machine_facts",),
    ("service.access", "service.explain", "service.generate", "service.metrics", "service.tracing"),
    ("service.engine", "service.huggingface", "service.structured"),
    ("service.model", "service.pull", "service.tokenizer"),
    ("service.flags",),
    (
        "service.gguf",
        "service.packed",
        "service.settings",
        "service.logs",
        "service.request_context",
        "service.demo_models",
        "service.pull_progress",
        "service.count_progress",
        "service.start_memory",
    ),
    ("service.setting_sources",),
    ("service.errors",),
    ("kernels.autotune",),
    ("kernels.attention", "kernels.matmul", "kernels.ops", "kernels.peaks"),
    ("kernels.registry", "kernels.select", "kernels.self_test"),
    ("kernels.families",),
    ("kernels.checksum", "kernels.pieces", "kernels.quant", "kernels.runtime"),
    ("kernels.jit",),
    ("kernels.ladder", "kernels.naming"),
    ("kernels.cpu",),
    ("kernels.errors", "kernels.folder"),
)
DEPTH = {unit: depth for depth, layer in enumerate(LAYERS) for unit in layer}


def modules(*folders: str) -> list[Path]:
    """Every Python file of the folders, relative to the repository."""
    return [path.relative_to(ROOT) for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


def name_of(path: Path) -> str:
    """kernels/jit/ir.py -> kernels.jit.ir; a package has the name of its folder."""
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


def unit_of(name: str) -> str:
    """kernels.jit.ir -> kernels.jit"""
    return ".".join(name.split(".")[:2])


def package_of(path: Path) -> str:
    """What a relative import in this module starts from."""
    return name_of(path.parent)


def imported_names(source: str, package: str) -> Iterator[tuple[int, str]]:
    """Line and full name of everything that is imported, wherever it stands: `from a.b import c` is a.b.c."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")
            above = parts[: len(parts) + 1 - node.level] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)


def wrong_imports(path: Path, source: str) -> Iterator[str]:
    """The imports of one module that do not go down, each as a line to read."""
    unit = unit_of(name_of(path))
    for line, imported in imported_names(source, package_of(path)):
        target = unit_of(imported)
        if target.split(".")[0] not in PRODUCT or target == unit:
            continue
        if target not in DEPTH:
            yield f"{path}:{line} imports {imported}: which layer is {target} in?"
        elif DEPTH[target] <= DEPTH[unit]:
            yield f"{path}:{line} {unit} imports {target}, which is not below it"


def test_every_unit_has_its_layer() -> None:
    units = {unit_of(name_of(path)) for path in modules("kernels", "service")} - {"kernels", "service"}
    assert units <= set(DEPTH), "say in LAYERS where these stand"


@pytest.mark.parametrize("path", modules("kernels", "service"), ids=str)
def test_imports_go_down_only(path: Path) -> None:
    source = (ROOT / path).read_text()
    if unit_of(name_of(path)) in ("kernels", "service"):
        assert not list(imported_names(source, package_of(path))), "the packages themselves import nothing"
    else:
        assert not list(wrong_imports(path, source))


def test_loadtest_is_a_client() -> None:
    """It talks HTTP and knows nothing of what answers."""
    paths = modules("loadtest")
    names = [name for path in paths for _, name in imported_names((ROOT / path).read_text(), package_of(path))]
    assert not [name for name in names if name.split(".")[0] in ("kernels", "service")]


@pytest.mark.parametrize("path", modules(*PRODUCT), ids=str)
def test_files_are_short(path: Path) -> None:
    assert len((ROOT / path).read_text().splitlines()) <= MAX_LINES, "one noun per file: split it"


@pytest.mark.parametrize("path", modules(*PRODUCT, "tools"), ids=str)
def test_modules_say_what_they_are(path: Path) -> None:
    said = ast.get_docstring(ast.parse((ROOT / path).read_text()))
    assert (said or "").strip(), "a docstring: what it is, what it does not know"


def test_names_mean_something() -> None:
    paths = modules(*PRODUCT, "tools", "tests")
    assert not [path for path in paths if EMPTY_NAMES & {part.removesuffix(".py") for part in path.parts}]


@pytest.mark.parametrize(
    "source",
    [
        "import service.app",
        "from service import model",
        "from service.engine.loop import EngineThread",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from service.engine import plan",
        "def late():\n    from .. import http",
        "from ..tokenizer import vocabulary",
        "import kernels",
    ],
)
def test_the_walk_finds_what_goes_up(source: str) -> None:
    assert len(list(wrong_imports(Path("service/gguf/cursor.py"), source))) == 1


@pytest.mark.parametrize(
    "source",
    ["from service.errors import ModelFileError", "from . import fields", "from .. import errors", "import os"],
)
def test_the_walk_lets_pass_what_goes_down(source: str) -> None:
    assert not list(wrong_imports(Path("service/gguf/cursor.py"), source))
