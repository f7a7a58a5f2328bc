"""The digest of a module: changed by an edit in anything it imports, and by nothing else."""

import ast
from pathlib import Path

import pytest

from kernels.jit.sources import ROOT, closure, digest, imports, is_as_imported, package_digest

SOURCES = {
    "__init__.py": "",
    "top.py": "import math\nfrom kernels.middle import (\n    thing,\n)\n",
    "middle.py": "def thing():\n    from kernels.inner import bottom\n    return bottom\n",
    "inner/__init__.py": "",
    "inner/bottom.py": "import kernels.middle\nX = 1\n",
    "inner/other.py": "X = 1\n",
    "apart.py": "import os\n",
}


def tree(root: Path, changes: dict[str, str]) -> Path:
    for name, text in {**SOURCES, **changes}.items():
        path = root / "kernels" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_the_closure(tmp_path: Path) -> None:
    root = tree(tmp_path, {})
    assert closure("kernels.top", root) == {"kernels.top", "kernels.middle", "kernels.inner", "kernels.inner.bottom"}
    assert closure("kernels.apart", root) == {"kernels.apart"}


@pytest.mark.parametrize("name", SOURCES)
def test_an_edit_changes_the_digest_if_it_can_be_reached(tmp_path: Path, name: str) -> None:
    before = digest("kernels.top", tree(tmp_path / "before", {}))
    after = digest("kernels.top", tree(tmp_path / "after", {name: SOURCES[name] + "# edited\n"}))
    assert (before != after) == (name in ("top.py", "middle.py", "inner/__init__.py", "inner/bottom.py"))


@pytest.mark.parametrize("name", SOURCES)
def test_a_source_that_is_written_later_is_not_what_runs(tmp_path: Path, name: str) -> None:
    root = tree(tmp_path, {})
    newest = max(path.stat().st_ctime_ns for path in root.rglob("*.py"))
    assert is_as_imported("kernels.top", root, newest)
    path = root / "kernels" / name
    while path.stat().st_ctime_ns <= newest:
        path.write_text(SOURCES[name] + "# edited\n")
    is_reached = name in ("top.py", "middle.py", "inner/__init__.py", "inner/bottom.py")
    assert is_as_imported("kernels.top", root, newest) != is_reached


def test_the_sampler_reaches_the_exponential_and_no_family() -> None:
    reached = closure("kernels.ops.sampling.op")
    assert {"kernels.jit.exponential", "kernels.runtime.abi", "kernels.ops.sampling.select"} <= reached
    assert not any(name.startswith("kernels.families") for name in reached)


def test_the_pattern_finds_what_the_parser_finds() -> None:
    for path in (ROOT / "kernels").rglob("*.py"):
        named = set()
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.Import):
                named |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                named |= {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)}
        files = {name: ROOT.joinpath(*name.split(".")) for name in named if name.split(".")[0] == "kernels"}
        modules = {name for name, file in files.items() if file.is_dir() or file.with_suffix(".py").exists()}
        assert imports(".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")) == modules


def test_the_whole_package_is_other_by_an_edit_anywhere(tmp_path: Path) -> None:
    whole = package_digest(tree(tmp_path / "a", {}))
    assert package_digest(tree(tmp_path / "b", {})) == whole
    digests = {
        package_digest(tree(tmp_path / name, {name: "X = 2\n"})) for name in ("apart.py", "inner/bottom.py", "new.py")
    }
    assert len(digests | {whole}) == 4
