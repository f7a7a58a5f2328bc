"""service/rpc/proto/**/*.proto -> messages (_pb2.py) and their types (_pb2.pyi), beside them: `make proto`.

Only messages are generated: service.rpc.methods binds the services' methods from their descriptors. `--check` writes
nothing and fails if what is there is not what would be made.
"""

import sys
import tempfile
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parents[2] / "service" / "rpc" / "proto"


def made_files() -> Iterator[tuple[Path, str]]:
    """Where each generated file belongs, and what is in it."""
    sources = sorted(str(path.relative_to(ROOT)) for path in ROOT.rglob("*.proto"))
    well_known = str(files("grpc_tools") / "_proto")
    with tempfile.TemporaryDirectory() as folder:
        status = protoc.main(
            ["protoc", f"-I{ROOT}", f"-I{well_known}", f"--python_out={folder}", f"--pyi_out={folder}", *sources]
        )
        if status:
            raise SystemExit(status)
        for path in sorted(Path(folder).rglob("*_pb2.py*")):
            yield ROOT / path.relative_to(folder), path.read_text()


def main() -> int:
    is_check = sys.argv[1:] == ["--check"]
    stale = [(path, text) for path, text in made_files() if not path.exists() or path.read_text() != text]
    for path, text in stale:
        print(f"{'stale' if is_check else 'made'}: {path.relative_to(ROOT)}")
        if not is_check:
            path.write_text(text)
    return 1 if is_check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
