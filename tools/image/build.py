"""Builds the image from the Dockerfile by buildah, without an engine, for one platform. Needs root.

The other platform's own steps (what numba compiles, Debian's packages) run under emulation: minutes, once, for buildah
keeps each finished step. The build's network is this machine's, with the certificates and index that pip has here.
"""

import os
import subprocess
import tempfile
from pathlib import Path

from tools.image.base import ImageError, base_image, say

REPOSITORY = Path(__file__).resolve().parents[2]
NATIVE = {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]
CERTIFICATES = "/run/image/ca.crt"


def build(arch: str) -> str:
    """The image's name. What the steps say goes to standard error."""
    image = f"localhost/gemmule:{arch}"
    revision = subprocess.run(["git", "rev-parse", "HEAD"], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    # buildah knows the platforms in a FROM only if it is told; a builder does by itself.
    arguments = {
        "BUILDPLATFORM": f"linux/{NATIVE}",
        "TARGETPLATFORM": f"linux/{arch}",
        "BUILD_BASE": base_image(NATIVE),
        "BASE": base_image(arch),
        "REVISION": revision.stdout.strip(),
    }
    with tempfile.TemporaryDirectory(prefix="image-") as folder:
        configuration = Path(folder) / "pip.conf"
        configuration.write_text(pip_configuration(os.environ))
        volumes = [f"{configuration}:/etc/pip.conf:ro"]
        if bundle := certificates(os.environ):
            volumes.append(f"{bundle}:{CERTIFICATES}:ro")
        command = ["buildah", "build", "--layers", "--isolation", "chroot", "--pull-never", "--network", "host"]
        command += ["--format", "docker", "--platform", f"linux/{arch}", "--tag", image]
        command += [word for name, value in arguments.items() for word in ("--build-arg", f"{name}={value}")]
        command += [word for volume in volumes for word in ("--volume", volume)]
        say(f"building {image}")
        if (status := subprocess.run([*command, str(REPOSITORY)], stdout=2, check=False).returncode) != 0:
            raise ImageError(f"buildah build of {image} ended with {status}")
    return image


def certificates(environment: "os._Environ[str] | dict[str, str]") -> str | None:
    """A bundle that this machine's network wants, if it names one."""
    named = environment.get("PIP_CERT") or environment.get("SSL_CERT_FILE")
    return named if named and Path(named).is_file() else None


def pip_configuration(environment: "os._Environ[str] | dict[str, str]") -> str:
    lines = ["[global]", "timeout = 180"]
    if certificates(environment):
        lines.append(f"cert = {CERTIFICATES}")
    if index := environment.get("PIP_INDEX_URL"):
        lines.append(f"index-url = {index}")
    return "\n".join(lines) + "\n"
