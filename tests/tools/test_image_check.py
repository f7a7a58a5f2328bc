"""What is wanted of an image, and how it is run; the building and running itself is `make image-check`."""

from pathlib import Path

import pytest

from tools.image.answers import Answers, _metric
from tools.image.base import ImageError
from tools.image.build import CERTIFICATES, certificates, pip_configuration
from tools.image.check import NATIVE, Outcome
from tools.image.container import Image
from tools.image.emulation import registration
from tools.image.hygiene import UNWANTED, Hygiene, size_of

IMAGE = Image("i", {"User": "65532:65532", "Entrypoint": ["gemmule"], "Cmd": ["serve"], "Env": ["A=1"]})
CLEAN = Hygiene(584_000_000, 65532, (), (), has_bill=True)
ANSWERED = Answers(2.0, "a b", 3, "a b", 3, 0)


def test_a_clean_image_misses_nothing() -> None:
    assert not list(Outcome("amd64", NATIVE, CLEAN, ANSWERED, 0).misses())


@pytest.mark.parametrize(
    "hygiene",
    [
        Hygiene(600_000_001, 65532, (), (), has_bill=True),
        Hygiene(1, 0, (), (), has_bill=True),
        Hygiene(1, 65532, ("gcc-12",), (), has_bill=True),
        Hygiene(1, 65532, (), ("su",), has_bill=True),
        Hygiene(1, 65532, (), (), has_bill=False),
    ],
)
def test_each_stain_is_named(hygiene: Hygiene) -> None:
    assert len(list(Outcome("amd64", NATIVE, hygiene, ANSWERED, 0).misses())) == 1


@pytest.mark.parametrize(
    ("answers", "status"),
    [
        (Answers(2.0, "a b", 3, "a b", 3, 1), 0),
        (Answers(2.0, "a b", 1, "a b", 3, 0), 0),
        (Answers(2.0, "a b", 3, "a c", 3, 0), 0),
        (ANSWERED, 137),
    ],
)
def test_each_wrong_answer_is_named(answers: Answers, status: int) -> None:
    assert len(list(Outcome("arm64", "neoverse-n1", CLEAN, answers, status).misses())) == 1


def test_it_is_run_as_an_orchestrator_would() -> None:
    made = IMAGE.specification(Path("/r"), (), {"QEMU_CPU": "neoverse-v1"})
    assert made["root"] == {"path": "/r", "readonly": True}
    process = made["process"]
    assert process["user"] == {"uid": 65532, "gid": 65532}
    assert process["noNewPrivileges"]
    assert not any(process["capabilities"].values())
    assert process["args"] == ["gemmule", "serve"]
    assert process["env"] == ["A=1", "QEMU_CPU=neoverse-v1"]
    assert IMAGE.command(["config"]) == ["gemmule", "config"]


def test_a_user_by_name_is_refused() -> None:
    with pytest.raises(ImageError, match="no number"):
        _ = Image("i", {"User": "nobody"}).uid_gid
    assert Image("i", {}).uid_gid == (0, 0)


@pytest.mark.parametrize(("text", "size"), [("584 MB\n", 584_000_000), ("1.1 GB", 1_100_000_000), ("592 B", 592)])
def test_sizes_as_buildah_writes_them(text: str, size: int) -> None:
    assert size_of(text) == size


def test_no_size_is_an_error() -> None:
    with pytest.raises(ImageError):
        size_of("much")


@pytest.mark.parametrize("name", ["gcc", "x86_64-linux-gnu-gcc-12", "c++", "as", "ld", "pip3", "pip3.11", "curl"])
def test_programs_that_should_not_be_there(name: str) -> None:
    assert UNWANTED.fullmatch(name)


@pytest.mark.parametrize("name", ["gemmule", "python3.11", "bash", "ldd", "basename", "ls"])
def test_programs_that_may(name: str) -> None:
    assert not UNWANTED.fullmatch(name)


def test_series_of_a_metric_are_summed() -> None:
    text = '# TYPE a counter\na{k="x"} 2.0\na{k="y"} 1.0\nab 9.0\n'
    assert _metric(text, "a") == 3
    with pytest.raises(ValueError, match="no b"):
        _metric(text, "b")


def test_the_kernel_is_told_of_aarch64() -> None:
    _, name, how, _, magic, mask, interpreter, flags = registration(Path("/q/qemu")).split(":")
    assert (name, how, interpreter, flags) == ("qemu-aarch64", "M", "/q/qemu", "POF")
    assert magic.count("\\x") == mask.count("\\x") - 3, "a mask byte for each, E, L and F written as letters"
    assert "xb7" in magic


def test_pip_gets_the_certificates_of_the_machine(tmp_path: Path) -> None:
    bundle = tmp_path / "ca.crt"
    bundle.touch()
    assert certificates({"PIP_CERT": str(bundle)}) == str(bundle)
    assert certificates({"SSL_CERT_FILE": str(tmp_path / "none")}) is None
    assert f"cert = {CERTIFICATES}" in pip_configuration({"PIP_CERT": str(bundle)})
    assert "cert" not in pip_configuration({})
