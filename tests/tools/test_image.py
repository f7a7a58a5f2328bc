"""What the image is made from: the lock holds what the service needs, and what is compiled ahead is complete."""

import json
import re
from pathlib import Path

import pytest

from kernels import checksum
from kernels.cpu import detect_cpu
from kernels.jit.function import NativeFunction
from kernels.ladder import rungs_for
from kernels.peaks.emit import KINDS, compute_loop, read_loop
from tools.arm.objects import kernels_of
from tools.image.functions import native_functions
from tools.image.lock import FOLDER, LEFT_OUT, VERSIONS, requirements
from tools.image.sbom import bill, wheel_components

ROOT = Path(__file__).resolve().parents[2]


def pinned(path: Path) -> dict[str, str]:
    found = re.findall(r"^([A-Za-z0-9_.-]+)==(\S+)", path.read_text(), re.MULTILINE)
    return {name.lower().replace("_", "-"): version for name, version in found}


def test_the_lock_has_every_requirement_at_the_tested_version() -> None:
    image, tested = pinned(FOLDER / "requirements.lock"), pinned(VERSIONS)
    assert image.items() <= tested.items(), "another version than the tests run on: make image-lock"
    wanted = {re.split(r"[<>=\[; ]", line)[0].lower().replace("_", "-") for line in requirements()}
    assert wanted <= set(image), "make image-lock"
    assert not set(LEFT_OUT) & set(image)


def test_every_wheel_has_a_hash() -> None:
    for name in ("requirements.lock", "build.lock"):
        text = (FOLDER / name).read_text()
        assert all("--hash=sha256:" in part for part in re.split(r"^(?=\w)", text, flags=re.MULTILINE)[1:])


@pytest.mark.parametrize("arch", ["x86_64", "aarch64"])
def test_kernels_of_both_architectures_can_be_emitted(arch: str) -> None:
    assert len({*kernels_of(arch)}) > 100


def test_what_is_measured_at_start_is_compiled_ahead() -> None:
    cpu = detect_cpu()
    ahead = {*kernels_of(cpu.arch)}
    for rung in rungs_for(cpu):
        assert {read_loop(rung).text, *(compute_loop(rung, kind).text for kind in KINDS)} <= ahead
        assert checksum.emit(checksum.name_of(rung), rung) in ahead


def test_native_functions_are_found_once() -> None:
    functions = list(native_functions())
    assert all(isinstance(function, NativeFunction) for function in functions)
    names = [function.name for function in functions]
    assert len(names) == len(set(names))
    assert {"kernels.runtime.walk.run_step", "kernels.peaks.measure.peak"} <= set(names)


def test_the_bill_of_materials_names_what_is_installed() -> None:
    import numpy

    components = list(wheel_components(Path(numpy.__file__).parents[1]))
    assert f"pkg:pypi/numpy@{numpy.__version__}" in {component["purl"] for component in components}
    assert json.loads(json.dumps(bill(components)))["bomFormat"] == "CycloneDX"


def test_the_image_is_hardened() -> None:
    text = (ROOT / "Dockerfile").read_text()
    last = text[text.rindex("\nFROM ") :]
    assert "USER 65532:65532" in last
    assert "STOPSIGNAL SIGTERM" in last
    assert 'ENTRYPOINT ["gemmule"]' in last, "no shell between the signal and the service"
    assert "RUN" not in last
    assert "HEALTHCHECK" in last
