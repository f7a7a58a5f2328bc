"""Writes what the image is made of: a CycloneDX bill of materials, and the licences of all wheels in one file.

`python -m tools.image.sbom SITE FOLDER`: SITE holds the installed wheels; Debian's own packages are read with
dpkg-query, where there is one. Debian keeps its licences in /usr/share/doc.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any

LICENCE_NAMES = ("licen", "copying", "notice", "authors")
RULE = "=" * 100


def wheel_components(site: Path) -> Iterator[dict[str, Any]]:
    """One for each installed wheel, by name."""
    for found in sorted(distributions(path=[str(site)]), key=lambda one: one.name.lower()):
        metadata = found.metadata.json
        licence = str(metadata.get("license_expression") or metadata.get("license") or "see NOTICES.txt")
        yield {
            "type": "library",
            "name": found.name,
            "version": found.version,
            "purl": f"pkg:pypi/{found.name.lower().replace('_', '-')}@{found.version}",
            "licenses": [{"license": {"name": licence.splitlines()[0][:100]}}],
        }


def debian_components() -> Iterator[dict[str, Any]]:
    """One for each installed Debian package; none where there is no dpkg."""
    command = ["dpkg-query", "--show", "--showformat", "${Package}\t${Version}\t${Architecture}\n"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (FileNotFoundError, subprocess.CalledProcessError):
        return
    for line in sorted(done.stdout.splitlines()):
        name, version, arch = line.split("\t")
        purl = f"pkg:deb/debian/{name}@{version}?arch={arch}"
        yield {"type": "library", "name": name, "version": version, "purl": purl}


def bill(components: list[dict[str, Any]]) -> dict[str, Any]:
    """CycloneDX 1.6, without a date or a number drawn at random: the same image has the same bill."""
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": {"type": "container", "name": "gemmule"}},
        "components": components,
    }


def notices(site: Path) -> str:
    """The licence files that the wheels carry, one after the other."""
    parts = []
    for found in sorted(distributions(path=[str(site)]), key=lambda one: one.name.lower()):
        for path in _licence_files(found):
            head = f"{RULE}\n{found.name} {found.version}: {path.name}\n{RULE}\n"
            parts.append(f"{head}{path.read_text('utf-8', 'replace')}\n")
    return "\n".join(parts)


def _licence_files(found: Distribution) -> Iterator[Path]:
    for file in sorted(found.files or (), key=str):
        if ".dist-info" in str(file) and file.name.lower().startswith(LICENCE_NAMES):
            path = Path(str(found.locate_file(file)))
            if path.is_file():
                yield path


def main() -> None:
    site, folder = Path(sys.argv[1]), Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    components = [*wheel_components(site), *debian_components()]
    (folder / "sbom.cdx.json").write_text(json.dumps(bill(components), indent=1) + "\n")
    (folder / "NOTICES.txt").write_text(notices(site))
    print(f"{len(components)} components")


if __name__ == "__main__":
    main()
