"""Writes deploy/image/requirements.lock: every wheel of the image with its hashes, for both platforms.

`python -m tools.image.lock` takes the versions from requirements.lock and asks pip which wheels it would install where.
The image is then installed with `--require-hashes`: the same bytes on every build.
"""

import json
import subprocess
import sys
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
VERSIONS = REPOSITORY / "requirements.lock"
FOLDER = REPOSITORY / "deploy" / "image"
EXTRAS = ("otlp",)
PYTHON_VERSION = "3.11"  # Debian bookworm's
MACHINES = ("x86_64", "aarch64")
GLIBC_MINORS = range(17, 37)
LEFT_OUT = ("fsspec", "hf-xet", "httpcore2", "httpx2", "huggingface-hub", "truststore")
"""What tokenizers wants for fetching files from a hub, which nothing here does: 30 MB of an image."""
HEAD = """\
# The wheels of the image for linux/amd64 and linux/arm64, with their hashes; made by `make image-lock`.
"""


def requirements() -> list[str]:
    """What the service needs, from pyproject.toml."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    return [*project["dependencies"], *(line for extra in EXTRAS for line in extras[extra])]


def build_requirements() -> list[str]:
    """What makes the project's own wheel."""
    return list(tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["build-system"]["requires"])


def wheels(wanted: list[str], machine: str) -> Iterator[dict[str, Any]]:
    """What pip would install there: name, version and hash of each wheel."""
    tags = [f"manylinux_2_{minor}_{machine}" for minor in GLIBC_MINORS] + [f"manylinux2014_{machine}"]
    platform = [option for tag in tags for option in ("--platform", tag)]
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--dry-run"]
    target = ["--ignore-installed", "--target", "unused", "--python-version", PYTHON_VERSION, "--only-binary=:all:"]
    report = ["--report", "-", "--constraint", str(VERSIONS)]
    done = subprocess.run([*command, *target, *platform, *report, *wanted], stdout=subprocess.PIPE, check=True)
    for installed in json.loads(done.stdout)["install"]:
        metadata = installed["metadata"]
        hashes = installed["download_info"]["archive_info"]["hashes"]
        yield {"name": metadata["name"], "version": metadata["version"], "sha256": hashes["sha256"]}


def locked(wanted: list[str]) -> str:
    """The lines of a lock: a version for both platforms, and every hash that either may meet."""
    hashes: dict[tuple[str, str], set[str]] = defaultdict(set)
    for machine in MACHINES:
        for wheel in wheels(wanted, machine):
            hashes[wheel["name"].lower().replace("_", "-"), wheel["version"]].add(wheel["sha256"])
    lines = [HEAD]
    for (name, version), found in sorted(hashes.items()):
        if name in LEFT_OUT:
            continue
        listed = "".join(f" \\\n    --hash=sha256:{value}" for value in sorted(found))
        lines.append(f"{name}=={version}{listed}\n")
    return "".join(lines)


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / "requirements.lock").write_text(locked(requirements()))
    (FOLDER / "build.lock").write_text(locked(build_requirements()))


if __name__ == "__main__":
    main()
