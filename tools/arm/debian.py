"""Fetches and unpacks Debian packages of any architecture into a folder. Knows apt and dpkg, no Python and no QEMU.

Works without root and leaves the machine's own apt state as it is: every suite gets lists, cache and status of its
own. The mirror is the one in the machine's apt sources; DEBIAN_MIRROR names another.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
SUITES = r"bookworm|trixie|forky|sid|stable|testing|unstable"
# An empty status file makes apt resolve the whole closure, as for an empty machine of that architecture.
CONFIGURATION = """\
Dir::Etc::sourcelist "/dev/null";
Dir::Etc::sourceparts "{folder}/sources";
Dir::Etc::preferencesparts "/dev/null";
Dir::State "{folder}/state";
Dir::State::status "{folder}/status";
Dir::Cache "{folder}/cache";
APT::Architecture "{arch}";
APT::Architectures {{ "{arch}"; }};
APT::Install-Recommends "false";
APT::Sandbox::User "{user}";
Acquire::Languages "none";
Acquire::Retries "3";
"""


class DebianError(Exception):
    """A package could not be had; the message says which, and what to do."""


@dataclass(frozen=True, slots=True)
class Suite:
    """One suite for one architecture, with a working folder."""

    name: str
    arch: str
    folder: Path

    def fetch(self, packages: Sequence[str], *, closure: bool) -> list[Path]:
        """Downloads the packages, with all that they depend on if `closure`; returns the archives."""
        self._update()
        archives = self.folder / "cache/archives"
        if closure:
            self._apt(["--yes", "--download-only", "install", *packages], cwd=self.folder)
        else:
            self._apt(["download", *packages], cwd=archives)
        return sorted(archives.glob("*.deb"))

    def _update(self) -> None:
        refusals = []
        for mirror in mirrors():
            self._write_configuration(mirror)
            try:
                return self._apt(["update", "--error-on=any"], cwd=self.folder)
            except DebianError as error:
                refusals.append(str(error))
        reasons = "; ".join(refusals) or "no Debian mirror in the apt sources: set DEBIAN_MIRROR to the address of one"
        raise DebianError(f"cannot read {self.name} for {self.arch}: {reasons}")

    def _write_configuration(self, mirror: str) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        for name in ("sources", "state/lists/partial", "cache/archives/partial"):
            (self.folder / name).mkdir(parents=True)
        (self.folder / "status").touch()
        (self.folder / "sources/debian.sources").write_text(
            f"Types: deb\nURIs: {mirror}\nSuites: {self.name}\nComponents: main\n"
            f"Architectures: {self.arch}\nSigned-By: {KEYRING}\n"
        )
        # apt drops to its own user when it is root, who may not write here.
        user = "root" if os.geteuid() == 0 else ""
        configuration = CONFIGURATION.format(folder=self.folder, arch=self.arch, user=user)
        (self.folder / "apt.conf").write_text(configuration)

    def _apt(self, arguments: Sequence[str], cwd: Path) -> None:
        environment = {**os.environ, "APT_CONFIG": str(self.folder / "apt.conf"), "LC_ALL": "C.UTF-8"}
        command = ["apt-get", "-qq", *arguments]
        done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            lines = [line for line in done.stderr.splitlines() if line.startswith("E:")] or done.stderr.splitlines()
            raise DebianError((lines or [f"apt-get ended with status {done.returncode}"])[0])


def mirrors() -> list[str]:
    """The Debian mirrors of this machine's apt sources, in their order, whatever the format of the sources."""
    if named := os.environ.get("DEBIAN_MIRROR"):
        return [named]
    if shutil.which("apt-get") is None:
        raise DebianError("apt-get is missing: the Arm tests take their packages from Debian")
    listed = subprocess.run(
        ["apt-get", "update", "--print-uris"], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    ).stdout
    return mirrors_in(listed)


def mirrors_in(listed: str) -> list[str]:
    """The mirrors in what `apt-get update --print-uris` prints: 'MIRROR/dists/SUITE/InRelease' x 0, line by line."""
    return list(dict.fromkeys(re.findall(rf"'(\S+?)/dists/(?:{SUITES})/InRelease'", listed)))


def unpack(archives: Sequence[Path], root: Path) -> None:
    """Lays the files of the archives under `root`; no package script runs."""
    root.mkdir(parents=True, exist_ok=True)
    for archive in archives:
        subprocess.run(["dpkg-deb", "--extract", str(archive), str(root)], check=True)


def machine_arch() -> str:
    """Debian's name of this machine's architecture."""
    return subprocess.run(["dpkg", "--print-architecture"], capture_output=True, text=True, check=True).stdout.strip()
