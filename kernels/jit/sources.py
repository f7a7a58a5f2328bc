"""The sources that a module of `kernels` is made of: its own and those it imports, as one digest. Imports nothing.

A compiled function is kept under the digest of its module: an edit anywhere it could reach gives a new name, an edit
elsewhere does not.
"""

import functools
import hashlib
import re
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
PACKAGE = "kernels"
_IMPORT = re.compile(
    rf"^[ \t]*(?:from[ ]+(\.|{PACKAGE}(?:\.\w+)*)\S*[ ]+import[ ]+(\([^)]*\)|.*)|import[ ]+(.*))", re.MULTILINE
)
_NAME = re.compile(r"\w+")
_DOTTED = re.compile(rf"\b{PACKAGE}(?:\.\w+)*")
IMPORTED_NS = time.time_ns()
"""When this process read its sources, or so."""


def is_as_imported(module: str, root: Path = ROOT, imported_ns: int = IMPORTED_NS) -> bool:
    """Whether the files that `digest` reads are what runs: none that the module reaches was written since."""
    return all(_path(name, root).stat().st_ctime_ns <= imported_ns for name in closure(module, root))


@functools.cache
def digest(module: str, root: Path = ROOT) -> str:
    """Of every source that `module` reaches by imports within the package."""
    total = hashlib.sha256()
    for name in sorted(closure(module, root)):
        total.update(f"\0{name}\0".encode())
        total.update(_path(name, root).read_bytes())
    return total.hexdigest()[:16]


@functools.cache
def package_digest(root: Path = ROOT) -> str:
    """Of all sources of the package, whoever imports them: quick, for nothing is parsed."""
    total = hashlib.sha256()
    for path in sorted((root / PACKAGE).rglob("*.py")):
        total.update(f"\0{path.relative_to(root)}\0".encode())
        total.update(path.read_bytes())
    return total.hexdigest()[:16]


def closure(module: str, root: Path = ROOT) -> frozenset[str]:
    """The module and all that it imports, directly or not."""
    found, waiting = {module}, [module]
    while waiting:
        for name in imports(waiting.pop(), root):
            if name not in found:
                found.add(name)
                waiting.append(name)
    return frozenset(found)


@functools.cache
def imports(module: str, root: Path = ROOT) -> frozenset[str]:
    """The modules of the package that this one names in import statements, wherever they stand."""
    return frozenset(name for name in _named(_path(module, root).read_text()) if _path(name, root).exists())


def _named(source: str) -> Iterator[str]:
    """By pattern: to parse a hundred modules would take a tenth of every start. What looks like an import is one."""
    for statement in _IMPORT.finditer(source):
        module, names, modules = statement.groups()
        assert module != ".", "relative imports are not followed"
        if module:
            yield module
            yield from (f"{module}.{name}" for name in _NAME.findall(names))
        else:
            yield from _DOTTED.findall(modules)


def _path(name: str, root: Path) -> Path:
    """The file of a module or of a package's __init__; one that does not exist if there is neither."""
    base = root.joinpath(*name.split("."))
    package = base / "__init__.py"
    return package if package.exists() else base.with_suffix(".py")
